//! The agent's side of a claim: proof, offer, binding, done. Nothing is kept before the binding has passed.

use std::sync::Arc;

use host_state::document::canonical;
use identity::{ClaimSide, Enrollment, Trust, claim_proof, verify_claim_proof};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::adapter::{invalid, status};
use super::listener::{Channel, HANDSHAKE_TIMEOUT};
use super::{Door, EnrollmentService, ServiceError};
use crate::convert::{self, ConvertError, MAX_CLAIM_BYTES};
use crate::order::NewClaim;
use crate::wire;
use crate::wire::claim_request::Step as Asked;
use crate::wire::claim_response::Step as Told;

pub(super) struct Claiming {
    service: Arc<dyn EnrollmentService>,
}

impl Claiming {
    pub(super) fn new(service: Arc<dyn EnrollmentService>) -> Claiming {
        Claiming { service }
    }
}

type Responses = std::pin::Pin<Box<dyn Stream<Item = Result<wire::ClaimResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::enrollment_server::Enrollment for Claiming {
    type ClaimStream = Responses;

    async fn claim(
        &self,
        request: Request<Streaming<wire::ClaimRequest>>,
    ) -> Result<Response<Self::ClaimStream>, Status> {
        let channel = request.extensions().get::<Channel>().cloned();
        let channel = channel.ok_or_else(|| Status::permission_denied("the caller is not known"))?;
        let requests = request.into_inner();
        let (answers, stream) = mpsc::channel(2);
        let service = self.service.clone();
        tokio::spawn(async move {
            if let Err(refusal) = converse(&*service, &channel, requests, &answers).await {
                // The caller may be gone; nothing was kept for it.
                let _ = answers.send(Err(refusal)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The whole claim. Each step must come within [`HANDSHAKE_TIMEOUT`] but the binding, for which the caller signs.
async fn converse(
    service: &dyn EnrollmentService,
    channel: &Channel,
    mut requests: Streaming<wire::ClaimRequest>,
    answers: &mpsc::Sender<Result<wire::ClaimResponse, Status>>,
) -> Result<(), Status> {
    let enrollment = open(service)?;
    let Asked::Proof(wire::ClaimProof { proof, generation }) = next(&mut requests, 1).await? else {
        return Err(invalid(ConvertError::Missing("proof")));
    };
    let host_keys = service.host_keys();
    let spki = host_keys.leaf_spki.as_der();
    let Enrollment { authority: _, host, generation: expected, fleet_ca: _, token } = &*enrollment;
    if generation != *expected {
        let text =
            format!("this host waits for enrolment generation {expected}, the token is of {generation}");
        return Err(Status::unauthenticated(text));
    }
    if !verify_claim_proof(token, &channel.exporter, spki, ClaimSide::Provider, &proof) {
        return Err(Status::unauthenticated("the token is not the one this host was enrolled with"));
    }
    let offer = wire::ClaimOffer {
        proof: claim_proof(token, &channel.exporter, spki, ClaimSide::Agent).to_vec(),
        host: host.to_string(),
        host_keys_json: canonical(&host_keys),
        agent_version: service.agent_version(),
    };
    send(answers, Told::Offer(offer)).await?;
    let Asked::Binding(binding) = next(&mut requests, 6).await? else {
        return Err(invalid(ConvertError::Missing("binding")));
    };
    let claim = bound(&enrollment, binding)?;
    let claim_id = claim.claim_id.clone();
    // The door may have shut while the caller signed.
    let still = open(service)?;
    if still.generation != enrollment.generation {
        return Err(Status::unauthenticated("the host was enrolled anew meanwhile"));
    }
    service.bind(claim).await.map_err(status)?;
    send(answers, Told::Done(wire::ClaimDone { claim_id })).await
}

fn open(service: &dyn EnrollmentService) -> Result<Arc<Enrollment>, Status> {
    match service.door() {
        Door::Open(enrollment) => Ok(enrollment),
        Door::Expired => Err(Status::out_of_range(
            "the enrolment token has died; run `nats-agent enroll` on the host, or enrol it anew",
        )),
        Door::Closed => Err(Status::failed_precondition("the host is claimed, or was never enrolled")),
    }
}

async fn next(requests: &mut Streaming<wire::ClaimRequest>, patience: u32) -> Result<Asked, Status> {
    let request = tokio::time::timeout(HANDSHAKE_TIMEOUT * patience, requests.next())
        .await
        .map_err(|_| Status::cancelled("the caller did not go on with the claim in time"))?
        .ok_or_else(|| Status::cancelled("the caller ended the claim"))??;
    let wire::ClaimRequest { step } = request;
    step.ok_or_else(|| invalid(ConvertError::Missing("step")))
}

async fn send(answers: &mpsc::Sender<Result<wire::ClaimResponse, Status>>, step: Told) -> Result<(), Status> {
    let response = wire::ClaimResponse { step: Some(step) };
    answers.send(Ok(response)).await.map_err(|_| Status::cancelled("the caller has gone"))
}

/// Checks what a binding says against the enrolment.
fn bound(enrollment: &Enrollment, binding: wire::ClaimBinding) -> Result<NewClaim, Status> {
    let wire::ClaimBinding { trust_json, issuer_pem, claim_id, names_json } = binding;
    let trust: Trust = convert::json("the trust", &trust_json, MAX_CLAIM_BYTES).map_err(invalid)?;
    let names: identity::HostNames =
        convert::json("the names", &names_json, MAX_CLAIM_BYTES).map_err(invalid)?;
    let mut problems = Vec::new();
    if trust.authority != enrollment.authority {
        problems.push(format!("authority `{}` is not `{}`", trust.authority, enrollment.authority));
    }
    if trust.fleet_ca != enrollment.fleet_ca && trust.previous_fleet_ca.as_ref() != Some(&enrollment.fleet_ca)
    {
        problems.push("its fleet CA is not the one of the enrolment".to_owned());
    }
    if names.host != enrollment.host {
        problems.push(format!("host `{}` is not `{}`", names.host, enrollment.host));
    }
    problems.extend(names.problems().iter().map(ToString::to_string));
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if claim_id.len() != 32 || !claim_id.bytes().all(is_hex) {
        problems.push("its id is not 32 lower-case hex digits".to_owned());
    }
    if problems.is_empty() {
        let generation = enrollment.generation;
        Ok(NewClaim { generation, claim_id, trust, issuer_pem, names })
    } else {
        let text = format!("the claim does not fit the enrolment: {}", problems.join("; "));
        Err(status(ServiceError::Invalid(text)))
    }
}
