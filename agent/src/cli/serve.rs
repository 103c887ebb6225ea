//! `nats-agent serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use identity::{Enrollment, HostName};
use nats_agent::applier::LocalApplier;
use nats_agent::applier::claim::{self, EnrollmentFile, OfferError};
use nats_agent::front::{Front, Network};
use nats_agent::parts::effects::Effects;
use nats_agent::roles::{AgentSettings, Applier};
use rustix::process::{Resource, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

use super::enroll;

/// Threads that run the agent's own work; it waits nearly all of the time.
const WORKERS: usize = 2;
/// Threads for files and processes; idle ones end after ten seconds.
const BLOCKING_THREADS: usize = 8;

/// Files that the agent may need to hold open: the strangers and callers that its port takes at once
/// (`nats_agent_api::server`), nearly two thousand, and its own.
const OPEN_FILES: u64 = 4096;

/// Run the agent: serve callers on one port and keep nats-server as its document says.
///
/// An unclaimed host waits to be claimed: with `--enrollment`, or after `nats-agent enroll`. SIGTERM and SIGINT end
/// the agent in order: a running apply comes to its end, then nats-server is stopped. SIGHUP has it look at everything at
/// once, as it does each minute: certificates that are due are renewed, accounts brought up to date.
///
/// Examples:
///   nats-agent serve --state-dir /var/lib/nats-agent --listen 10.10.151.211:8442
///   nats-agent serve --state-dir /tmp/east-1 --listen 127.0.1.1:8442 --nats-server ./nats-server --enrollment east-1.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Serve {
    /// Directory that the agent keeps everything in; made when it is missing, private to the agent's user.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", env = "NATS_AGENT_LISTEN")]
    listen: SocketAddr,
    /// The nats-server binary, for documents that leave it to the agent.
    #[arg(long, value_name = "FILE", env = "NATS_AGENT_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// File with the enrolment that this host may be claimed with; `-` reads standard input. Ignored once the host is
    /// claimed or the enrolment was used, so it may stay in a unit file.
    #[arg(long, value_name = "FILE", env = "NATS_AGENT_ENROLLMENT_FILE")]
    enrollment: Option<PathBuf>,
    /// Name that this host must have: an enrolment for another one is refused.
    #[arg(long, value_name = "NAME", env = "NATS_AGENT_HOST")]
    host: Option<HostName>,
    /// Leave nats-server running when the agent ends; the next one takes it over.
    #[arg(long)]
    leave_server_running: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<u8> {
        super::state_dir::prepare(&self.state_dir)?;
        if let Some(path) = &self.enrollment {
            self.offer(path)?;
        }
        allow_open_files();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(self.serve())?;
        Ok(0)
    }

    /// Puts the enrolment in place. One that has done its work is no error: the same command line starts a host for
    /// the first time and ever after.
    fn offer(&self, path: &std::path::Path) -> Result<()> {
        let text = enroll::read(path)?;
        let enrollment: Enrollment = text.parse().context("the enrolment cannot be used")?;
        if let Some(host) = self.host.as_ref().filter(|host| **host != enrollment.host) {
            bail!("the enrolment is for host `{}`, this is `{host}`", enrollment.host);
        }
        if !self.opens_something(&enrollment)? {
            return Ok(());
        }
        match claim::offer(&Effects::default(), &self.state_dir, &text) {
            Ok(_) => Ok(()),
            Err(OfferError::Claimed { .. } | OfferError::Burnt { .. }) => {
                tracing::debug!("the enrolment has done its work and is ignored");
                Ok(())
            }
            Err(error @ (OfferError::Text(_) | OfferError::ClaimUnreadable { .. } | OfferError::File(_))) => {
                Err(error.into())
            }
        }
    }

    /// Whether the enrolment is one that the agent has not seen: a restart must not give a token another hour.
    fn opens_something(&self, given: &Enrollment) -> Result<bool> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        Ok(match claim::read_enrollment(&Effects::default(), &self.state_dir, now)? {
            EnrollmentFile::Missing | EnrollmentFile::Burnt { .. } => true,
            EnrollmentFile::Open { enrollment, .. } => {
                enrollment.token.to_text() != given.token.to_text() || enrollment.host != given.host
            }
            EnrollmentFile::Expired { host, .. } => {
                tracing::warn!(
                    host,
                    "the enrolment's hour is over; `nats-agent enroll` opens the door again"
                );
                false
            }
            EnrollmentFile::Unreadable { reason } => {
                tracing::warn!(reason, "the enrolment in the state directory cannot be read and is replaced");
                true
            }
        })
    }

    async fn serve(self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        let Serve { state_dir, listen, nats_server, leave_server_running, enrollment: _, host: _ } = self;
        let settings = AgentSettings::of_process(state_dir, listen, nats_server);
        let applier = LocalApplier::open(settings.clone(), Arc::new(Network::new(&settings)))?;
        let front = Front::start(&settings, Arc::clone(&applier) as Arc<dyn Applier>).await?;
        tracing::info!(address = %front.address(), version = env!("CARGO_PKG_VERSION"), "nats-agent listens");
        let reason = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hang_up.recv() => applier.sweep_now(),
            }
        };
        tracing::info!(reason, "stopping");
        front.stop().await;
        if leave_server_running {
            tracing::info!("nats-server is left running");
        } else {
            applier.shut_down().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Raises the soft limit, which is 1024 by default for the sake of programs that use select(2), as far as it may go.
/// nats-server raises its own.
fn allow_open_files() {
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
