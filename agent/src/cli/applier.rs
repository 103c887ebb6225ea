//! `nats-agent applier`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use host_state::layout;
use identity::HostName;
use nats_agent::applier::LocalApplier;
use nats_agent::border::{self, FrontUser, RemoteView};
use nats_agent::roles::{AgentSettings, Applier, Place, ServerView};
use tokio_util::sync::CancellationToken;

use super::daemon::{self, Signals};
use super::users::{User, Users};
use super::{notify, offering, state_dir};

/// The enrolment that user data wrote; it may be missing.
const ENROLLMENT: &str = "/etc/nats-agent/enrollment";
/// The user that nats-server runs as.
const SERVICE_USER: &str = "nats";
/// The user of the front.
const FRONT_USER: &str = "nats-agent";
/// How long a change that is under way may go on once the applier is told to end. A restart of a large server takes most
/// of it.
const CHANGE_GRACE: Duration = Duration::from_secs(170);

/// Run the applier of the agent: it keeps nats-server, its configuration, certificates, firewall and store as the host's
/// documents say, and is never on the network. The front is another process on this host.
///
/// A host waits to be claimed with the enrolment in /etc/nats-agent/enrollment, or after `nats-agent enroll`. SIGTERM and
/// SIGINT end the applier when a change that is under way has come to its end; nats-server goes on, and the next applier
/// takes it over. SIGHUP has it look at everything at once.
///
/// Examples:
///   nats-agent applier --listen '[::]:8442'
///   nats-agent applier --place process --listen 127.0.1.1:8442 --state-dir /tmp/east-1 --sockets /tmp/east-1 \
///     --downloads /tmp/east-1/downloads
#[derive(Debug, Args)]
#[command(name = "applier", verbatim_doc_comment)]
pub(super) struct RunApplier {
    /// Directory that the agent keeps everything in.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// Directory of the socket `applier.sock`, which the front connects to.
    #[arg(long, default_value = super::SOCKETS, env = "NATS_AGENT_SOCKETS", value_name = "DIR")]
    sockets: PathBuf,
    /// Directory where the front puts what it downloads. What lies there is believed by its SHA-256 only.
    #[arg(long, default_value = layout::HOST_DOWNLOADS, env = "NATS_AGENT_DOWNLOADS", value_name = "DIR")]
    downloads: PathBuf,
    /// Where the front listens.
    #[arg(long, value_name = "ADDRESS:PORT", env = "NATS_AGENT_LISTEN")]
    listen: SocketAddr,
    /// The nats-server binary, for documents that leave it to the agent.
    #[arg(long, value_name = "FILE", env = "NATS_AGENT_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// File with the enrolment that this host may be claimed with. Without it, on a host, /etc/nats-agent/enrollment where
    /// that is there. Ignored once the host is claimed or the enrolment was used.
    #[arg(long, value_name = "FILE", env = "NATS_AGENT_ENROLLMENT_FILE")]
    enrollment: Option<PathBuf>,
    /// Name that this host must have: an enrolment for another one is not used.
    #[arg(long, value_name = "NAME", env = "NATS_AGENT_HOST")]
    host: Option<HostName>,
    /// Where nats-server runs.
    #[arg(long, value_enum, default_value_t = PlaceName::Host, env = "NATS_AGENT_PLACE")]
    place: PlaceName,
}

/// See [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlaceName {
    /// In a systemd unit, as user `nats`; the applier is root and the front is user `nats-agent`.
    Host,
    /// As a child of the applier; everything is of one ordinary user.
    Process,
}

impl RunApplier {
    pub(super) fn run(self) -> Result<u8> {
        let (place, front) = match self.place {
            PlaceName::Host => {
                let users = Users::read()?;
                let User { uid, gid } = users.find(FRONT_USER)?;
                state_dir::check(&self.state_dir)?;
                (Place::Host(users.find(SERVICE_USER)?.into()), FrontUser::Other { uid, gid })
            }
            PlaceName::Process => {
                state_dir::prepare(&self.state_dir)?;
                (Place::Process, FrontUser::Own)
            }
        };
        self.offer();
        daemon::allow_open_files();
        daemon::runtime()?.block_on(self.serve(place, front))?;
        Ok(0)
    }

    /// An enrolment that cannot be used must not keep a host that is claimed from being looked after.
    fn offer(&self) {
        let default = Path::new(ENROLLMENT);
        let path = match (&self.enrollment, self.place) {
            (Some(path), _) => path,
            (None, PlaceName::Host) if default.exists() => default,
            (None, PlaceName::Host | PlaceName::Process) => return,
        };
        if let Err(error) = offering::offer(&self.state_dir, path, self.host.as_ref()) {
            tracing::error!(error = format!("{error:#}"), path = %path.display(), "the enrolment is not used");
        }
    }

    async fn serve(self, place: Place, front: FrontUser) -> Result<()> {
        let RunApplier {
            state_dir,
            sockets,
            downloads,
            listen,
            nats_server,
            enrollment: _,
            host: _,
            place: _,
        } = self;
        let mut signals = Signals::take()?;
        let settings = AgentSettings { state_dir, listen, nats_server, sockets, downloads, place };
        let view = Arc::new(RemoteView::default());
        let applier = LocalApplier::open(settings.clone(), Arc::clone(&view) as Arc<dyn ServerView>)?;
        let socket = border::open(&settings.sockets, front).await?;
        let stop = CancellationToken::new();
        let served = Arc::clone(&applier) as Arc<dyn Applier>;
        let serving = tokio::spawn(border::serve(socket, front, served, view, stop.clone()));
        tracing::info!(version = env!("CARGO_PKG_VERSION"), ?place, "the applier keeps this host");
        notify::ready();
        let reason = tokio::select! {
            reason = signals.until_end(|| applier.sweep_now()) => reason,
            never = notify::keep_telling(|| health(applier.as_ref())) => match never {},
        };
        tracing::info!(reason, "stopping");
        notify::stopping();
        // The front is needed until the change is over: the applier looks through it.
        let rest = tokio::time::timeout(CHANGE_GRACE, applier.rest()).await;
        if rest.is_err() {
            tracing::error!("a change did not end; the next start rolls it back");
        }
        stop.cancel();
        serving.await.context("the border failed")?;
        tracing::info!("stopped; nats-server goes on");
        Ok(())
    }
}

async fn health(applier: &LocalApplier) -> Result<String, String> {
    let beat = applier.beat().await;
    beat.map(|()| notify::whose(&applier.claim_state().borrow())).map_err(|error| error.to_string())
}
