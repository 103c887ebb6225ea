//! Requests to the local nats-server under a user whose key stays with the caller, or as the agent's own system user.
//!
//! The caller gives a user JWT and signs the server's nonce; the agent holds the connection and carries requests and
//! replies. What that user may do is nats-server's to decide. As the agent's system user, which may push claims, only
//! requests pass that ask servers about themselves. One tunnel is one connection: it never reconnects (the
//! caller would be asked to sign again, for what it may no longer want) and ends with the stream that opened it.

mod calls;
mod connection;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use identity::Nkey;
use nats_agent_api::order::{TunnelRequest, TunnelResponse};
use tokio::sync::mpsc;

use calls::{Calls, Reach};
#[cfg(feature = "fuzz")]
pub(crate) use connection::refused_subject;
use connection::{Connecting, Connection, Incoming};

/// Most calls in flight in one tunnel.
pub const MAX_CALLS: usize = 64;
/// Most replies that one call may wait for.
pub const MAX_REPLIES: u32 = 4096;
/// Longest time that one call may take.
pub const MAX_CALL_TIME: Duration = Duration::from_secs(120);

/// The local nats-server, as a tunnel dials it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Client listener.
    pub client: SocketAddr,
    /// The address that its certificate must name.
    pub address: IpAddr,
    /// Host CA certificates, PEM.
    pub host_ca_pem: String,
}

/// As whom a tunnel logs in, and so what passes.
#[derive(Debug, Clone)]
pub enum Login {
    /// As a user of the caller, who signs; whatever the server allows passes.
    Caller {
        /// The user's JWT.
        user_jwt: String,
    },
    /// As the agent's system user; monitoring requests pass.
    Monitor {
        /// Its JWT.
        user_jwt: String,
        /// Its key. Redacted by its own type.
        user_key: Arc<Nkey>,
    },
}

/// Why one call failed. The texts are part of the interface: callers compare them. A deadline that passed is no failure
/// of the call: it ends with the replies it had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody listens on the subject.
    #[error("no responders")]
    NoResponders,
    /// The user may not publish there.
    #[error("permissions violation")]
    PermissionsViolation,
    /// Larger than the server takes.
    #[error("maximum payload exceeded: {size} bytes, at most {max}")]
    MaxPayload {
        /// Size of the payload.
        size: usize,
        /// What the server takes.
        max: u64,
    },
    /// [`MAX_CALLS`] are in flight.
    #[error("too many calls in flight, at most {MAX_CALLS}")]
    TooManyCalls,
    /// Another call with this id is in flight.
    #[error("call id is in use")]
    IdInUse,
    /// The call makes no sense; says what.
    #[error("invalid call: {0}")]
    Invalid(&'static str),
    /// The client library refused it.
    #[error("not sent: {0}")]
    NotSent(String),
}

/// Why a tunnel did not open, or ended before its caller left.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// nats-server refused the user.
    #[error("authorization violation")]
    AuthorizationViolation,
    /// No signature, no INFO or no login in time.
    #[error("timeout")]
    Timeout,
    /// It cannot be reached, or TLS failed.
    #[error("cannot reach the local nats-server at `{client}`")]
    Unreachable {
        /// Where it should be.
        client: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be prepared.
    #[error("cannot prepare TLS to the local nats-server")]
    Tls(#[source] super::server_tls::ServerTlsError),
    /// The caller did something out of turn.
    #[error("out of turn: {0}")]
    OutOfTurn(&'static str),
    /// The server went away, or ended the user's connection.
    #[error("the local nats-server ended the connection: {0}")]
    Lost(String),
}

/// Opens a tunnel and serves it until `asked` ends. `said` is the way back; when nobody reads it any more, the tunnel
/// ends too.
///
/// # Errors
/// [`TunnelError`]; a caller that leaves is no error.
pub async fn serve<S>(
    target: &Target,
    login: Login,
    mut asked: S,
    said: mpsc::Sender<TunnelResponse>,
) -> Result<(), TunnelError>
where
    S: Stream<Item = TunnelRequest> + Unpin + Send,
{
    let reach = match &login {
        Login::Caller { .. } => Reach::User,
        Login::Monitor { .. } => Reach::Monitoring,
    };
    let Some(mut connection) = open(target, login, &mut asked, &said).await? else { return Ok(()) };
    let (server_name, max_payload) = connection.server();
    let mut calls = Calls::new(max_payload, reach);
    if said.send(TunnelResponse::Opened { server_name, max_payload }).await.is_err() {
        return Ok(());
    }
    loop {
        let answers = tokio::select! {
            next = asked.next() => match next {
                Some(TunnelRequest::Call(call)) => match calls.begin(&call) {
                    Ok(()) => match connection.publish(call).await {
                        Ok(()) => Vec::new(),
                        Err((id, error)) => calls.fail(id, error),
                    },
                    Err(error) => vec![calls::ended(call.id, 0, Some(error))],
                },
                Some(TunnelRequest::Signature(_)) => return Err(TunnelError::OutOfTurn("a signature nobody asked for")),
                Some(TunnelRequest::Open(_)) => return Err(TunnelError::OutOfTurn("a second login")),
                None => return Ok(()),
            },
            incoming = connection.next() => match incoming {
                Incoming::Reply(id, message) => calls.reply(id, *message),
                Incoming::MayNotPublish(subject) => calls.may_not_publish(&subject),
                Incoming::Ended(reason) => return Err(TunnelError::Lost(reason)),
            },
            () = calls.next_deadline() => calls.expire(),
        };
        for answer in answers {
            if said.send(answer).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Logs in, carrying the nonce to the caller and the signature back. `None` when the caller left.
async fn open<S>(
    target: &Target,
    login: Login,
    asked: &mut S,
    said: &mpsc::Sender<TunnelResponse>,
) -> Result<Option<Connection>, TunnelError>
where
    S: Stream<Item = TunnelRequest> + Unpin + Send,
{
    let Connecting { connected, mut nonces } = connection::connect(target, login)?;
    tokio::pin!(connected);
    let mut waiting = None;
    loop {
        tokio::select! {
            result = &mut connected => return result.map(Some),
            Some(nonce) = nonces.recv() => {
                waiting = Some(nonce.signature);
                if said.send(TunnelResponse::Nonce(nonce.nonce)).await.is_err() {
                    return Ok(None);
                }
            }
            next = asked.next() => match (next, waiting.take()) {
                (Some(TunnelRequest::Signature(signature)), Some(waiting)) => {
                    // Nobody waits any more when the login ended meanwhile; that result comes next.
                    let _unless_ended = waiting.send(signature.to_vec());
                }
                (Some(TunnelRequest::Signature(_)), None) => {
                    return Err(TunnelError::OutOfTurn("a signature nobody asked for"));
                }
                (Some(TunnelRequest::Open(_)), _) => return Err(TunnelError::OutOfTurn("a second login")),
                (Some(TunnelRequest::Call(_)), _) => {
                    return Err(TunnelError::OutOfTurn("a call before the tunnel was open"));
                }
                (None, _) => return Ok(None),
            },
        }
    }
}
