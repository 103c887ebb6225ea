//! `nats-agent serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use identity::HostName;
use nats_agent::applier::LocalApplier;
use nats_agent::front::{Front, Network};
use nats_agent::roles::{AgentSettings, Applier};

use super::daemon::{self, Signals};
use super::offering;

/// Run the whole agent in one process of an ordinary user, for development on loopback addresses.
///
/// Serves callers on one port and keeps nats-server as its document says. It manages no firewall. On a host,
/// `nats-agent front` and `nats-agent applier` are two processes.
///
/// An unclaimed host waits to be claimed: with `--enrollment`, or after `nats-agent enroll`. SIGTERM and SIGINT end
/// the agent in order: a running apply comes to its end, then nats-server is stopped. SIGHUP has it look at everything at
/// once, as it does each minute: certificates that are due are renewed, accounts brought up to date.
///
/// Examples:
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
            offering::offer(&self.state_dir, path, self.host.as_ref())?;
        }
        daemon::allow_open_files();
        daemon::runtime()?.block_on(self.serve())?;
        Ok(0)
    }

    async fn serve(self) -> Result<()> {
        let mut signals = Signals::take()?;
        let Serve { state_dir, listen, nats_server, leave_server_running, enrollment: _, host: _ } = self;
        let settings = AgentSettings::of_process(state_dir, listen, nats_server);
        let applier =
            LocalApplier::open(settings.clone(), Arc::new(Network::new(settings.downloads.clone())))?;
        let front =
            Front::start(settings.listen, &settings.sockets, Arc::clone(&applier) as Arc<dyn Applier>)
                .await?;
        tracing::info!(address = %front.address(), version = env!("CARGO_PKG_VERSION"), "nats-agent listens");
        let reason = signals.until_end(|| applier.sweep_now()).await;
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
