//! nats-server as a unit of systemd: its drop-in written, the unit started, stopped, reloaded, found again and followed.
//!
//! The applier may look into no process of another user. What a running server was started from is therefore proven in
//! another way: by the record of a start that the agent made, or by files that did not change since the start.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_state::desired::Owner;
use host_state::layout;
use host_state::observed::{FileObserved, UnitObserved, UnitSeen};
use host_state::preflight::{OpenFiles, Seen};
use host_state::unit::{DropIn, stop_timeout_of};
use serde::{Deserialize, Serialize};

use crate::applier::files::{self, FileError};
use crate::applier::ledger::{Kept, read_checked, write_checked};
use crate::applier::rendition::sha256;
use crate::parts::effects::{Effect, Effects, Moment};
use crate::parts::systemd::{Systemd, Unit, UnitError, UnitState, Verb};

/// Where the units of an administrator lie. Source: systemd.unit(5).
pub const UNIT_DIR: &str = "/etc/systemd/system";
/// How the sum of a binary is told that nobody knows.
pub const UNKNOWN: &str = "unknown";
/// How long a start may take until the program runs.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// How long the command of a reload may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(30);
/// What systemd may need beside the time that the unit itself has to stop.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// How long a unit without a readable drop-in may take to stop.
const STOP_UNKNOWN: Duration = Duration::from_secs(300);
/// After which time a stop is asked for once more.
const STOP_AGAIN: Duration = Duration::from_secs(3);
/// Source: Linux signal(7).
const SIGUSR2: i32 = 12;
const SIGKILL: i32 = 9;
/// Largest drop-in that is read.
const DROP_IN_LIMIT: u64 = 64 * 1024;
/// Largest binary whose sum is made.
const BINARY_LIMIT: u64 = 256 * 1024 * 1024;
/// Permission bits of the directory of drop-ins.
const DROP_IN_DIRECTORY_MODE: u32 = 0o755;

/// What is kept of a start. The invocation names one run of the unit for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartRecord {
    invocation: String,
    binary: String,
    binary_sha256: String,
    drop_in_sha256: String,
}

/// Why the unit is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// systemd.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The drop-in or the binary.
    #[error(transparent)]
    File(#[from] FileError),
    /// The binary is not there.
    #[error("there is no nats-server at `{path}`")]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It runs already, so this start would start nothing.
    #[error("`{unit}` runs already, as process {pid}", unit = Unit::NatsServer)]
    Runs {
        /// Its process id.
        pid: u32,
    },
    /// It ended at once.
    #[error("`{unit}` was started and does not run: {state}", unit = Unit::NatsServer)]
    Ended {
        /// What systemd says of it.
        state: String,
    },
    /// An injected fault; never in service.
    #[error("cannot command `{unit}`", unit = Unit::NatsServer)]
    Effect(#[source] io::Error),
}

/// One run of the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its main process.
    pub pid: u32,
    /// Seconds since 1970 when that was started.
    pub started_at: i64,
    /// SHA-256 of the binary it was started from; [`UNKNOWN`] where somebody else started it and files changed since.
    pub binary_sha256: String,
}

/// What the unit is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It runs.
    Running(Run),
    /// systemd is about to start it, as it does after a failure.
    Coming,
    /// It does not run.
    Stopped {
        /// How the last run ended; absent where systemd has forgotten.
        last_exit: Option<String>,
    },
}

/// The unit of this host's nats-server.
#[derive(Clone)]
pub struct Service {
    systemd: Arc<dyn Systemd>,
    state_dir: PathBuf,
    unit_dir: PathBuf,
    effects: Effects,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("unit_dir", &self.unit_dir).finish_non_exhaustive()
    }
}

impl Service {
    /// The unit on this host, with drop-ins below `unit_dir`.
    #[must_use]
    pub fn new(
        systemd: Arc<dyn Systemd>,
        state_dir: PathBuf,
        unit_dir: PathBuf,
        effects: Effects,
    ) -> Service {
        Service { systemd, state_dir, unit_dir, effects }
    }

    /// The unit, its files, and whether it runs. Changes nothing.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub async fn observe(&self) -> Result<(UnitObserved, Found), UnitError> {
        let state = self.systemd.state(Unit::NatsServer).await?;
        let path = self.drop_in();
        // Whoever is not root manages nobody else's files.
        let is_root = rustix::process::geteuid().is_root();
        let owner = files::owner_of(&path).ok().filter(|_| is_root);
        // A distribution brings drop-ins for every service.
        let is_packaged = |other: &Path| ["/usr/lib", "/lib"].iter().any(|root| other.starts_with(root));
        let others = state.drop_ins.iter().filter(|other| **other != path && !is_packaged(other));
        let seen = UnitSeen {
            load: state.load.clone(),
            fragment: state.fragment.display().to_string(),
            file_state: state.file_state.clone(),
            drop_in: read_drop_in(&path),
            owner: owner.map(|owner| Owner { uid: owner.uid, gid: owner.gid }),
            others: others.map(|other| other.display().to_string()).collect(),
            is_stale: state.needs_reload,
        };
        Ok((UnitObserved::Present(seen), self.found(&state)))
    }

    /// Writes the drop-in where it differs and has systemd read it; takes a mask off.
    ///
    /// Afterwards the next start, stop and reload follow `drop_in`; a server that runs goes on as it is. May be repeated. A
    /// crash half-way leaves a file that systemd has not read, which is a difference of its own.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn write(&self, drop_in: &DropIn, assets: usize) -> Result<(), ServiceError> {
        let state = self.systemd.state(Unit::NatsServer).await?;
        let mut is_stale = state.needs_reload;
        if state.load == "masked" {
            self.effects.reach(Effect::UnmaskUnit, Moment::Before).map_err(ServiceError::Effect)?;
            self.systemd.unmask(Unit::NatsServer).await?;
            self.effects.reach(Effect::UnmaskUnit, Moment::After).map_err(ServiceError::Effect)?;
            is_stale = true;
        }
        let path = self.drop_in();
        let found = match read_drop_in(&path) {
            FileObserved::Present { text, mode, .. } if mode == layout::PUBLIC_MODE => text,
            FileObserved::Present { .. } | FileObserved::Missing | FileObserved::Unreadable { .. } => None,
        };
        let like = drop_in.text_like(found.as_deref());
        let needed = drop_in.stop_timeout(assets);
        let text = match stop_timeout_of(&like) {
            Some(enough) if enough >= needed => like,
            Some(_) | None => drop_in.text(needed),
        };
        let is_root = rustix::process::geteuid().is_root();
        let is_owned = !is_root || files::owner_of(&path).is_ok_and(|owner| owner.uid == 0 && owner.gid == 0);
        if found.as_ref() != Some(&text) || !is_owned {
            let directory = path.parent().unwrap_or(Path::new(UNIT_DIR));
            files::make_directory(&self.effects, directory, DROP_IN_DIRECTORY_MODE)?;
            files::write_atomic(
                &self.effects,
                Effect::WriteUnit,
                &path,
                text.as_bytes(),
                layout::PUBLIC_MODE,
            )?;
            is_stale = true;
        }
        if is_stale {
            self.effects.reach(Effect::ReloadUnits, Moment::Before).map_err(ServiceError::Effect)?;
            self.systemd.reload().await?;
            self.effects.reach(Effect::ReloadUnits, Moment::After).map_err(ServiceError::Effect)?;
        }
        Ok(())
    }

    /// Starts the unit as `drop_in` says, which is written first.
    ///
    /// Afterwards the program runs and is on record; whether it is well is the gate's to see. A crash in between leaves it
    /// running, and it is found again.
    ///
    /// # Errors
    /// [`ServiceError`]; nothing runs then, unless only the answer was lost.
    pub async fn start(&self, drop_in: &DropIn, assets: usize) -> Result<Run, ServiceError> {
        self.write(drop_in, assets).await?;
        let binary = PathBuf::from(&drop_in.binary);
        let binary_sha256 = sum(&binary)?.ok_or(ServiceError::NoBinary { path: binary })?;
        if let Some(pid) = self.main_pid().await? {
            return Err(ServiceError::Runs { pid });
        }
        self.effects.reach(Effect::StartServer, Moment::Before).map_err(ServiceError::Effect)?;
        // One that was started too often within a minute is not started otherwise.
        if let Err(error) = self.systemd.reset_failed(Unit::NatsServer).await {
            tracing::debug!(%error, "earlier starts of nats-server still count");
        }
        self.systemd.run(Unit::NatsServer, Verb::Start, START_DEADLINE).await?;
        let state = self.systemd.state(Unit::NatsServer).await?;
        let (Some(pid), Some(invocation)) = (state.running(), state.invocation.clone()) else {
            let UnitState { active, sub, result, last_exit, .. } = state;
            let exit = last_exit.map_or(String::new(), |exit| format!(", {exit}"));
            return Err(ServiceError::Ended { state: format!("{active} ({sub}, {result}{exit})") });
        };
        let run = Run { pid, started_at: started_at(&state), binary_sha256: binary_sha256.clone() };
        let drop_in_sha256 = sum(&self.drop_in())?.unwrap_or_default();
        self.record(&StartRecord {
            invocation,
            binary: drop_in.binary.clone(),
            binary_sha256,
            drop_in_sha256,
        });
        self.effects.reach(Effect::StartServer, Moment::After).map_err(ServiceError::Effect)?;
        Ok(run)
    }

    /// Whether the unit runs, and since what start.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub async fn find(&self) -> Result<Found, UnitError> {
        Ok(self.found(&self.systemd.state(Unit::NatsServer).await?))
    }

    /// Most open files of the server, as the unit has it: of one that runs, unless the drop-in was changed since, which is a
    /// difference of its own.
    ///
    /// # Errors
    /// Why nobody knows, one line.
    pub async fn open_files(&self) -> Seen<OpenFiles> {
        let state = self.systemd.state(Unit::NatsServer).await.map_err(|error| host_state::chain(&error))?;
        let (soft, hard) =
            state.open_files.ok_or_else(|| "systemd tells no limit of nats-server.service".to_owned())?;
        let limit = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
        Ok(OpenFiles { soft: limit(soft), hard: limit(hard), of: "nats-server.service".to_owned() })
    }

    /// Process id of the running server; `None` when none runs. Cheap.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub async fn main_pid(&self) -> Result<Option<u32>, UnitError> {
        self.systemd.main_pid(Unit::NatsServer).await
    }

    /// Has the unit read its configuration again.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn reload(&self) -> Result<(), ServiceError> {
        self.effects.reach(Effect::ReloadServer, Moment::Before).map_err(ServiceError::Effect)?;
        self.systemd.run(Unit::NatsServer, Verb::Reload, RELOAD_DEADLINE).await?;
        self.effects.reach(Effect::ReloadServer, Moment::After).map_err(ServiceError::Effect)
    }

    /// Stops the unit in its own way, the lame duck, and waits; what outlives its time is killed.
    ///
    /// The signal is sent a second time after a moment: a server that has just been started does not hear the first one, and
    /// one that is a lame duck already does not mind. Afterwards it does not run. May be repeated.
    /// Source: nats-server 2.15.1 server/server.go (`lameDuckMode`), tried.
    ///
    /// # Errors
    /// [`ServiceError`], when it still runs or nobody knows.
    pub async fn stop(&self) -> Result<(), ServiceError> {
        let FileObserved::Present { text, .. } = read_drop_in(&self.drop_in()) else {
            return self.stop_within(STOP_UNKNOWN).await;
        };
        let deadline = text.as_deref().and_then(stop_timeout_of).unwrap_or(STOP_UNKNOWN);
        self.stop_within(deadline.saturating_add(STOP_MARGIN)).await
    }

    async fn stop_within(&self, deadline: Duration) -> Result<(), ServiceError> {
        self.effects.reach(Effect::StopServer, Moment::Before).map_err(ServiceError::Effect)?;
        let job = self.systemd.run(Unit::NatsServer, Verb::Stop, deadline);
        let again = async {
            tokio::time::sleep(STOP_AGAIN).await;
            if let Err(error) = self.systemd.kill(Unit::NatsServer, SIGUSR2).await {
                tracing::debug!(%error, "the stop was not asked for again");
            }
            std::future::pending::<Infallible>().await
        };
        let stopped = tokio::select! {
            stopped = job => stopped,
            never = again => match never {},
        };
        match stopped {
            Ok(()) => {}
            Err(error) => {
                if self.main_pid().await?.is_some() {
                    tracing::warn!(%error, "nats-server did not stop in time and is killed");
                    self.effects.reach(Effect::KillServer, Moment::Before).map_err(ServiceError::Effect)?;
                    self.systemd.kill(Unit::NatsServer, SIGKILL).await?;
                    self.effects.reach(Effect::KillServer, Moment::After).map_err(ServiceError::Effect)?;
                    self.systemd.run(Unit::NatsServer, Verb::Stop, STOP_MARGIN).await?;
                }
            }
        }
        self.effects.reach(Effect::StopServer, Moment::After).map_err(ServiceError::Effect)
    }

    fn drop_in(&self) -> PathBuf {
        self.unit_dir.join(layout::DROP_IN_PATH)
    }

    fn found(&self, state: &UnitState) -> Found {
        if let Some(pid) = state.running() {
            let binary_sha256 = self.started_from(state);
            return Found::Running(Run { pid, started_at: started_at(state), binary_sha256 });
        }
        match state.is_coming() {
            true => Found::Coming,
            false => Found::Stopped { last_exit: state.last_exit.clone() },
        }
    }

    /// The sum of the binary that this run was started from. A run that the agent did not start, as when systemd starts it
    /// again after a failure, is what the agent would have started if neither binary nor drop-in changed since.
    fn started_from(&self, state: &UnitState) -> String {
        let invocation = state.invocation.clone().unwrap_or_default();
        let Kept::Valid(record) = read_checked::<StartRecord>(&self.record_path()) else {
            return UNKNOWN.to_owned();
        };
        if record.invocation == invocation {
            return record.binary_sha256;
        }
        let is_older = |path: &Path| changed_us(path).is_some_and(|changed| changed < state.started_us);
        let binary = PathBuf::from(&record.binary);
        let is_same = is_older(&binary)
            && is_older(&self.drop_in())
            && sum(&self.drop_in()).ok().flatten().as_ref() == Some(&record.drop_in_sha256);
        if !is_same {
            return UNKNOWN.to_owned();
        }
        let Ok(Some(binary_sha256)) = sum(&binary) else { return UNKNOWN.to_owned() };
        self.record(&StartRecord { invocation, binary_sha256: binary_sha256.clone(), ..record });
        binary_sha256
    }

    /// Without a record the run is proven by what did not change, so one that cannot be written stops nothing.
    fn record(&self, record: &StartRecord) {
        let written = write_checked(&self.effects, Effect::WriteProcessRecord, &self.record_path(), record);
        if let Err(error) = written {
            tracing::warn!(error = host_state::chain(&error), "the start of nats-server is not on record");
        }
    }

    fn record_path(&self) -> PathBuf {
        self.state_dir.join(layout::UNIT_FILE)
    }
}

fn read_drop_in(path: &Path) -> FileObserved {
    if path.is_symlink() {
        return FileObserved::Missing;
    }
    match (files::read_bounded(path, DROP_IN_LIMIT), files::mode_of(path)) {
        (Ok(None), _) => FileObserved::Missing,
        (Err(error), _) => FileObserved::Unreadable { reason: host_state::chain(&error) },
        (Ok(Some(_)), Err(error)) => FileObserved::Unreadable { reason: error.to_string() },
        (Ok(Some(bytes)), Ok(mode)) => {
            FileObserved::Present { sha256: sha256(&bytes), mode, text: String::from_utf8(bytes).ok() }
        }
    }
}

fn sum(path: &Path) -> Result<Option<String>, FileError> {
    Ok(files::read_bounded(path, BINARY_LIMIT)?.map(|bytes| sha256(&bytes)))
}

/// Microseconds since 1970 at which a file's content, name or owner last changed. Nobody can set it.
fn changed_us(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    Some(seconds.saturating_mul(1_000_000) + u64::try_from(metadata.ctime_nsec()).ok()? / 1000)
}

fn started_at(state: &UnitState) -> i64 {
    i64::try_from(state.started_us / 1_000_000).unwrap_or(i64::MAX)
}
