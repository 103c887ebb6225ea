//! One running nats-server: a child in a process group of its own, found again by a restarted agent and signalled through
//! a pidfd, so that a recycled process id is never hit; or a run of its unit ([`super::unit`]), which systemd signals.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use host_state::layout;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::proc_files::{self, ProcessFacts};
use super::unit::{Found, Run, Service};
use crate::applier::files::{self, FileError};
use crate::applier::ledger::{Kept, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects, Moment};

/// How often an adopted process is looked at.
const ADOPTED_POLL: Duration = Duration::from_millis(100);

/// How often a unit is looked at.
const UNIT_POLL: Duration = Duration::from_millis(500);

/// How often, and after which pause, a program that is busy is tried again.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a process may take to go after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(30);

/// What is kept of a started process, so that a restarted agent finds it. A process id alone says nothing: ids are
/// used again, start times within one boot are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildRecord {
    pid: u32,
    start_ticks: u64,
    boot_id: String,
}

/// Why nats-server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory that it writes in.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file for its output.
    #[error("cannot open `{path}` for the output of nats-server")]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The binary could not be started.
    #[error("cannot start `{binary}`")]
    Spawn {
        /// The binary.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was started and cannot be watched; it was killed again.
    #[error("cannot watch nats-server with process id {pid}")]
    Watch {
        /// Its process id.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A nats-server that ran when it was last looked at.
#[derive(Debug, Clone)]
pub struct ServerProcess {
    run: Run,
    way: Way,
    exit: watch::Receiver<Option<String>>,
}

/// How it is reached.
#[derive(Debug, Clone)]
enum Way {
    /// It is a child of this agent or of an earlier one.
    Child(Arc<OwnedFd>),
    /// It is a unit.
    Unit(Service),
}

/// Starts nats-server in `state_dir` on `current/nats-server.json`.
///
/// Afterwards it runs in its own process group, so that a Ctrl-C meant for the agent does not reach it, with an
/// empty environment, and it is on record for a restarted agent. Not repeatable: the caller makes sure that none
/// runs. A crash right after the start, or a disk that takes no record, leaves it without one; it is then found by its
/// working directory.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(effects: &Effects, binary: &Path, state_dir: &Path) -> Result<ServerProcess, StartError> {
    files::make_directory(effects, &state_dir.join(layout::SERVER), layout::DIRECTORY_MODE)?;
    let output_path = state_dir.join(layout::OUTPUT_FILE);
    let output = |source| StartError::Output { path: output_path.clone(), source };
    let out = files::open_output(effects, &output_path).map_err(output)?;
    let err = out.try_clone().map_err(output)?;
    let mut command = Command::new(binary);
    command
        .args(["-c", layout::CONFIG_PATH])
        .current_dir(state_dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    let spawn = |source| StartError::Spawn { binary: binary.to_owned(), source };
    effects.reach(Effect::StartServer, Moment::Before).map_err(spawn)?;
    let child = unless_busy(|| command.spawn()).map_err(spawn)?;
    let (process, facts) = watch_child(effects, child)?;
    record(effects, state_dir, &facts);
    Ok(process)
}

/// Starts a program that may just have been installed: while any other process is being started, the file that was
/// written is still open for writing in it for an instant, and Linux refuses to run such a file.
///
/// # Errors
/// Those of `start`; that one only after a tenth of a second.
pub fn unless_busy<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..BUSY_TRIES {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    start()
}

/// Finds the nats-server that an earlier agent started in `state_dir`; `None` when none runs.
#[must_use]
pub fn adopt(effects: &Effects, state_dir: &Path) -> Option<ServerProcess> {
    let recorded = match read_checked::<ChildRecord>(&state_dir.join(layout::CHILD_FILE)) {
        Kept::Valid(record) => proc_files::facts(record.pid)
            .ok()
            .filter(|facts| facts.start_ticks == record.start_ticks && facts.boot_id == record.boot_id),
        Kept::Missing | Kept::Unreadable { .. } => None,
    };
    let facts = recorded.or_else(|| proc_files::find_server(state_dir, layout::CONFIG_PATH))?;
    let process = watch_foreign(facts.clone())?;
    record(effects, state_dir, &facts);
    Some(process)
}

/// Ends a server of a trial in `directory` that a crash left there, started on `config`. None is a success.
///
/// # Errors
/// When it may not be signalled, or stays.
pub async fn end_left_over(effects: &Effects, directory: &Path, config: &str) -> io::Result<()> {
    let Some(process) = proc_files::find_server(directory, config).and_then(watch_foreign) else {
        return Ok(());
    };
    tracing::warn!(pid = process.run.pid, "a trial that a crash left behind is ended");
    if let Way::Child(pidfd) = &process.way {
        signal(effects, Effect::EndTrial, pidfd, Signal::KILL)?;
    }
    process.killed().await
}

impl ServerProcess {
    /// A run of its unit, followed until it ends.
    #[must_use]
    pub fn of_unit(service: Service, run: Run) -> ServerProcess {
        let (sender, exit) = watch::channel(None);
        let (watched, pid) = (service.clone(), run.pid);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UNIT_POLL).await;
                if sender.is_closed() {
                    return;
                }
                // What cannot be asked is not known to have ended.
                if watched.main_pid().await.is_ok_and(|found| found != Some(pid)) {
                    break;
                }
            }
            let text = match watched.find().await {
                Ok(Found::Stopped { last_exit: Some(exit) }) => exit,
                Ok(Found::Running(_) | Found::Coming) => "it ended and systemd starts it again".to_owned(),
                Ok(Found::Stopped { last_exit: None }) | Err(_) => "systemd does not know how".to_owned(),
            };
            sender.send_replace(Some(text));
        });
        ServerProcess { run, way: Way::Unit(service), exit }
    }

    /// Process id, start time and binary.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn last_exit(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Waits until it has ended and says how.
    pub async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|text| text.clone());
        ended.unwrap_or_else(|| "it is no longer watched".to_owned())
    }

    /// Has it read its configuration again. One that has ended is a success.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub async fn reload(&self, effects: &Effects) -> io::Result<()> {
        match &self.way {
            Way::Child(pidfd) => signal(effects, Effect::ReloadServer, pidfd, Signal::HUP),
            Way::Unit(service) => {
                service.reload().await.map_err(|error| io::Error::other(host_state::chain(&error)))
            }
        }
    }

    /// Asks it to end and waits; after `deadline` it is killed. A unit has the deadline that its drop-in says.
    ///
    /// Afterwards it does not run. May be repeated. A crash half-way leaves it ending by itself.
    ///
    /// # Errors
    /// When it may not be signalled, or outlives SIGKILL.
    pub async fn stop(&self, effects: &Effects, deadline: Duration) -> io::Result<String> {
        let pidfd = match &self.way {
            Way::Child(pidfd) => pidfd,
            Way::Unit(service) => {
                let stopped = service.stop().await;
                stopped.map_err(|error| io::Error::other(host_state::chain(&error)))?;
                self.killed().await?;
                return Ok(self.exited().await);
            }
        };
        signal(effects, Effect::StopServer, pidfd, Signal::TERM)?;
        if let Ok(text) = tokio::time::timeout(deadline, self.exited()).await {
            return Ok(text);
        }
        tracing::warn!(pid = self.run.pid, ?deadline, "nats-server did not stop in time and is killed");
        signal(effects, Effect::KillServer, pidfd, Signal::KILL)?;
        self.killed().await?;
        Ok(self.exited().await)
    }

    async fn killed(&self) -> io::Result<()> {
        let killed = tokio::time::timeout(KILL_DEADLINE, self.exited()).await;
        killed.map(drop).map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it did not end after SIGKILL"))
    }
}

fn signal(effects: &Effects, effect: Effect, pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    effects.run(effect, || match rustix::process::pidfd_send_signal(pidfd, signal) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    })
}

/// Without a record the process is found by its working directory, so one that cannot be written stops nothing.
fn record(effects: &Effects, state_dir: &Path, facts: &ProcessFacts) {
    let ProcessFacts { pid, start_ticks, boot_id, .. } = facts;
    let record = ChildRecord { pid: *pid, start_ticks: *start_ticks, boot_id: boot_id.clone() };
    let path = state_dir.join(layout::CHILD_FILE);
    if let Err(error) = write_checked(effects, Effect::WriteProcessRecord, &path, &record) {
        tracing::warn!(error = host_state::chain(&error), "nats-server runs without a record");
    }
}

/// Watches our own child. A thread waits for it, so that it is reaped whatever becomes of the runtime.
fn watch_child(effects: &Effects, mut child: Child) -> Result<(ServerProcess, ProcessFacts), StartError> {
    let pid = child.id();
    let watched = proc_files::facts(pid).and_then(|facts| {
        let pidfd = open_pidfd(pid)?;
        effects.reach(Effect::StartServer, Moment::After)?;
        Ok((facts, pidfd))
    });
    let (facts, pidfd) = match watched {
        Ok(watched) => watched,
        Err(source) => {
            // It is ours and not reaped yet, so its id is still its own.
            let _ = child.kill();
            let _ = child.wait();
            return Err(StartError::Watch { pid, source });
        }
    };
    let (sender, exit) = watch::channel(None);
    std::thread::spawn(move || {
        let text = match child.wait() {
            Ok(status) => exit_text(status),
            Err(error) => format!("its end cannot be seen: {error}"),
        };
        sender.send_replace(Some(text));
    });
    Ok((ServerProcess { run: run(&facts), way: Way::Child(Arc::new(pidfd)), exit }, facts))
}

fn run(facts: &ProcessFacts) -> Run {
    let ProcessFacts { pid, started_at, binary_sha256, start_ticks: _, boot_id: _ } = facts;
    Run { pid: *pid, started_at: *started_at, binary_sha256: binary_sha256.clone() }
}

/// Watches a child of an earlier agent. `None` when it ended meanwhile.
fn watch_foreign(facts: ProcessFacts) -> Option<ServerProcess> {
    let pidfd = Arc::new(open_pidfd(facts.pid).ok()?);
    // The id may have been used again between looking and opening.
    let again = proc_files::facts(facts.pid).ok()?;
    if again.start_ticks != facts.start_ticks {
        return None;
    }
    let (sender, exit) = watch::channel(None);
    let (pid, start_ticks) = (facts.pid, facts.start_ticks);
    // Nobody but its parent is told of its end, and waiting on a pidfd within tokio takes unsafe code.
    tokio::spawn(async move {
        while !sender.is_closed() && proc_files::is_alive(pid, start_ticks) {
            tokio::time::sleep(ADOPTED_POLL).await;
        }
        let text = "it ended; an earlier agent had started it, so its exit status is unknown";
        sender.send_replace(Some(text.to_owned()));
    });
    Some(ServerProcess { run: run(&facts), way: Way::Child(pidfd), exit })
}

fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no process id"))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}
