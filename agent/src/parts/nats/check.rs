//! `nats-server -t`: the server's own parser over the very bytes that it will be started on.
//!
//! It runs in a trial directory whose `current` points to the candidate, because all paths in a configuration are
//! relative to the working directory. It proves parsing and that files load, not that the server would start.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use host_state::layout;
use nats_config::ConfigDigest;

use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects, Moment};
use crate::parts::nats::process;

/// How long the check may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(20);
/// Longest complaint of the server that is passed on, in characters.
const SHOWN_MAX: usize = 600;

/// Why a candidate was not found good.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The trial directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server could not be run.
    #[error("cannot run `{binary} -t`")]
    Run {
        /// The binary.
        binary: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not end.
    #[error("`{binary} -t` took more than {} s", CHECK_DEADLINE.as_secs())]
    Deadline {
        /// The binary.
        binary: PathBuf,
    },
    /// The server refuses the configuration.
    #[error("nats-server refuses the configuration ({status}): {output}")]
    Refused {
        /// How it ended.
        status: String,
        /// What it said, shortened.
        output: String,
    },
    /// It reads something else than we wrote.
    #[error("nats-server reads the configuration as `{found}`, it was computed as `{wanted}`")]
    Digest {
        /// Digest as computed.
        wanted: ConfigDigest,
        /// Digest as printed; what was printed when there is none in it.
        found: String,
    },
}

/// Runs `binary -t` over the rendition in `candidate` and compares the digest.
///
/// Changes nothing outside `trial_dir`, which is emptied first and removed afterwards. The server makes the
/// resolver's directory there. Source: nats-server 2.15.1 server/opts.go (`-t` builds the resolver).
///
/// # Errors
/// [`CheckError`].
pub async fn check(
    effects: &Effects,
    binary: &Path,
    candidate: &Path,
    trial_dir: &Path,
    wanted: &ConfigDigest,
) -> Result<(), CheckError> {
    files::remove_directory(effects, Effect::Prune, trial_dir)?;
    files::make_directory(effects, trial_dir, layout::DIRECTORY_MODE)?;
    files::swap_link(effects, Effect::LinkTrial, &trial_dir.join(layout::CURRENT), candidate)?;
    let run = |source| CheckError::Run { binary: binary.to_owned(), source };
    effects.reach(Effect::CheckConfiguration, Moment::Before).map_err(run)?;
    let mut command = tokio::process::Command::new(binary);
    command
        .args(["-t", "-c", layout::CONFIG_PATH])
        .current_dir(trial_dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = process::unless_busy(|| command.spawn()).map_err(run)?;
    let output = tokio::time::timeout(CHECK_DEADLINE, child.wait_with_output()).await;
    let output = output.map_err(|_| CheckError::Deadline { binary: binary.to_owned() })?.map_err(run)?;
    files::remove_directory(effects, Effect::Prune, trial_dir)?;
    effects.reach(Effect::CheckConfiguration, Moment::After).map_err(run)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let status = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        return Err(CheckError::Refused { status, output: shown(&text) });
    }
    match printed_digest(&text) {
        Some(found) if found == *wanted => Ok(()),
        Some(found) => Err(CheckError::Digest { wanted: wanted.clone(), found: found.to_string() }),
        None => Err(CheckError::Digest { wanted: wanted.clone(), found: shown(&text) }),
    }
}

/// The digest that `-t` prints, like `... is valid (sha256:...)`.
fn printed_digest(text: &str) -> Option<ConfigDigest> {
    let (_, rest) = text.rsplit_once("sha256:")?;
    let digits: String = rest.chars().take(64).collect();
    format!("sha256:{digits}").parse().ok()
}

fn shown(text: &str) -> String {
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    line.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_found_in_what_the_server_prints() {
        let digits = "ab".repeat(32);
        let text =
            format!("nats-server: configuration file current/nats-server.json is valid (sha256:{digits})\n");
        assert_eq!(printed_digest(&text).unwrap().to_string(), format!("sha256:{digits}"));
        assert_eq!(printed_digest("is valid (sha256:12)"), None);
        assert_eq!(printed_digest("is valid"), None);
    }
}
