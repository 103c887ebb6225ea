//! Requests to a host's nats-server through its agent, many at once over one stream.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::CallError;
use crate::convert;
use crate::order::{NO_RESPONDERS, TunnelCall, TunnelLogin, TunnelReply, TunnelRequest, TunnelResponse};
use crate::wire;
use crate::wire::agent_client::AgentClient as Wire;

/// Requests that may wait for the connection.
const QUEUE: usize = 64;
/// How much longer than its own deadline a call is awaited before the tunnel is believed dead.
const GRACE: Duration = Duration::from_secs(3);
/// NATS status of a reply that nobody sent. Source: nats-server 2.15.1 server/client.go (`NATS/1.0 503`).
const STATUS_NO_RESPONDERS: u16 = 503;

/// Why a tunnel did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The agent did not take it, or nats-server did not take the user.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The agent said something out of turn.
    #[error("agent `{address}` did not keep to the order of a tunnel")]
    Order {
        /// `host:port`.
        address: String,
    },
}

/// Why a request through a tunnel failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens on the subject.
    #[error("nobody answers on `{subject}`")]
    NoResponders {
        /// The subject.
        subject: String,
    },
    /// No reply in time.
    #[error("no reply on `{subject}` within {} ms", timeout.as_millis())]
    Timeout {
        /// The subject.
        subject: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// nats-server or agent failed the call.
    #[error("the request on `{subject}` failed: {reason}")]
    Failed {
        /// The subject.
        subject: String,
        /// Why.
        reason: String,
    },
    /// The tunnel has ended. Whether the request was taken is not known.
    #[error("the tunnel through agent `{address}` has ended: {reason}")]
    Closed {
        /// `host:port`.
        address: String,
        /// Why, where that is known.
        reason: String,
    },
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Payload.
    pub payload: Vec<u8>,
    /// NATS status; absent when it has none.
    pub status: Option<u16>,
    /// NATS headers, one value a name.
    pub headers: BTreeMap<String, String>,
}

/// An open tunnel. Cheap to clone, calls run side by side; it closes when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    requests: mpsc::Sender<wire::TunnelRequest>,
    pending: Arc<Pending>,
    next_id: AtomicU64,
    server_name: String,
    max_payload: u64,
}

/// What waits for replies, and why the tunnel ended once it has.
#[derive(Debug, Default)]
struct Pending {
    state: Mutex<PendingState>,
}

#[derive(Debug, Default)]
struct PendingState {
    calls: HashMap<u64, mpsc::UnboundedSender<TunnelResponse>>,
    ended: Option<String>,
}

impl Pending {
    fn with<T>(&self, act: impl FnOnce(&mut PendingState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Signs the nonce of a server.
pub(super) type Sign<'a> = Box<dyn FnOnce(&[u8]) -> [u8; 64] + Send + 'a>;

/// Opens a tunnel; `sign` is there for a user and absent for the agent's monitor.
pub(super) async fn open(
    mut wire: Wire<Channel>,
    address: &str,
    login: TunnelLogin,
    sign: Option<Sign<'_>>,
    timeout: Duration,
) -> Result<Tunnel, OpenError> {
    let (requests, stream) = mpsc::channel(QUEUE);
    let late = || CallError::Timeout { address: address.to_owned(), method: "Tunnel" };
    let opening = async {
        push(&requests, address, TunnelRequest::Open(login)).await?;
        let responses = wire.tunnel(ReceiverStream::new(stream)).await;
        let responses = responses.map_err(|status| CallError::from_status(address, "Tunnel", status))?;
        let mut responses = responses.into_inner();
        if let Some(sign) = sign {
            let TunnelResponse::Nonce(nonce) = next(&mut responses, address).await? else {
                return Err(OpenError::Order { address: address.to_owned() });
            };
            push(&requests, address, TunnelRequest::Signature(sign(&nonce))).await?;
        }
        let TunnelResponse::Opened { server_name, max_payload } = next(&mut responses, address).await? else {
            return Err(OpenError::Order { address: address.to_owned() });
        };
        Ok((responses, server_name, max_payload))
    };
    let (responses, server_name, max_payload) =
        tokio::time::timeout(timeout, opening).await.map_err(|_| late())??;
    let pending = Arc::new(Pending::default());
    tokio::spawn(dispatch(responses, pending.clone(), address.to_owned()));
    let shared = Shared {
        address: address.to_owned(),
        requests,
        pending,
        next_id: AtomicU64::new(1),
        server_name,
        max_payload,
    };
    Ok(Tunnel { shared: Arc::new(shared) })
}

async fn push(
    requests: &mpsc::Sender<wire::TunnelRequest>,
    address: &str,
    request: TunnelRequest,
) -> Result<(), CallError> {
    requests.send(convert::tunnel_to_wire(request)).await.map_err(|_| CallError::Lost {
        address: address.to_owned(),
        method: "Tunnel",
        reason: "the stream has ended".to_owned(),
    })
}

async fn next(
    responses: &mut Streaming<wire::TunnelResponse>,
    address: &str,
) -> Result<TunnelResponse, CallError> {
    let message = responses.message().await;
    let message = message.map_err(|status| CallError::from_status(address, "Tunnel", status))?;
    let message = message.ok_or_else(|| CallError::Lost {
        address: address.to_owned(),
        method: "Tunnel",
        reason: "the agent ended it".to_owned(),
    })?;
    convert::tunnel_answer_from_wire(message)
        .map_err(|source| CallError::unreadable(address, "Tunnel", source))
}

/// Gives each response to the call it belongs to, until the tunnel ends.
async fn dispatch(mut responses: Streaming<wire::TunnelResponse>, pending: Arc<Pending>, address: String) {
    let reason = loop {
        let response = match next(&mut responses, &address).await {
            Ok(response) => response,
            Err(error) => break error.to_string(),
        };
        let (id, is_end) = match &response {
            TunnelResponse::Reply(reply) => (reply.id, false),
            TunnelResponse::End { id, .. } => (*id, true),
            TunnelResponse::Nonce(_) | TunnelResponse::Opened { .. } => {
                break format!("agent `{address}` opened it twice");
            }
        };
        pending.with(|state| {
            // A call that nobody awaits any more has no entry; its replies are dropped.
            if let Some(call) = state.calls.get(&id) {
                let _ = call.send(response);
            }
            if is_end {
                state.calls.remove(&id);
            }
        });
    };
    pending.with(|state| {
        state.calls.clear();
        state.ended = Some(reason);
    });
}

/// Takes a call out of the table when it is dropped half-way.
struct Awaited<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.pending.with(|state| state.calls.remove(&self.id));
    }
}

impl Tunnel {
    /// Name of the nats-server at the other end.
    pub fn server_name(&self) -> &str {
        &self.shared.server_name
    }

    /// Largest payload that it takes, in bytes.
    pub fn max_payload(&self) -> u64 {
        self.shared.max_payload
    }

    /// One request, one reply.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(
        &self,
        subject: &str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        self.request_with_headers(subject, payload, BTreeMap::new(), timeout).await
    }

    /// One request with headers, one reply.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request_with_headers(
        &self,
        subject: &str,
        payload: Vec<u8>,
        headers: BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let replies = self.call(subject, payload, headers, timeout, 1).await?;
        replies
            .into_iter()
            .next()
            .ok_or_else(|| RequestError::Timeout { subject: subject.to_owned(), timeout })
    }

    /// One request, as many replies as come: ends at `max_replies` or after `timeout`. May be empty.
    ///
    /// # Errors
    /// [`RequestError`], but never for a deadline.
    pub async fn scatter(
        &self,
        subject: &str,
        payload: Vec<u8>,
        timeout: Duration,
        max_replies: u32,
    ) -> Result<Vec<Reply>, RequestError> {
        self.call(subject, payload, BTreeMap::new(), timeout, max_replies).await
    }

    async fn call(
        &self,
        subject: &str,
        payload: Vec<u8>,
        headers: BTreeMap<String, String>,
        timeout: Duration,
        max_replies: u32,
    ) -> Result<Vec<Reply>, RequestError> {
        let Shared { requests, pending, next_id, .. } = &*self.shared;
        let id = next_id.fetch_add(1, Ordering::Relaxed);
        let (to_us, mut responses) = mpsc::unbounded_channel();
        if let Some(reason) = pending.with(|state| {
            state.calls.insert(id, to_us);
            state.ended.clone()
        }) {
            return Err(self.closed(reason));
        }
        let _awaited = Awaited { pending, id };
        let call = TunnelCall { id, subject: subject.to_owned(), payload, headers, timeout, max_replies };
        let request = convert::tunnel_to_wire(TunnelRequest::Call(call));
        let asking = async {
            if requests.send(request).await.is_err() {
                return Err(self.closed(self.why_ended()));
            }
            let mut replies = Vec::new();
            loop {
                match responses.recv().await {
                    Some(TunnelResponse::Reply(reply)) => replies.push(reply_of(subject, reply)?),
                    Some(TunnelResponse::End { id: _, replies: _, error: None }) => return Ok(replies),
                    Some(TunnelResponse::End { id: _, replies: _, error: Some(error) }) => {
                        return Err(failed(subject, error));
                    }
                    Some(TunnelResponse::Nonce(_) | TunnelResponse::Opened { .. }) | None => {
                        return Err(self.closed(self.why_ended()));
                    }
                }
            }
        };
        match tokio::time::timeout(timeout.saturating_add(GRACE), asking).await {
            Ok(result) => result,
            Err(_) => Err(RequestError::Timeout { subject: subject.to_owned(), timeout }),
        }
    }

    fn why_ended(&self) -> String {
        self.shared.pending.with(|state| state.ended.clone()).unwrap_or_else(|| "it is closing".to_owned())
    }

    fn closed(&self, reason: String) -> RequestError {
        RequestError::Closed { address: self.shared.address.clone(), reason }
    }
}

fn reply_of(subject: &str, reply: TunnelReply) -> Result<Reply, RequestError> {
    let TunnelReply { id: _, payload, status, headers } = reply;
    if status == Some(STATUS_NO_RESPONDERS) && payload.is_empty() {
        return Err(RequestError::NoResponders { subject: subject.to_owned() });
    }
    Ok(Reply { payload, status, headers })
}

fn failed(subject: &str, reason: String) -> RequestError {
    let subject = subject.to_owned();
    if reason == NO_RESPONDERS {
        RequestError::NoResponders { subject }
    } else {
        RequestError::Failed { subject, reason }
    }
}
