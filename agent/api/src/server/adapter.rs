//! The generated server on one side, [`AgentService`] on the other: role, conversion, call, conversion.

use std::sync::Arc;

use host_state::chain;
use host_state::document::canonical;
use identity::Role;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::listener::Channel;
use super::{AgentService, Method, ServiceError, is_allowed};
use crate::convert;
use crate::order::Caller;
use crate::wire;
use crate::wire::agent_server::Agent;

/// Events and replies that may wait for a slow caller.
const QUEUE: usize = 64;
/// Requests of a tunnel that may wait for nats-server: one, because each may be large.
const TUNNEL_QUEUE: usize = 1;
/// Longest text of an error, in bytes; it travels as a header.
const MAX_STATUS_BYTES: usize = 6 * 1024;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct Adapter {
    service: Arc<dyn AgentService>,
}

impl Adapter {
    pub(super) fn new(service: Arc<dyn AgentService>) -> Adapter {
        Adapter { service }
    }

    /// Whether this caller may call now. Those that the fleet CA vouches for are let in by their role until their certificate
    /// ends; a host signs new ones by itself, so of a peer the service is asked each time.
    pub(super) async fn admit(&self, caller: &Caller) -> Result<(), Status> {
        match caller.role {
            Role::Peer => self.service.admit_peer(&caller.spki_pin).await.map_err(status),
            Role::Operator | Role::Reader | Role::Account(_) => Ok(()),
        }
    }
}

/// The one place where an agent's error becomes a status.
pub(super) fn status(error: ServiceError) -> Status {
    let text = |mut text: String| {
        if text.len() > MAX_STATUS_BYTES {
            text.truncate(text.floor_char_boundary(MAX_STATUS_BYTES));
            text.push_str("...");
        }
        text
    };
    match error {
        ServiceError::NotClaimed(why) => Status::failed_precondition(text(why)),
        ServiceError::Invalid(why) => Status::invalid_argument(text(why)),
        ServiceError::Conflict(why) => Status::aborted(text(why)),
        ServiceError::Leased(why) => Status::already_exists(text(why)),
        ServiceError::Frozen(why) => Status::data_loss(text(why)),
        ServiceError::Denied(why) => Status::permission_denied(text(why)),
        ServiceError::Failed(why) => Status::internal(text(why)),
    }
}

pub(super) fn invalid(error: convert::ConvertError) -> Status {
    status(ServiceError::Invalid(chain(&error)))
}

/// Who called, when its role may call `method`. A connection without a known caller may call nothing.
pub(super) fn caller(method: Method, extensions: &http::Extensions) -> Result<Caller, Status> {
    let channel = extensions.get::<Channel>();
    let caller = channel.map(|channel| channel.caller.clone());
    let denied = |why: String| Err(status(ServiceError::Denied(why)));
    match caller {
        Some(caller) if is_allowed(method, &caller.role) => Ok(caller),
        Some(caller) => denied(format!("role `{}` may not call `{method:?}`", caller.role)),
        None => denied("the caller is not known".to_owned()),
    }
}

#[tonic::async_trait]
impl Agent for Adapter {
    type ApplyStream = Answers<wire::ApplyEvent>;
    type TunnelStream = Answers<wire::TunnelResponse>;

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> Answer<wire::ObserveResponse> {
        caller(Method::Observe, request.extensions())?;
        let wire::ObserveRequest { audit_seq } = request.into_inner();
        let observation = self.service.observe(audit_seq).await.map_err(status)?;
        Ok(Response::new(convert::observation_to_wire(observation)))
    }

    async fn preview(&self, request: Request<wire::PreviewRequest>) -> Answer<wire::PreviewResponse> {
        caller(Method::Preview, request.extensions())?;
        let wire::PreviewRequest { sections } = request.into_inner();
        let sections = convert::sections_from_wire(sections).map_err(invalid)?;
        let plan = self.service.preview(sections).await.map_err(status)?;
        Ok(Response::new(wire::PreviewResponse { plan_json: canonical(&plan) }))
    }

    async fn preflight(&self, request: Request<wire::PreflightRequest>) -> Answer<wire::PreflightResponse> {
        caller(Method::Preflight, request.extensions())?;
        let wire::PreflightRequest {} = request.into_inner();
        let preflight = self.service.preflight().await.map_err(status)?;
        Ok(Response::new(wire::PreflightResponse { preflight_json: canonical(&preflight) }))
    }

    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Answer<Self::ApplyStream> {
        let caller = caller(Method::Apply, request.extensions())?;
        let order = convert::apply_from_wire(request.into_inner()).map_err(invalid)?;
        let (answers, stream) = mpsc::channel(QUEUE);
        let (events, mut told) = mpsc::channel(QUEUE);
        let service = self.service.clone();
        // A task of its own: an apply runs to its end when the caller goes away.
        let applying = tokio::spawn(async move { service.apply(order, caller, events).await });
        tokio::spawn(async move {
            let mut is_heard = true;
            while let Some(event) = told.recv().await {
                let event = wire::ApplyEvent { event_json: canonical(&event) };
                is_heard = is_heard && answers.send(Ok(event)).await.is_ok();
            }
            let error = match applying.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => ServiceError::Failed("the agent's apply ended by itself, see its log".to_owned()),
            };
            if is_heard {
                // The caller may go at any moment; then nobody needs to hear it.
                let _ = answers.send(Err(status(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn confirm(&self, request: Request<wire::ConfirmRequest>) -> Answer<wire::ConfirmResponse> {
        let caller = caller(Method::Confirm, request.extensions())?;
        let wire::ConfirmRequest { trial_id, signature } = request.into_inner();
        let order = convert::trial(trial_id, signature).map_err(invalid)?;
        self.service.confirm(order, caller).await.map_err(status)?;
        Ok(Response::new(wire::ConfirmResponse {}))
    }

    async fn cancel(&self, request: Request<wire::CancelRequest>) -> Answer<wire::CancelResponse> {
        let caller = caller(Method::Cancel, request.extensions())?;
        let wire::CancelRequest { trial_id, signature } = request.into_inner();
        let order = convert::trial(trial_id, signature).map_err(invalid)?;
        self.service.cancel(order, caller).await.map_err(status)?;
        Ok(Response::new(wire::CancelResponse {}))
    }

    async fn lease(&self, request: Request<wire::LeaseRequest>) -> Answer<wire::LeaseResponse> {
        let caller = caller(Method::Lease, request.extensions())?;
        let order = convert::lease_from_wire(request.into_inner()).map_err(invalid)?;
        let answer = self.service.lease(order, caller).await.map_err(status)?;
        Ok(Response::new(convert::lease_answer_to_wire(answer)))
    }

    async fn probe(&self, request: Request<wire::ProbeRequest>) -> Answer<wire::ProbeResponse> {
        caller(Method::Probe, request.extensions())?;
        let order = convert::probe_from_wire(request.into_inner()).map_err(invalid)?;
        let results = self.service.probe(order).await.map_err(status)?;
        let results = results.into_iter().map(convert::probe_result_to_wire).collect();
        Ok(Response::new(wire::ProbeResponse { results }))
    }

    async fn claims(&self, request: Request<wire::ClaimsRequest>) -> Answer<wire::ClaimsResponse> {
        caller(Method::Claims, request.extensions())?;
        let section = self.service.claims().await.map_err(status)?;
        Ok(Response::new(wire::ClaimsResponse { section: section.map(convert::section_to_wire) }))
    }

    async fn tunnel(&self, request: Request<Streaming<wire::TunnelRequest>>) -> Answer<Self::TunnelStream> {
        let caller = caller(Method::Tunnel, request.extensions())?;
        let mut asked = request.into_inner();
        let (answers, stream) = mpsc::channel(QUEUE);
        let (to_service, requests) = mpsc::channel(TUNNEL_QUEUE);
        let (responses, mut from_service) = mpsc::channel(QUEUE);
        let refusals = answers.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = asked.next().await {
                let sent = match convert::tunnel_from_wire(request) {
                    Ok(request) => to_service.send(request).await.is_ok(),
                    Err(error) => {
                        // Ends the tunnel; the caller hears why, if it still listens.
                        let _ = refusals.send(Err(invalid(error))).await;
                        false
                    }
                };
                if !sent {
                    break;
                }
            }
        });
        let service = self.service.clone();
        tokio::spawn(async move {
            let relayed = answers.clone();
            let relay = async move {
                while let Some(response) = from_service.recv().await {
                    if relayed.send(Ok(convert::tunnel_answer_to_wire(response))).await.is_err() {
                        break;
                    }
                }
            };
            let (ended, ()) = tokio::join!(service.tunnel(caller, requests, responses), relay);
            if let Err(error) = ended {
                // As above: the caller may be gone.
                let _ = answers.send(Err(status(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
