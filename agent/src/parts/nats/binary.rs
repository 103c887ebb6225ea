//! The nats-server binary: found where the document says, or installed side by side by version and checksum.
//!
//! An installed binary never changes: another version or checksum is another directory, so a running server keeps
//! its own. Nothing is downloaded here: what the front has downloaded is believed when it has the document's SHA-256.

mod archive;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host_state::document::{BinarySource, ServerBinary};
use host_state::layout;
use host_state::observed::BinaryObserved;

use crate::applier::files::{self, FileError};
use crate::applier::rendition::sha256;
use crate::parts::effects::{Effect, Effects};
use crate::parts::nats::process;
use crate::roles::DOWNLOAD_LIMIT;
use crate::shadow::unit::TrialUnit;

pub use archive::ArchiveError;
#[cfg(feature = "fuzz")]
pub(crate) use archive::fuzz as fuzz_archive;

/// Largest binary that is installed or looked at.
const BINARY_LIMIT: u64 = DOWNLOAD_LIMIT;
/// Beside an installed binary: its SHA-256, where it was installed from a download that has another one.
const SUM_FILE: &str = "nats-server.sha256";
/// How long `--version` may take.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Why a binary was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Reading the source or writing the copy.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to install from.
    #[error("there is no file `{path}` to install nats-server from")]
    Missing {
        /// The file that the document names.
        path: PathBuf,
    },
    /// It is not the file that was meant.
    #[error("`{path}` has SHA-256 `{found}`, the document wants `{wanted}`")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The document's sum.
        wanted: String,
        /// Its own.
        found: String,
    },
    /// It holds no binary.
    #[error("`{path}` cannot be unpacked")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ArchiveError,
    },
}

/// What a file was when it was last asked for version and sum: asking again costs a process and 20 MB of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    identity: (u64, u64, i64, i64, u64),
    observed: BinaryObserved,
}

/// The binaries of one host.
#[derive(Debug)]
pub struct Binaries {
    state_dir: PathBuf,
    named_at_start: Option<PathBuf>,
    downloads: PathBuf,
    directory_mode: u32,
    /// Runs a binary for its version where the agent itself may not; absent where it may.
    trial: Option<Arc<TrialUnit>>,
    effects: Effects,
    seen: Mutex<Option<Seen>>,
}

impl Binaries {
    /// Binaries below `state_dir`; `named_at_start` is the one that [`BinarySource::Agent`] means.
    #[must_use]
    pub fn new(state_dir: PathBuf, named_at_start: Option<PathBuf>, effects: Effects) -> Binaries {
        let (directory_mode, downloads) = (layout::DIRECTORY_MODE, state_dir.join(layout::DOWNLOADS));
        let (trial, seen) = (None, Mutex::new(None));
        Binaries { state_dir, named_at_start, downloads, directory_mode, trial, effects, seen }
    }

    /// The same, with downloads in this directory.
    #[must_use]
    pub fn with_downloads(self, downloads: PathBuf) -> Binaries {
        Binaries { downloads, ..self }
    }

    /// The same, with directories of these permission bits.
    #[must_use]
    pub fn with_directory_mode(self, directory_mode: u32) -> Binaries {
        Binaries { directory_mode, ..self }
    }

    /// The same, with a trial unit that runs binaries instead of the agent.
    #[must_use]
    pub fn with_trial(self, trial: Option<Arc<TrialUnit>>) -> Binaries {
        Binaries { trial, ..self }
    }

    /// Where the binary lies that `server` asks for.
    #[must_use]
    pub fn path(&self, server: &ServerBinary) -> PathBuf {
        let ServerBinary { version, source } = server;
        match source {
            BinarySource::Agent => {
                self.named_at_start.clone().unwrap_or_else(|| PathBuf::from("nats-server"))
            }
            BinarySource::Path { path } => PathBuf::from(path),
            BinarySource::File { path: _, sha256 } => self.installed(version, sha256),
            BinarySource::Url { url: _, sha256 } => self.installed(version, sha256.as_str()),
        }
    }

    fn installed(&self, version: &str, sha256: &str) -> PathBuf {
        self.state_dir.join(layout::BINARIES).join(format!("{version}-{sha256}")).join("nats-server")
    }

    /// Reads the binary that `server` asks for and asks it for its version.
    pub async fn observe(&self, server: &ServerBinary) -> BinaryObserved {
        let path = self.path(server);
        let shown = path.display().to_string();
        if matches!(server.source, BinarySource::Agent) && self.named_at_start.is_none() {
            return BinaryObserved::Unusable {
                path: shown,
                reason: "the agent was started without one".to_owned(),
            };
        }
        let identity = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return BinaryObserved::Missing { path: shown };
            }
            Err(error) => return BinaryObserved::Unusable { path: shown, reason: error.to_string() },
            Ok(metadata) => {
                (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
            }
        };
        let cached = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(seen) = cached.filter(|seen| seen.path == path && seen.identity == identity) {
            return seen.observed;
        }
        let observed = match self.look(&path).await {
            Ok((version, sha256)) => {
                let download = downloaded_as(&path, server, &sha256);
                BinaryObserved::Present { path: shown, version, sha256, download }
            }
            Err(reason) => BinaryObserved::Unusable { path: shown, reason },
        };
        if matches!(observed, BinaryObserved::Present { .. }) {
            let seen = Seen { path, identity, observed: observed.clone() };
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
        observed
    }

    /// Installs the binary from the file that the document names, or that the front has downloaded for it. A no-op when it
    /// is not the agent's to install.
    ///
    /// Afterwards the copy is durable, executable and what the document's checksum stands for. May be repeated. A crash
    /// half-way leaves no file of its final name.
    ///
    /// # Errors
    /// [`InstallError`]; an installed binary of another version is untouched.
    pub fn install(&self, server: &ServerBinary) -> Result<(), InstallError> {
        let (from, wanted) = match &server.source {
            BinarySource::Agent | BinarySource::Path { .. } => return Ok(()),
            BinarySource::File { path, sha256 } => (PathBuf::from(path), sha256.as_str()),
            BinarySource::Url { url: _, sha256 } => (self.downloads.join(sha256.as_str()), sha256.as_str()),
        };
        let bytes = match &server.source {
            // The front writes it, and may be anybody's by now.
            BinarySource::Url { .. } => files::read_untrusted(&from, BINARY_LIMIT)?,
            BinarySource::Agent | BinarySource::Path { .. } | BinarySource::File { .. } => {
                files::read_bounded(&from, BINARY_LIMIT)?
            }
        };
        let bytes = bytes.ok_or_else(|| InstallError::Missing { path: from.clone() })?;
        let found = sha256(&bytes);
        if found != wanted {
            return Err(InstallError::Checksum { path: from, wanted: wanted.to_owned(), found });
        }
        let is_archive = matches!(server.source, BinarySource::Url { .. }) && archive::is_archive(&bytes);
        let bytes = if is_archive {
            archive::binary(&bytes).map_err(|source| InstallError::Archive { path: from, source })?
        } else {
            bytes
        };
        let to = self.path(server);
        files::make_directory(&self.effects, &self.state_dir.join(layout::BINARIES), self.directory_mode)?;
        if let Some(directory) = to.parent() {
            files::make_directory(&self.effects, directory, self.directory_mode)?;
        }
        if matches!(server.source, BinarySource::Url { .. }) {
            let sum = sha256(&bytes);
            let path = to.with_file_name(SUM_FILE);
            files::write_atomic(
                &self.effects,
                Effect::InstallBinary,
                &path,
                sum.as_bytes(),
                layout::PUBLIC_MODE,
            )?;
        }
        files::write_atomic(&self.effects, Effect::InstallBinary, &to, &bytes, 0o755)?;
        Ok(())
    }
}

/// The download that an installed binary with this sum came of; `None` when it did not, or is not what came of it.
fn downloaded_as(path: &Path, server: &ServerBinary, found: &str) -> Option<String> {
    let BinarySource::Url { url: _, sha256 } = &server.source else { return None };
    let noted = files::read_bounded(&path.with_file_name(SUM_FILE), 64).ok()??;
    (noted == found.as_bytes()).then(|| sha256.as_str().to_owned())
}

impl Binaries {
    async fn look(&self, path: &Path) -> Result<(String, String), String> {
        let owned = path.to_owned();
        let sum = tokio::task::spawn_blocking(move || {
            files::read_bounded(&owned, BINARY_LIMIT).map(|bytes| bytes.map(|bytes| sha256(&bytes)))
        });
        let sum = sum.await.map_err(|error| error.to_string())?;
        let sum = sum.map_err(|error| host_state::chain(&error))?.ok_or("it is gone")?;
        let version = match &self.trial {
            None => version(path).await?,
            Some(trial) => trial.version(path).await.map_err(|error| host_state::chain(&error))?,
        };
        Ok((version, sum))
    }
}

/// What `nats-server --version` says, like `2.15.1`.
///
/// # Errors
/// Why it says nothing, as text for people.
pub(crate) async fn version(path: &Path) -> Result<String, String> {
    let mut command = tokio::process::Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let child =
        process::unless_busy(|| command.spawn()).map_err(|error| format!("it cannot be run: {error}"))?;
    let output = tokio::time::timeout(VERSION_DEADLINE, child.wait_with_output()).await;
    let output =
        output.map_err(|_| format!("`--version` took more than {} s", VERSION_DEADLINE.as_secs()))?;
    let output = output.map_err(|error| format!("it cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| {
        let shown: String = text.trim().chars().take(80).collect();
        format!("`--version` says `{shown}`, which is no version of nats-server")
    })
}

/// Source: nats-server 2.15.1 server/opts.go (`PrintServerAndExit`): `nats-server: v2.15.1`.
pub(crate) fn parse_version(text: &str) -> Option<String> {
    let version = text.trim().strip_prefix("nats-server: v")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    (!version.is_empty() && version.len() <= 64 && version.chars().all(is_plain)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_nothing_else_passes_for_one() {
        assert_eq!(parse_version("nats-server: v2.15.1\n").as_deref(), Some("2.15.1"));
        assert_eq!(parse_version("nats-server: v2.15.0-RC.1").as_deref(), Some("2.15.0-RC.1"));
        for other in ["", "2.15.1", "nats-server: v", "nats-server: v2 15", "bash: v5"] {
            assert_eq!(parse_version(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn installs_only_the_file_that_was_meant() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("download");
        std::fs::write(&from, "#!/bin/sh\necho 'nats-server: v9.9.9'\n").unwrap();
        let sum = sha256(&std::fs::read(&from).unwrap());
        let binaries = Binaries::new(directory.path().to_owned(), None, Effects::default());
        let server = |sha256: &str| ServerBinary {
            version: "9.9.9".into(),
            source: BinarySource::File { path: from.display().to_string(), sha256: sha256.into() },
        };
        let error = binaries.install(&server(&"0".repeat(64))).unwrap_err().to_string();
        assert!(error.contains("the document wants `000"), "{error}");
        assert!(matches!(binaries.observe(&server(&sum)).await, BinaryObserved::Missing { .. }));
        binaries.install(&server(&sum)).unwrap();
        let path = binaries.path(&server(&sum)).display().to_string();
        let expected =
            BinaryObserved::Present { path, version: "9.9.9".into(), sha256: sum.clone(), download: None };
        assert_eq!(binaries.observe(&server(&sum)).await, expected);
    }

    #[test]
    fn what_the_front_hands_over_is_a_file_of_its_own_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let downloads = directory.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "another's").unwrap();
        let sum = sha256(b"another's");
        let link = downloads.join(&sum);
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let binaries =
            Binaries::new(directory.path().to_owned(), None, Effects::default()).with_downloads(downloads);
        let url = "https://releases.example/nats-server".parse().unwrap();
        let source = BinarySource::Url { url, sha256: sum.parse().unwrap() };
        let server = ServerBinary { version: "9.9.9".into(), source };
        assert!(matches!(binaries.install(&server), Err(InstallError::File(_))));
        std::fs::remove_file(&link).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &link,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(binaries.install(&server), Err(InstallError::File(_))), "and is not waited for");
    }
}
