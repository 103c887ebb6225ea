//! The trial boot: the candidate's settings in a scratch directory, until the server listens, then killed.
//!
//! It proves what `nats-server -t` does not: the server's own start rules and that it loads its certificates. It is
//! never asked for the health of a cluster, because none of the original's addresses is left in it. It talks to
//! nobody: the server says that it is ready by writing the file of its ports.
//!
//! On a host with systemd all of it is a unit's, in a network of its own: [`unit`] asks, [`serve`] does it, [`request`] is
//! what they say to each other.

pub mod request;
pub mod serve;
pub mod unit;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use host_state::layout;
use nats_config::{ServerConfig, ShadowPlan, shadow};
use tokio::process::{Child, Command};

use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects, Moment};
use crate::parts::nats::{log, process};

/// How long a trial may take until the server listens.
pub const SHADOW_DEADLINE: Duration = Duration::from_secs(20);
/// How often the file of ports is looked for.
const POLL: Duration = Duration::from_millis(20);

const OUTPUT: &str = "output.log";
const CONFIG: &str = "shadow.json";

/// Why a candidate would not start.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The scratch directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server could not be run.
    #[error("cannot run `{binary}` for a trial boot")]
    Run {
        /// The binary.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended instead of listening.
    #[error("nats-server does not start on the configuration ({status}): {complaint}")]
    Ended {
        /// How it ended.
        status: String,
        /// What it said last.
        complaint: String,
    },
    /// It did not listen in time.
    #[error("nats-server did not listen within {} s in a trial boot: {complaint}", SHADOW_DEADLINE.as_secs())]
    Deadline {
        /// What it said last.
        complaint: String,
    },
}

/// Boots `config` with the certificates of the rendition in `candidate`, in `scratch`, and stops it again.
///
/// Changes nothing outside `scratch`, which is emptied first and removed afterwards. A crash half-way leaves a
/// server on loopback ports that the system chose, which the next start of the agent ends.
///
/// # Errors
/// [`ShadowError`].
pub async fn boot(
    effects: &Effects,
    binary: &Path,
    config: &ServerConfig,
    candidate: &Path,
    scratch: &Path,
) -> Result<(), ShadowError> {
    let run = |source| ShadowError::Run { binary: binary.to_owned(), source };
    end_left_over(effects, scratch).await.map_err(run)?;
    files::remove_directory(effects, Effect::Prune, scratch)?;
    files::make_directory(effects, scratch, layout::DIRECTORY_MODE)?;
    let plan = ShadowPlan { directory: scratch.display().to_string() };
    let text = shadow(config, &plan).text;
    files::swap_link(effects, Effect::LinkTrial, &scratch.join(layout::CURRENT), candidate)?;
    files::write_new(
        effects,
        Effect::WriteTrial,
        &scratch.join(CONFIG),
        text.as_bytes(),
        layout::SECRET_MODE,
    )?;
    effects.reach(Effect::BootShadow, Moment::Before).map_err(run)?;
    let output = files::open_output(effects, &scratch.join(OUTPUT)).map_err(run)?;
    let mut command = Command::new(binary);
    command
        .args(["-c", CONFIG])
        .current_dir(scratch)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(run)?)
        .stderr(output)
        .kill_on_drop(true);
    let mut child = process::unless_busy(|| command.spawn()).map_err(run)?;
    effects.reach(Effect::BootShadow, Moment::Prepared).map_err(run)?;
    let outcome = until_ready(&mut child, scratch).await;
    // SIGKILL is enough for a server whose data nobody will read.
    child.kill().await.map_err(run)?;
    effects.reach(Effect::BootShadow, Moment::After).map_err(run)?;
    outcome?;
    Ok(files::remove_directory(effects, Effect::Prune, scratch)?)
}

/// Ends the server of a trial that a crash left in `scratch`: it would go on for ever, and its directory with it.
///
/// # Errors
/// When it stays.
pub async fn end_left_over(effects: &Effects, scratch: &Path) -> io::Result<()> {
    // It is removed at the end of every trial.
    if !scratch.is_dir() {
        return Ok(());
    }
    process::end_left_over(effects, scratch, CONFIG).await
}

async fn until_ready(child: &mut Child, scratch: &Path) -> Result<(), ShadowError> {
    let complaint = || {
        log::complaint_since(&scratch.join(OUTPUT), 0)
            .unwrap_or_else(|| "it said nothing about it".to_owned())
    };
    let ready = async {
        while !has_ports_file(scratch) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = ready => Ok(()),
        status = child.wait() => {
            let status = match status {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exit status {code}"),
                    (None, signal) => format!("signal {}", signal.unwrap_or_default()),
                },
                Err(error) => error.to_string(),
            };
            Err(ShadowError::Ended { status, complaint: complaint() })
        }
        () = tokio::time::sleep(SHADOW_DEADLINE) => Err(ShadowError::Deadline { complaint: complaint() }),
    }
}

/// Source: nats-server 2.15.1 server/server.go (`logPorts`): written once all listeners are ready.
fn has_ports_file(scratch: &Path) -> bool {
    std::fs::read_dir(scratch).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| entry.path().extension().is_some_and(|end| end == "ports"))
    })
}
