//! The units of this host through systemd: started, stopped, reloaded, looked at, each job awaited by its result.
//!
//! Which units there are is closed: nothing here can be asked for another one. [`Systemd`] is the border; [`bus`] is it
//! over D-Bus, and tests have one of their own. `systemctl` is never run and nothing that is meant for people is read.

pub mod bus;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A unit that the agent may command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The server.
    NatsServer,
    /// The trial of a candidate.
    Shadow,
}

impl Unit {
    /// Its name for systemd.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::NatsServer => "nats-server.service",
            Unit::Shadow => "nats-agent-shadow.service",
        }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a unit can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it; one that runs is a success.
    Start,
    /// Stop it in its own way; one that does not run is a success.
    Stop,
    /// Have it read its configuration again.
    Reload,
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Reload => "reload",
        })
    }
}

/// Why systemd did not do it, or did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// systemd cannot be asked. Whether something was done is unknown.
    #[error("systemd cannot be asked: {reason}")]
    Bus {
        /// Why.
        reason: String,
    },
    /// systemd refuses at once, as it does with a masked or missing unit.
    #[error("systemd refuses to {verb} `{unit}`: {reason}")]
    Refused {
        /// What was asked.
        verb: String,
        /// Of which unit.
        unit: Unit,
        /// What systemd says.
        reason: String,
    },
    /// The job came to another end.
    #[error("`{unit}` did not {verb} (job result `{result}`)")]
    Job {
        /// What was asked.
        verb: Verb,
        /// Of which unit.
        unit: Unit,
        /// `failed`, `timeout`, `canceled`, `dependency`, `assert` and others.
        /// Source: systemd 252 src/core/job.c (`job_result_table`).
        result: String,
    },
    /// The job had not ended in time; it goes on.
    #[error("the job to {verb} `{unit}` took more than {} s", deadline.as_secs())]
    Deadline {
        /// What was asked.
        verb: Verb,
        /// Of which unit.
        unit: Unit,
        /// The time it had.
        deadline: Duration,
    },
}

/// What systemd says of one unit, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `bad-setting`, `error`, `masked`.
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// The kind's own word, like `running` or `auto-restart`.
    pub sub: String,
    /// How the last run ended: `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`.
    pub result: String,
    /// Process id of the main process; absent while there is none.
    pub main_pid: Option<u32>,
    /// 32 lower-case hex digits that name this run for ever; absent before the first.
    pub invocation: Option<String>,
    /// How often systemd started it again by itself.
    pub restarts: u32,
    /// Microseconds since 1970 at which the main process was started; 0 before the first.
    pub started_us: u64,
    /// How the last main process ended; absent while none has.
    pub last_exit: Option<String>,
    /// Whether it starts at boot: `static`, `enabled`, `disabled`, `masked`.
    pub file_state: String,
    /// The unit's own file; empty where there is none.
    pub fragment: PathBuf,
    /// Drop-ins that were read.
    pub drop_ins: Vec<PathBuf>,
    /// Whether files changed after they were read.
    pub needs_reload: bool,
    /// Most open files of its main process: the limit that holds, and what it may be raised to; `u64::MAX` is none. Absent
    /// where systemd does not say.
    pub open_files: Option<(u64, u64)>,
}

impl UnitState {
    /// The main process, while the unit runs.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        let runs = matches!(self.active.as_str(), "active" | "reloading" | "deactivating");
        self.main_pid.filter(|_| runs)
    }

    /// Whether systemd is about to start it by itself.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        self.active == "activating"
    }
}

/// The service manager of a host, and where its administrator's units lie.
#[derive(Clone)]
pub struct Machine {
    /// The service manager.
    pub systemd: Arc<dyn Systemd>,
    /// Directory of units.
    pub unit_dir: PathBuf,
    /// Whether the agent keeps the machine's firewall too.
    pub has_firewall: bool,
}

/// The host's service manager.
#[async_trait]
pub trait Systemd: Send + Sync + 'static {
    /// Asks for a job and waits for its result.
    async fn run(&self, unit: Unit, verb: Verb, deadline: Duration) -> Result<(), UnitError>;
    /// Sends a signal to all processes of the unit. One without processes is a success.
    async fn kill(&self, unit: Unit, signal: i32) -> Result<(), UnitError>;
    /// Forgets that the unit failed, so that it may be started again.
    async fn reset_failed(&self, unit: Unit) -> Result<(), UnitError>;
    /// Has systemd read all unit files again.
    async fn reload(&self) -> Result<(), UnitError>;
    /// Takes the mask off the unit, for good and until the next boot.
    async fn unmask(&self, unit: Unit) -> Result<(), UnitError>;
    /// Everything about the unit.
    async fn state(&self, unit: Unit) -> Result<UnitState, UnitError>;
    /// Process id of the unit's main process; `None` while there is none. Cheap.
    async fn main_pid(&self, unit: Unit) -> Result<Option<u32>, UnitError>;
}
