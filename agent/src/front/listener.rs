//! The agent's one TCP port: what it speaks follows whose host this is, without ever being closed.
//!
//! ```text
//! Open        claim only, ALPN `nats-claim`, under the enrolment's fleet CA
//! Claimed     everything, ALPN `h2`, under the authority's CAs, with the leaf of the moment
//! Closed      accepted and closed, not a byte said
//! Unreadable  the same
//! ```
//!
//! A renewed leaf and a rotated CA are in use from the next connection on; those that are open stay. At a change from
//! one row to another the connections of the old row end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nats_agent_api::server::{
    Acceptor, AgentService, ClaimedTls, EnrollmentService, ListenerTls, Port, TlsError, UnclaimedTls,
    self_signed, serve_claimed, serve_unclaimed,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::roles::{ApiIdentity, Applier, ClaimState, Claimed, OpenDoor, PrivateKeyPem};

/// Pause before the listener is tried again after it failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Opens the port. Must be called in a tokio runtime.
///
/// # Errors
/// [`BindError`], mostly because another process has it.
pub fn bind(address: SocketAddr) -> Result<Port, BindError> {
    let open = || Port::bind(address, &Acceptor::start()?);
    open().map_err(|source| BindError { address, source })
}

/// What both of the agent's lives answer with.
#[derive(Clone)]
pub struct Services {
    /// Unclaimed.
    pub enrollment: Arc<dyn EnrollmentService>,
    /// Claimed.
    pub agent: Arc<dyn AgentService>,
}

/// Why a life cannot be served now.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("the agent's key is not PKCS #8 PEM")]
    Key(#[source] rustls_pki_types::pem::Error),
    #[error("the listener's certificates cannot be used")]
    Tls(#[source] TlsError),
    #[error("the agent has no certificate yet")]
    NoCertificate,
}

/// The row of the module's table; equal rows are served by one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Claimed,
    Closed,
    Unreadable,
}

impl Life {
    fn of(state: &ClaimState) -> Life {
        match state {
            ClaimState::Open(_) => Life::Open,
            ClaimState::Claimed(_) => Life::Claimed,
            ClaimState::Closed => Life::Closed,
            ClaimState::Unreadable { .. } => Life::Unreadable,
        }
    }
}

/// Serves until `stop`; then no new request is taken and those under way have a few seconds.
pub async fn serve(port: Port, applier: Arc<dyn Applier>, services: Services, stop: CancellationToken) {
    let mut told = None;
    while !stop.is_cancelled() {
        let state = applier.claim_state().borrow().clone();
        let life = Life::of(&state);
        if told != Some(life) {
            tell(&state);
            told = Some(life);
        }
        let over = over(&applier, life, &stop);
        if matches!(life, Life::Closed | Life::Unreadable) {
            if let Err(error) = port.turn_away(over).await {
                tracing::error!(%error, "nobody can be turned away");
                wait(PAUSE_AFTER_FAILURE, &stop).await;
            }
            continue;
        }
        // Before the state is read, so that no change after it is missed.
        let news = (applier.claim_state(), applier.api_identity());
        let configured = match configured(applier.as_ref()) {
            Ok(tls) => tls,
            Err(error) => {
                // Right after a claim the first certificate is a moment away; anything else stays and is told again.
                tracing::warn!(error = %host_state::chain(&error), "nobody can be served yet");
                wait(PAUSE_AFTER_FAILURE, &stop).await;
                continue;
            }
        };
        let (sender, receiver) = watch::channel(Arc::new(configured));
        let served = async {
            if life == Life::Open {
                let service = Arc::clone(&services.enrollment);
                serve_unclaimed(&port, receiver, service, over).await
            } else {
                serve_claimed(&port, receiver, Arc::clone(&services.agent), over).await
            }
        };
        let served = tokio::select! {
            served = served => served,
            never = follow(applier.as_ref(), news, life, &sender) => match never {},
        };
        if let Err(error) = served {
            tracing::error!(error = %host_state::chain(&error), "the listener failed");
            wait(PAUSE_AFTER_FAILURE, &stop).await;
        }
    }
}

/// Says what the port does from now on.
fn tell(state: &ClaimState) {
    match state {
        ClaimState::Closed => {
            tracing::info!("not claimed and not enrolled: the door is closed until `nats-agent enroll`");
        }
        ClaimState::Open(OpenDoor { enrollment, expires_at }) => {
            let (host, generation) = (&enrollment.host, enrollment.generation);
            tracing::info!(%host, generation, expires_at, "not claimed: waiting for the authority to claim this host");
        }
        ClaimState::Claimed(claimed) => {
            let Claimed { host, claim_id, trust, .. } = claimed.as_ref();
            tracing::info!(%host, claim_id, authority = %trust.authority, "claimed: serving");
        }
        ClaimState::Unreadable { reason } => {
            tracing::error!(reason, "the claim cannot be read: the door is closed, nothing is changed");
        }
    }
}

/// Ends when the host's life is no longer `life`, or with `stop`.
fn over(
    applier: &Arc<dyn Applier>,
    life: Life,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (mut states, stop) = (applier.claim_state(), stop.clone());
    async move {
        let changed = async {
            let gone = states.wait_for(|state| Life::of(state) != life).await.is_err();
            if gone {
                // An applier that is gone takes the process with it; the last state holds until then.
                std::future::pending().await
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = changed => {}
        }
    }
}

/// Gives new connections the newest certificates for as long as it is polled.
async fn follow(
    applier: &dyn Applier,
    (mut states, mut identities): (watch::Receiver<ClaimState>, watch::Receiver<Option<Arc<ApiIdentity>>>),
    life: Life,
    sender: &watch::Sender<Arc<ListenerTls>>,
) -> std::convert::Infallible {
    loop {
        let gone = tokio::select! {
            changed = states.changed() => changed.is_err(),
            changed = identities.changed() => changed.is_err(),
        };
        if gone {
            return std::future::pending().await;
        }
        if Life::of(&states.borrow_and_update()) != life {
            continue;
        }
        match configured(applier) {
            Ok(tls) => {
                sender.send_replace(Arc::new(tls));
                tracing::info!("new connections are served with new certificates");
            }
            Err(error) => {
                tracing::error!(error = %host_state::chain(&error), "new certificates cannot be used, the old ones stay");
            }
        }
    }
}

/// TLS for the state of the moment.
fn configured(applier: &dyn Applier) -> Result<ListenerTls, NotReady> {
    let state = applier.claim_state().borrow().clone();
    match state {
        ClaimState::Open(OpenDoor { enrollment, .. }) => {
            let key = key_der(&applier.leaf_key())?;
            let certificate = self_signed(&key).map_err(NotReady::Tls)?;
            let fleet_ca = enrollment.fleet_ca.as_str().to_owned();
            let authority = enrollment.authority.clone();
            UnclaimedTls { certificate, key, fleet_ca, authority }.build().map_err(NotReady::Tls)
        }
        ClaimState::Claimed(claimed) => {
            let identity = applier.api_identity().borrow().clone().ok_or(NotReady::NoCertificate)?;
            let ApiIdentity { chain_pem, key } = identity.as_ref();
            let trust = &claimed.trust;
            let tls = ClaimedTls {
                chain_pem: chain_pem.clone(),
                key: key_der(key)?,
                fleet_ca: trust.fleet_ca_bundle(),
                host_ca: trust.host_ca_bundle(),
                authority: trust.authority.clone(),
            };
            tls.build().map_err(NotReady::Tls)
        }
        ClaimState::Closed | ClaimState::Unreadable { .. } => Err(NotReady::NoCertificate),
    }
}

fn key_der(key: &PrivateKeyPem) -> Result<Zeroizing<Vec<u8>>, NotReady> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_str().as_bytes()).map_err(NotReady::Key)?;
    Ok(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
}

async fn wait(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
