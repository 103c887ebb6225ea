//! Numbered directories of the files that nats-server reads, one of them `current`.
//!
//! A rendition is written as `NNNNNN.trial`, fsynced with its directory, checked there, and gets its number by a
//! rename; it never changes afterwards, except that a file somebody edited is put back. The number counts up for
//! ever, over restarts and rollbacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use host_state::SectionKind;
use host_state::desired::DesiredFile;
use host_state::document::{ContentHash, canonical};
use host_state::layout;
use nats_config::{ServerConfig, render};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};

/// How many renditions are kept beside the current and the confirmed one.
pub const RENDITIONS_KEPT: usize = 5;

/// Largest managed file that is read.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// Files of a rendition before they are written, by name, with permission bits. Wiped on drop: one is a key.
#[derive(Clone, PartialEq, Eq)]
pub struct FileSet(BTreeMap<&'static str, (Zeroizing<Vec<u8>>, u32)>);

impl std::fmt::Debug for FileSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FileSet {
    /// The files of `config` and of the certificate that goes with it.
    #[must_use]
    pub fn new(config: &ServerConfig, chain_pem: &str, key_pem: &str, ca_pem: &str) -> FileSet {
        let file = |text: &str, mode| (Zeroizing::new(text.as_bytes().to_vec()), mode);
        FileSet(BTreeMap::from([
            (layout::CONFIG_FILE, file(&render(config).text, layout::PUBLIC_MODE)),
            (layout::MODEL_FILE, file(&canonical(config), layout::PUBLIC_MODE)),
            (layout::CERT_FILE, file(chain_pem, layout::PUBLIC_MODE)),
            (layout::KEY_FILE, file(key_pem, layout::SECRET_MODE)),
            (layout::CA_FILE, file(ca_pem, layout::PUBLIC_MODE)),
        ]))
    }

    /// The same, with the key's permission bits as nats-server's user needs them.
    #[must_use]
    pub fn with_secret_mode(mut self, mode: u32) -> FileSet {
        if let Some((_, bits)) = self.0.get_mut(layout::KEY_FILE) {
            *bits = mode;
        }
        self
    }

    /// Hash and mode of each.
    #[must_use]
    pub fn manifest(&self) -> BTreeMap<String, DesiredFile> {
        let entry = |(name, (bytes, mode)): (&&str, &(Zeroizing<Vec<u8>>, u32))| {
            ((*name).to_owned(), DesiredFile { sha256: sha256(bytes), mode: *mode })
        };
        self.0.iter().map(entry).collect()
    }
}

/// What a rendition says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its number.
    pub number: u64,
    /// SHA-256 and permission bits of each file.
    pub files: BTreeMap<String, ManifestFile>,
    /// Sections it was rendered from, by content.
    pub sections: Vec<(SectionKind, ContentHash)>,
    /// Whether it is those sections whole; otherwise it keeps settings of the rendition before that wait for a restart.
    pub whole: bool,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
}

impl Manifest {
    /// As `host_state` compares it.
    #[must_use]
    pub fn desired_files(&self) -> BTreeMap<String, DesiredFile> {
        let entry = |(name, file): (&String, &ManifestFile)| {
            (name.clone(), DesiredFile { sha256: file.sha256.clone(), mode: file.mode })
        };
        self.files.iter().map(entry).collect()
    }
}

/// Why a rendition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RenditionError {
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its manifest is missing or not one.
    #[error("rendition {number} has no readable manifest: {reason}")]
    Manifest {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// A file of it is not what the manifest says and there is no copy to restore it from.
    #[error("`{name}` of rendition {number} was changed and cannot be restored")]
    Damaged {
        /// The rendition.
        number: u64,
        /// The file.
        name: String,
    },
}

/// All renditions of one host.
#[derive(Debug, Clone)]
pub struct Renditions {
    state_dir: PathBuf,
    directory_mode: u32,
    effects: Effects,
}

/// A rendition that is written and not yet kept.
#[derive(Debug)]
pub struct Candidate {
    /// The number it gets.
    pub number: u64,
    /// Where it lies until then.
    pub directory: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Renditions {
    /// The renditions below `state_dir`; makes their directory where it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(state_dir: PathBuf, effects: Effects) -> Result<Renditions, FileError> {
        files::make_directory(&effects, &state_dir.join(layout::RENDITIONS), layout::DIRECTORY_MODE)?;
        Ok(Renditions { state_dir, directory_mode: layout::DIRECTORY_MODE, effects })
    }

    /// The same, with directories of these permission bits.
    #[must_use]
    pub fn with_directory_mode(self, directory_mode: u32) -> Renditions {
        Renditions { directory_mode, ..self }
    }

    /// Where rendition `number` lies.
    #[must_use]
    pub fn directory(&self, number: u64) -> PathBuf {
        self.root().join(layout::rendition_name(number))
    }

    /// The current rendition's number; `None` before the first.
    ///
    /// # Errors
    /// When `current` is there and is no link to a rendition.
    pub fn current(&self) -> Result<Option<u64>, FileError> {
        let link = self.link();
        let read = |source| FileError::Read { path: link.clone(), source };
        match std::fs::read_link(&link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(read(error)),
            Ok(target) => number_of(&target)
                .map(Some)
                .ok_or_else(|| read(std::io::Error::other(format!("it points at `{}`", target.display())))),
        }
    }

    /// Writes a candidate, fsynced. An older one of the same number is replaced.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_candidate(
        &self,
        files: &FileSet,
        sections: Vec<(SectionKind, ContentHash)>,
        whole: bool,
    ) -> Result<Candidate, FileError> {
        let number = self.next_number()?;
        let directory = self.root().join(layout::candidate_name(number));
        files::remove_directory(&self.effects, Effect::Prune, &directory)?;
        files::make_directory(&self.effects, &directory, self.directory_mode)?;
        let listed = files.manifest().into_iter().map(|(name, file)| {
            let DesiredFile { sha256, mode } = file;
            (name, ManifestFile { sha256, mode })
        });
        let manifest = Manifest { number, files: listed.collect(), sections, whole };
        for (name, (bytes, mode)) in &files.0 {
            files::write_new(&self.effects, Effect::WriteRenditionFile, &directory.join(name), bytes, *mode)?;
        }
        let text = canonical(&manifest);
        let path = directory.join(layout::MANIFEST_FILE);
        files::write_new(
            &self.effects,
            Effect::WriteRenditionFile,
            &path,
            text.as_bytes(),
            layout::PUBLIC_MODE,
        )?;
        files::sync_directory(&directory)?;
        Ok(Candidate { number, directory, manifest })
    }

    /// Gives a candidate its number. Afterwards it can be switched to.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn keep(&self, candidate: &Candidate) -> Result<(), FileError> {
        let to = self.directory(candidate.number);
        files::rename_directory(&self.effects, Effect::KeepRendition, &candidate.directory, &to)
    }

    /// Points `current` at rendition `number`, or away from every one.
    ///
    /// # Errors
    /// When the link cannot be swapped; it then points where it did.
    pub fn switch(&self, number: Option<u64>) -> Result<(), FileError> {
        match number {
            Some(number) => {
                let target = Path::new(layout::RENDITIONS).join(layout::rendition_name(number));
                files::swap_link(&self.effects, Effect::SwapCurrent, &self.link(), &target)
            }
            None => files::remove_file(&self.effects, Effect::SwapCurrent, &self.link()),
        }
    }

    /// What rendition `number` says of itself.
    ///
    /// # Errors
    /// When it has no readable manifest.
    pub fn manifest(&self, number: u64) -> Result<Manifest, RenditionError> {
        read_manifest(&self.directory(number), number)
    }

    /// The configuration that rendition `number` was made from.
    ///
    /// # Errors
    /// When it was changed, is gone or is not one.
    pub fn model(&self, number: u64) -> Result<ServerConfig, RenditionError> {
        let damaged = || RenditionError::Damaged { number, name: layout::MODEL_FILE.to_owned() };
        let bytes = self.intact_file(number, layout::MODEL_FILE)?.ok_or_else(damaged)?;
        serde_json::from_slice(&bytes).map_err(|_| damaged())
    }

    /// The content of a file of rendition `number`, checked against its manifest; `None` when it was changed or is gone.
    ///
    /// # Errors
    /// When the manifest or the file cannot be read.
    pub fn intact_file(&self, number: u64, name: &str) -> Result<Option<Vec<u8>>, RenditionError> {
        let manifest = self.manifest(number)?;
        let bytes = files::read_bounded(&self.directory(number).join(name), FILE_LIMIT)?;
        let wanted = manifest.files.get(name).map(|file| file.sha256.as_str());
        Ok(bytes.filter(|bytes| wanted == Some(sha256(bytes).as_str())))
    }

    /// Whether every file of rendition `number` is as its manifest says.
    #[must_use]
    pub fn is_intact(&self, number: u64) -> bool {
        let directory = self.directory(number);
        self.manifest(number).is_ok_and(|manifest| {
            manifest.files.iter().all(|(name, file)| is_intact(&directory.join(name), file))
        })
    }

    /// Puts every file of rendition `number` that differs from its manifest back, out of `wanted`, and returns the
    /// names of those it put back. Repeating it changes nothing.
    ///
    /// # Errors
    /// When a file cannot be written, or `wanted` does not hold what the manifest says either.
    pub fn restore(&self, number: u64, wanted: &FileSet) -> Result<Vec<String>, RenditionError> {
        let manifest = self.manifest(number)?;
        let directory = self.directory(number);
        let mut restored = Vec::new();
        for (name, file) in &manifest.files {
            let path = directory.join(name);
            if is_intact(&path, file) {
                continue;
            }
            let damaged = || RenditionError::Damaged { number, name: name.clone() };
            let (bytes, mode) = wanted.0.get(name.as_str()).ok_or_else(damaged)?;
            if sha256(bytes) != file.sha256 {
                return Err(damaged());
            }
            files::write_atomic(&self.effects, Effect::RestoreFile, &path, bytes, *mode)?;
            restored.push(name.clone());
        }
        Ok(restored)
    }

    /// Removes trial directories and renditions that nobody needs: all but `needed` and the newest few.
    ///
    /// # Errors
    /// When one cannot be removed; the others may be gone.
    pub fn prune(&self, needed: &[u64]) -> Result<(), FileError> {
        let (mut kept, trials) = self.list()?;
        for trial in trials {
            files::remove_directory(&self.effects, Effect::Prune, &trial)?;
        }
        kept.sort_unstable();
        let surplus = kept.len().saturating_sub(RENDITIONS_KEPT);
        for number in kept.into_iter().take(surplus).filter(|number| !needed.contains(number)) {
            files::remove_directory(&self.effects, Effect::Prune, &self.directory(number))?;
        }
        Ok(())
    }

    /// The newest kept rendition that is exactly `files` of `sections`.
    ///
    /// # Errors
    /// When the directory cannot be listed. A rendition without readable manifest is passed over.
    pub fn find(
        &self,
        files: &FileSet,
        sections: &[(SectionKind, ContentHash)],
    ) -> Result<Option<u64>, FileError> {
        let (mut kept, _) = self.list()?;
        kept.sort_unstable();
        let wanted = files.manifest();
        let is_same = |number: &u64| {
            self.manifest(*number).is_ok_and(|manifest| {
                manifest.whole && manifest.sections == sections && manifest.desired_files() == wanted
            })
        };
        Ok(kept.into_iter().rev().find(is_same))
    }

    fn next_number(&self) -> Result<u64, FileError> {
        let (kept, _) = self.list()?;
        Ok(kept.into_iter().max().unwrap_or(0) + 1)
    }

    fn list(&self) -> Result<(Vec<u64>, Vec<PathBuf>), FileError> {
        let root = self.root();
        let read = |source| FileError::Read { path: root.clone(), source };
        let (mut kept, mut trials) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&root).map_err(read)? {
            let path = entry.map_err(read)?.path();
            match number_of(&path) {
                Some(number) => kept.push(number),
                None if path.to_string_lossy().ends_with(layout::TRIAL_SUFFIX) => trials.push(path),
                None => {}
            }
        }
        Ok((kept, trials))
    }

    fn root(&self) -> PathBuf {
        self.state_dir.join(layout::RENDITIONS)
    }

    fn link(&self) -> PathBuf {
        self.state_dir.join(layout::CURRENT)
    }
}

/// SHA-256 as 64 lower-case hex digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

fn is_intact(path: &Path, file: &ManifestFile) -> bool {
    let same_mode = files::mode_of(path).is_ok_and(|mode| mode == file.mode);
    let same_bytes =
        matches!(files::read_bounded(path, FILE_LIMIT), Ok(Some(bytes)) if sha256(&bytes) == file.sha256);
    same_mode && same_bytes && !path.is_symlink()
}

fn read_manifest(directory: &Path, number: u64) -> Result<Manifest, RenditionError> {
    let bytes = files::read_bounded(&directory.join(layout::MANIFEST_FILE), FILE_LIMIT)?;
    let bytes =
        bytes.ok_or_else(|| RenditionError::Manifest { number, reason: "it is missing".to_owned() })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| RenditionError::Manifest { number, reason: error.to_string() })
}

fn number_of(path: &Path) -> Option<u64> {
    layout::rendition_number(path.file_name()?.to_str()?)
}

#[cfg(test)]
mod tests;
