//! What stands before every call: the caller's role, how much it may send, how many calls of its role are under way, and
//! of a peer whether its key is pinned.
//!
//! All of it is settled by the headers alone. A body that nobody may send, or that is larger than its call can need, is
//! never collected; what one role has under way never takes the place of another's.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use identity::Role;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::adapter::{Adapter, caller};
use super::{METHODS, Method};
use crate::order::Caller;
use crate::wire::agent_server::{AgentServer, SERVICE_NAME};
use crate::{MAX_DOWN_BYTES, MAX_UP_BYTES};

/// Most bytes of a request that carries ids and signatures only.
const SMALL_BYTES: usize = 64 * 1024;
/// Most bytes of a probe: its targets.
const PROBE_BYTES: usize = 2 * 1024 * 1024;
/// Most bytes of one message in a tunnel: the largest payload that nats-server takes unless it is told otherwise, with
/// its headers. Source: nats-server 2.15.1 server/const.go `MAX_PAYLOAD_SIZE`, 1 MiB.
pub const MAX_TUNNEL_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// Most calls of operators at once.
pub const MAX_OPERATOR_CALLS: usize = 256;
/// Most calls of readers, of accounts and of peers at once, each for itself, besides tunnels and previews.
pub const MAX_LESSER_CALLS: usize = 16;
/// Most tunnels of readers at once, and of accounts. Each may hold three messages on their way.
pub const MAX_LESSER_TUNNELS: usize = 16;
/// Most previews of readers at once: each may send [`MAX_UP_BYTES`], which is held twice while it is converted.
pub const MAX_READER_PREVIEWS: usize = 2;

/// Most bytes of one message that a caller sends with `method`.
fn max_bytes(method: Method) -> usize {
    match method {
        Method::Observe
        | Method::Preflight
        | Method::Confirm
        | Method::Cancel
        | Method::Lease
        | Method::Claims => SMALL_BYTES,
        Method::Probe => PROBE_BYTES,
        Method::Preview | Method::Apply => MAX_UP_BYTES,
        Method::Tunnel => MAX_TUNNEL_BYTES,
    }
}

/// The method at the end of a path like `/nats_agent.v1.Agent/Observe`.
fn method_of(path: &str) -> Option<Method> {
    let name = path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')?;
    METHODS.into_iter().find(|method| format!("{method:?}") == name)
}

/// Places for the calls of one role.
#[derive(Debug, Clone)]
struct Places {
    calls: Arc<Semaphore>,
    tunnels: Arc<Semaphore>,
    previews: Arc<Semaphore>,
}

impl Places {
    fn new(calls: usize, tunnels: usize, previews: usize) -> Places {
        let places = |count| Arc::new(Semaphore::new(count));
        Places { calls: places(calls), tunnels: places(tunnels), previews: places(previews) }
    }

    fn of(&self, method: Method) -> Arc<Semaphore> {
        let Places { calls, tunnels, previews } = self;
        Arc::clone(match method {
            Method::Tunnel => tunnels,
            Method::Preview => previews,
            Method::Observe
            | Method::Preflight
            | Method::Apply
            | Method::Confirm
            | Method::Cancel
            | Method::Lease
            | Method::Probe
            | Method::Claims => calls,
        })
    }
}

/// Places for the calls of every role.
#[derive(Debug, Clone)]
struct Pools {
    operators: Places,
    readers: Places,
    accounts: Places,
    peers: Places,
}

impl Pools {
    fn new() -> Pools {
        let lesser = || Places::new(MAX_LESSER_CALLS, MAX_LESSER_TUNNELS, MAX_READER_PREVIEWS);
        Pools {
            operators: Places::new(MAX_OPERATOR_CALLS, MAX_OPERATOR_CALLS, MAX_OPERATOR_CALLS),
            readers: lesser(),
            accounts: lesser(),
            peers: lesser(),
        }
    }

    /// A place for a call, and whose it is, or why it is refused unread.
    fn admit(
        &self,
        method: Method,
        extensions: &Extensions,
    ) -> Result<(Caller, OwnedSemaphorePermit), Status> {
        let caller = caller(method, extensions)?;
        let places = match &caller.role {
            Role::Operator => &self.operators,
            Role::Reader => &self.readers,
            Role::Account(_) => &self.accounts,
            Role::Peer => &self.peers,
        };
        let place = places.of(method).try_acquire_owned().map_err(|_| {
            let role = &caller.role;
            Status::unavailable(format!("too many calls of `{method:?}` at once by role `{role}`"))
        })?;
        Ok((caller, place))
    }
}

/// The service of a claimed agent behind its gate.
#[derive(Clone)]
pub(super) struct Gate {
    adapter: Arc<Adapter>,
    pools: Pools,
}

impl Gate {
    pub(super) fn new(adapter: Adapter) -> Gate {
        Gate { adapter: Arc::new(adapter), pools: Pools::new() }
    }
}

impl NamedService for Gate {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = method_of(request.uri().path()) else {
            return Box::pin(async { Ok(Status::unimplemented("there is no such call").into_http()) });
        };
        let (caller, place) = match self.pools.admit(method, request.extensions()) {
            Ok(admitted) => admitted,
            Err(refusal) => return Box::pin(async { Ok(refusal.into_http()) }),
        };
        let mut server = AgentServer::from_arc(Arc::clone(&self.adapter))
            .max_decoding_message_size(max_bytes(method))
            .max_encoding_message_size(MAX_DOWN_BYTES);
        let adapter = Arc::clone(&self.adapter);
        Box::pin(async move {
            if let Err(refusal) = adapter.admit(&caller).await {
                return Ok(refusal.into_http());
            }
            let response = Service::call(&mut server, request).await?;
            Ok(response.map(|body| Body::new(Held { body, _place: place })))
        })
    }
}

/// An answer on its way: its call counts until all of it was taken, or nobody takes it any more.
struct Held {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::listener::Channel;
    use super::*;

    #[test]
    fn every_method_is_known_by_its_path_and_nothing_else() {
        for method in METHODS {
            assert_eq!(method_of(&format!("/nats_agent.v1.Agent/{method:?}")), Some(method));
        }
        for path in ["", "/", "/nats_agent.v1.Agent/", "/nats_agent.v1.Agent/observe", "/x/Observe"] {
            assert_eq!(method_of(path), None, "{path}");
        }
    }

    #[test]
    fn what_one_role_has_under_way_is_not_anothers_to_wait_for() {
        let pools = Pools::new();
        let asks = |role: Role, method| {
            let mut extensions = Extensions::new();
            let caller = Caller { role, serial: "1".to_owned(), spki_pin: "0".repeat(64), opened_ms: 0 };
            extensions.insert(Channel { caller, exporter: [0; crate::tls::EXPORTER_BYTES] });
            pools.admit(method, &extensions)
        };
        let held: Vec<_> = std::iter::from_fn(|| asks(Role::Reader, Method::Observe).ok()).collect();
        assert_eq!(held.len(), MAX_LESSER_CALLS);
        let refusal = asks(Role::Reader, Method::Claims).unwrap_err();
        assert_eq!(refusal.message(), "too many calls of `Claims` at once by role `reader`");
        assert!(asks(Role::Reader, Method::Preview).is_ok(), "a pool of its own");
        assert!(asks(Role::Peer, Method::Claims).is_ok());
        assert!(asks(Role::Operator, Method::Observe).is_ok());
        let denied = asks(Role::Peer, Method::Observe).unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied);
        drop(held);
        assert!(asks(Role::Reader, Method::Observe).is_ok());
    }
}
