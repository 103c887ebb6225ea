//! The files by which the kernel tells of a host, below a root that a test may choose.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::applier::files;

/// Largest file that is read, in bytes; a host with thousands of mounts stays far below.
const LIMIT: u64 = 4 << 20;

/// Where `/proc`, `/sys` and `/run` are.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Default for Tree {
    /// This host.
    fn default() -> Tree {
        Tree::at(PathBuf::from("/"))
    }
}

impl Tree {
    /// A host whose files lie below `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Tree {
        Tree { root }
    }

    /// Where an absolute path of the host lies.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A whole file, without white space around it.
    ///
    /// # Errors
    /// Why it cannot be read, one line with the path.
    pub fn text(&self, path: &str) -> Result<String, String> {
        self.optional_text(path)?.ok_or_else(|| format!("`{path}` is not there"))
    }

    /// As [`Tree::text`]; `None` when there is no such file.
    ///
    /// # Errors
    /// As [`Tree::text`].
    pub fn optional_text(&self, path: &str) -> Result<Option<String>, String> {
        read(&self.path(path)).map_err(|error| format!("`{path}` cannot be read: {error}"))
    }

    /// Whether something is there.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub fn has(&self, path: &str) -> Result<bool, String> {
        self.path(path).try_exists().map_err(|error| format!("`{path}`: {error}"))
    }
}

/// A whole file, without white space around it; `None` when there is none. What is no text is read with marks in its place.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let bytes = files::read_bounded(path, LIMIT).map_err(|error| match error {
        files::FileError::Read { path: _, source } => source,
        other => io::Error::other(other),
    })?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// Names in a directory, sorted; none when it cannot be read.
pub(super) fn names(path: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
