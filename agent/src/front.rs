//! The front: everything of the agent that touches the network.
//!
//! ```text
//! listener   one TCP port; its TLS follows whose host this is      claim, rpc   what callers ask over it
//! tunnel     requests to the local nats-server for callers         probe        which host:port can be reached
//! monitor    /varz and /healthz on loopback                        served_leaf  the certificate a port serves
//! resolver   account JWTs of the local nats-server                 held_ports   answers while a server is held
//! login      the agent's own users at the local nats-server       mesh         which other servers it reaches
//! download   files that documents name, by their SHA-256
//! peers      newer claims from neighbours, every minute            local        `status` and `diff` on the host
//! ```
//!
//! It holds no state that lasts and decides nothing about the host: what it sees may hold or roll back a change, never
//! authorise one. [`Network`] is the applier's way to look outside, [`Front`] the callers' way in.
//!
//! # Current limitations
//! - Only [`resolver`] reads files of the state directory; all else comes over the border ([`crate::roles`]).
//! - A neighbour's claims are fetched whole, whether they are newer or not.

pub mod claim;
pub mod download;
pub mod held_ports;
pub mod listener;
pub mod local;
pub mod login;
pub mod mesh;
pub mod monitor;
pub mod network;
pub mod peers;
pub mod probe;
pub mod resolver;
pub mod rpc;
pub mod served_leaf;
pub mod server_tls;
pub mod tunnel;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::roles::Applier;
use crate::unix_socket::OpenSocketError;

pub use network::Network;

/// How long an apply may go on once the agent is told to stop. A restart of a large server takes most of it.
const APPLY_GRACE: Duration = Duration::from_secs(180);
/// How long everything else may.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Why the front did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The agent's port.
    #[error(transparent)]
    Bind(#[from] listener::BindError),
    /// The local socket.
    #[error(transparent)]
    Socket(#[from] OpenSocketError),
}

/// The running front.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    applies: TaskTracker,
}

impl Front {
    /// Opens the port `listen` and the local socket in `sockets`, and serves. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing stays open then.
    pub async fn start(
        listen: SocketAddr,
        sockets: &Path,
        applier: Arc<dyn Applier>,
    ) -> Result<Front, StartError> {
        let socket = local::open(sockets).await?;
        let port = listener::bind(listen)?;
        let address = port.local_addr().map_err(|source| listener::BindError { address: listen, source })?;
        let (stop, tasks, applies) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
        let services = listener::Services {
            enrollment: Arc::new(claim::Enrolling::new(Arc::clone(&applier))),
            agent: Arc::new(rpc::Agent::new(Arc::clone(&applier), applies.clone())),
        };
        tasks.spawn(listener::serve(port, Arc::clone(&applier), services, stop.clone()));
        tasks.spawn(local::serve(socket, Arc::clone(&applier), stop.clone()));
        tasks.spawn(peers::run(applier, stop.clone()));
        Ok(Front { address, stop, tasks, applies })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, lets a running apply come to its end, and returns when port and socket are gone. An apply
    /// that takes longer than three minutes is left to the next start, which rolls it back.
    pub async fn stop(self) {
        let Front { address: _, stop, tasks, applies } = self;
        stop.cancel();
        tasks.close();
        applies.close();
        if tokio::time::timeout(APPLY_GRACE, applies.wait()).await.is_err() {
            tracing::error!("an apply did not end; the next start rolls it back");
        }
        if tokio::time::timeout(STOP_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}
