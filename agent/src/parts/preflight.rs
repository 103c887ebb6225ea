//! Looks at a host for `host_state::preflight`: its store, the disk below it, its limits and settings.
//!
//! Reads only, but for the latency probe, which writes to a file of its own. Decides nothing: what is found is held
//! against what is wanted by `host_state`. What cannot be read says why.

pub mod devices;
pub mod mountinfo;
pub mod probe;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod tree;

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use host_state::layout;
use host_state::observed::StoreDisk;
use host_state::preflight::{Facts, OpenFiles, Owner, Probe, Seen, StoreFacts};

use self::tree::Tree;
use crate::applier::files;

/// Whose limit on open files is the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitOf {
    /// The running server's.
    Server(u32),
    /// This process's, which its child inherits.
    Own,
    /// That of its unit, or why it is not known. Who may look into no process of others asks systemd.
    Unit(Seen<OpenFiles>),
    /// Nobody's yet.
    Nobody,
}

/// Everything that `host_state::preflight` asks for. `probe` is the newest latency probe.
#[must_use]
pub fn look(tree: &Tree, directory: &Path, limit: &LimitOf, probe: Seen<Probe>) -> Facts {
    let device = nearest(directory).and_then(|there| {
        let mounts = mountinfo::read(tree)?;
        mountinfo::holds(&mounts, &there).cloned()
    });
    let store = StoreFacts {
        directory: directory.display().to_string(),
        owner: owner(directory),
        disk: disk(tree, directory),
        devices: device.and_then(|mount| devices::below(tree, &mount)),
        probe,
    };
    Facts { store, machine: settings::machine(tree, open_files(tree, limit)) }
}

/// The file system that holds `directory`, or will when it is made.
///
/// # Errors
/// Why it cannot be said, one line.
pub fn disk(tree: &Tree, directory: &Path) -> Seen<StoreDisk> {
    let there = nearest(directory)?;
    let mounts = mountinfo::read(tree)?;
    let entry = mountinfo::holds(&mounts, &there)?;
    let fail = |error: io::Error| format!("`{}`: {error}", there.display());
    let space = files::space_of(&there).map_err(fail)?;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    let on_root =
        entry.point == "/" || device(&there).map_err(fail)? == device(Path::new("/")).map_err(fail)?;
    Ok(StoreDisk {
        mount: entry.mount(),
        on_root,
        size: space.size,
        free: space.free,
        ballast: ballast(directory).map_err(fail)?,
    })
}

/// Bytes that the ballast file of a store takes from its disk; `None` when there is none.
fn ballast(directory: &Path) -> io::Result<Option<u64>> {
    match std::fs::symlink_metadata(directory.join(layout::STORE_BALLAST_FILE)) {
        // A file with holes keeps no room. Source: stat(2), blocks are counted in 512 bytes.
        Ok(metadata) => Ok(Some(metadata.len().min(metadata.blocks().saturating_mul(512)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory, or the nearest one above it that exists, without symbolic links. What may not be looked at is not
/// taken for missing.
fn nearest(directory: &Path) -> Seen<PathBuf> {
    for path in directory.ancestors() {
        match std::fs::canonicalize(path) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("`{}`: {error}", path.display())),
        }
    }
    Err(format!("nothing above `{}` exists", directory.display()))
}

fn owner(directory: &Path) -> Seen<Option<Owner>> {
    match std::fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("`{}`: {error}", directory.display())),
        Ok(metadata) if !metadata.is_dir() => Err(format!("`{}` is no directory", directory.display())),
        Ok(metadata) => Ok(Some(Owner {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.permissions().mode() & 0o7777,
        })),
    }
}

fn open_files(tree: &Tree, limit: &LimitOf) -> Seen<OpenFiles> {
    let (file, of) = match limit {
        LimitOf::Server(pid) => (format!("/proc/{pid}/limits"), format!("nats-server (pid {pid})")),
        LimitOf::Own => ("/proc/self/limits".to_owned(), "this agent, which starts nats-server".to_owned()),
        LimitOf::Unit(seen) => return seen.clone(),
        LimitOf::Nobody => return Err("no nats-server runs yet".to_owned()),
    };
    let (soft, hard) = settings::open_files_limit(&tree.text(&file)?)
        .ok_or_else(|| format!("`{file}` has no line of open files"))?;
    Ok(OpenFiles { soft, hard, of })
}
