//! `nats-agent front`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use host_state::layout;
use nats_agent::border::{self, RemoteApplier};
use nats_agent::front::{Front, Network};
use nats_agent::roles::Applier;

use super::daemon::{self, Asked, Signals};
use super::notify;

/// How long the applier is waited for at start.
const APPLIER_PATIENCE: Duration = Duration::from_secs(30);
/// How long the applier may take to say that it lives.
const BEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long callers have to end once the applier is gone.
const LOST_GRACE: Duration = Duration::from_secs(2);

/// Run the front of the agent: its port and all that touches the network. The applier is another process on this host.
///
/// It needs no rights but its own: it reads nothing of the state directory, and writes what it downloads. When the applier
/// ends, so does the front, with an error: systemd starts both anew. Neither stops nats-server by its end.
///
/// Examples:
///   nats-agent front --listen '[::]:8442'
///   nats-agent front --listen 127.0.1.1:8442 --sockets /tmp/east-1 --front-sockets /tmp/east-1 \
///     --downloads /tmp/east-1/downloads
#[derive(Debug, Args)]
#[command(name = "front", verbatim_doc_comment)]
pub(super) struct RunFront {
    /// Directory of the applier's `applier.sock`, which the front connects to.
    #[arg(long, default_value = super::SOCKETS, env = "NATS_AGENT_SOCKETS", value_name = "DIR")]
    sockets: PathBuf,
    /// Directory of the front's own `agent.sock`, which `nats-agent status` asks.
    #[arg(long, default_value = super::FRONT_SOCKETS, env = "NATS_AGENT_FRONT_SOCKETS", value_name = "DIR")]
    front_sockets: PathBuf,
    /// Directory for downloads, where the applier finds them.
    #[arg(long, default_value = layout::HOST_DOWNLOADS, env = "NATS_AGENT_DOWNLOADS", value_name = "DIR")]
    downloads: PathBuf,
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", env = "NATS_AGENT_LISTEN")]
    listen: SocketAddr,
}

impl RunFront {
    pub(super) fn run(self) -> Result<u8> {
        daemon::allow_open_files();
        daemon::runtime()?.block_on(self.serve())?;
        Ok(0)
    }

    async fn serve(self) -> Result<()> {
        let RunFront { sockets, front_sockets, downloads, listen } = self;
        let mut signals = Signals::take()?;
        let path = sockets.join(border::SOCKET_NAME);
        let connected = RemoteApplier::connect(&path, Arc::new(Network::new(downloads)), APPLIER_PATIENCE);
        let applier = tokio::select! {
            connected = connected => connected?,
            _signal = signals.until_end(|| ()) => return Ok(()),
        };
        let front = Front::start(listen, &front_sockets, Arc::clone(&applier) as Arc<dyn Applier>).await?;
        tracing::info!(address = %front.address(), version = env!("CARGO_PKG_VERSION"), "the front listens");
        notify::ready();
        let telling = notify::keep_telling(|| health(applier.as_ref()));
        tokio::pin!(telling);
        loop {
            tokio::select! {
                never = &mut telling => match never {},
                asked = signals.next() => match asked {
                    Asked::ToLook => {}
                    Asked::ToEnd(reason) => {
                        tracing::info!(reason, "stopping");
                        notify::stopping();
                        front.stop().await;
                        tracing::info!("stopped");
                        return Ok(());
                    }
                },
                reason = applier.lost() => {
                    let _late = tokio::time::timeout(LOST_GRACE, front.stop()).await;
                    bail!("the applier is gone: {reason}");
                }
            }
        }
    }
}

/// The front is as well as its applier: without it nothing that it is asked for can be done.
async fn health(applier: &RemoteApplier) -> Result<String, String> {
    match tokio::time::timeout(BEAT_TIMEOUT, applier.beat()).await {
        Ok(Ok(())) => Ok(notify::whose(&applier.claim_state().borrow())),
        Ok(Err(error)) => Err(format!("the applier: {error}")),
        Err(_) => Err(format!("the applier gave no sign of life within {} s", BEAT_TIMEOUT.as_secs())),
    }
}
