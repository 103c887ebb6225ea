//! What the long-running commands (`serve`, `front`, `applier`) have in common: runtime, limits, signals.

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads that run the agent's own work; it waits nearly all of the time.
const WORKERS: usize = 2;
/// Threads for files and processes; idle ones end after ten seconds.
const BLOCKING_THREADS: usize = 8;
/// Files that the agent may need to hold open: the strangers and callers that its port takes at once
/// (`nats_agent_api::server`), nearly two thousand, and its own.
const OPEN_FILES: u64 = 4096;

/// The runtime of a process that lives long.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// What a person or systemd asks of the process by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end in order; the signal's name.
    ToEnd(&'static str),
    /// To look at everything at once.
    ToLook,
}

/// The signals that are taken from now on.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn take() -> Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
            hang_up: signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToEnd("SIGTERM"),
            _ = self.interrupt.recv() => Asked::ToEnd("SIGINT"),
            _ = self.hang_up.recv() => Asked::ToLook,
        }
    }

    /// Waits until the process is to end; `look` is called for each other wish.
    pub(super) async fn until_end(&mut self, look: impl Fn()) -> &'static str {
        loop {
            match self.next().await {
                Asked::ToEnd(signal) => return signal,
                Asked::ToLook => look(),
            }
        }
    }
}

/// Raises the soft limit, which is 1024 by default for the sake of programs that use select(2), as far as it may go.
/// nats-server raises its own.
pub(super) fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(wanted);
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
