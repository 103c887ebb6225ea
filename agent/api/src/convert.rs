//! Plain types to wire and back. The only place that knows the generated types besides the calls themselves.
//!
//! Every field is destructured by name, so that a new one stops the build. What comes in is bounded before it is
//! parsed and refused whole when a part is missing, unknown or too large.

use std::time::Duration;

use host_state::audit::RecordHash;
use host_state::document::MAX_BODY_BYTES;
use host_state::{SignedSection, document};
use serde::de::DeserializeOwned;

use crate::order::{
    ApplyMode, ApplyOrder, LeaseAction, LeaseAnswer, LeaseOrder, MAX_PROBE_TARGETS, Observation, ProbeOrder,
    ProbeResult, TrialOrder, TunnelCall, TunnelLogin, TunnelReply, TunnelRequest, TunnelResponse,
};
use crate::wire;

/// Largest section header, in bytes; real ones have about 600.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Largest report, plan or event, in bytes.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Largest JSON of a claim's parts, in bytes.
pub(crate) const MAX_CLAIM_BYTES: usize = 256 * 1024;
/// Largest text of an id, holder, subject or signature, in bytes.
const MAX_TEXT_BYTES: usize = 4 * 1024;
/// Largest user JWT, in bytes.
const MAX_USER_JWT_BYTES: usize = 64 * 1024;
/// Most sections in one message: one of each kind.
const MAX_SECTIONS: usize = 8;

/// Why a message was refused. Never shows what it held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    /// A part that every such message has is not there.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// A value of an enumeration that this version does not know.
    #[error("the message has an unknown {0}")]
    Unknown(&'static str),
    /// Larger than is accepted.
    #[error("{what} has {found} bytes or entries, at most {max} are accepted")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Not the length it must have.
    #[error("{what} has {found} bytes, it needs {expected}")]
    Length {
        /// What.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size it needs.
        expected: usize,
    },
    /// Not the JSON it should be.
    #[error("{what} cannot be read")]
    Json {
        /// What.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

type Converted<T> = Result<T, ConvertError>;

fn bounded<T: AsRef<[u8]>>(what: &'static str, value: T, max: usize) -> Converted<T> {
    let found = value.as_ref().len();
    if found > max { Err(ConvertError::TooLarge { what, found, max }) } else { Ok(value) }
}

pub(crate) fn json<T: DeserializeOwned>(what: &'static str, text: &str, max: usize) -> Converted<T> {
    let text = bounded(what, text, max)?;
    serde_json::from_str(text).map_err(|source| ConvertError::Json { what, source })
}

/// JSON of a report, plan or event.
pub(crate) fn answer<T: DeserializeOwned>(what: &'static str, text: &str) -> Converted<T> {
    json(what, text, MAX_ANSWER_BYTES)
}

pub(crate) fn observation_to_wire(observation: Observation) -> wire::ObserveResponse {
    let Observation { report, sections, audit_hash } = observation;
    wire::ObserveResponse {
        report_json: document::canonical(&report),
        sections: sections_to_wire(sections),
        audit_hash: audit_hash.map(String::from).unwrap_or_default(),
    }
}

pub(crate) fn observation_from_wire(response: wire::ObserveResponse) -> Converted<Observation> {
    let wire::ObserveResponse { report_json, sections, audit_hash } = response;
    let audit_hash = match audit_hash {
        none if none.is_empty() => None,
        text => {
            let unknown = |_| ConvertError::Unknown("form of a record's hash");
            Some(RecordHash::try_from(text).map_err(unknown)?)
        }
    };
    Ok(Observation {
        report: answer("the report", &report_json)?,
        sections: sections_from_wire(sections)?,
        audit_hash,
    })
}

pub(crate) fn section_to_wire(section: SignedSection) -> wire::Section {
    let SignedSection { header, body, signature } = section;
    wire::Section { header_json: document::canonical(&header), body, signature }
}

pub(crate) fn section_from_wire(section: wire::Section) -> Converted<SignedSection> {
    let wire::Section { header_json, body, signature } = section;
    Ok(SignedSection {
        header: json("a section's header", &header_json, MAX_HEADER_BYTES)?,
        body: bounded("a section's body", body, MAX_BODY_BYTES)?,
        signature: bounded("a section's signature", signature, MAX_TEXT_BYTES)?,
    })
}

pub(crate) fn sections_to_wire(sections: Vec<SignedSection>) -> Vec<wire::Section> {
    sections.into_iter().map(section_to_wire).collect()
}

pub(crate) fn sections_from_wire(sections: Vec<wire::Section>) -> Converted<Vec<SignedSection>> {
    let (found, max) = (sections.len(), MAX_SECTIONS);
    if found > max {
        return Err(ConvertError::TooLarge { what: "the list of sections", found, max });
    }
    sections.into_iter().map(section_from_wire).collect()
}

pub(crate) fn apply_to_wire(order: ApplyOrder) -> wire::ApplyRequest {
    let ApplyOrder { sections, mode, lease_id } = order;
    let mode = match mode {
        ApplyMode::Stage => wire::apply_request::Mode::Stage,
        ApplyMode::Roll => wire::apply_request::Mode::Roll,
    };
    wire::ApplyRequest { sections: sections_to_wire(sections), mode: mode.into(), lease_id }
}

pub(crate) fn apply_from_wire(request: wire::ApplyRequest) -> Converted<ApplyOrder> {
    let wire::ApplyRequest { sections, mode, lease_id } = request;
    let mode = match wire::apply_request::Mode::try_from(mode) {
        Ok(wire::apply_request::Mode::Stage) => ApplyMode::Stage,
        Ok(wire::apply_request::Mode::Roll) => ApplyMode::Roll,
        Ok(wire::apply_request::Mode::Unspecified) | Err(_) => return Err(ConvertError::Unknown("mode")),
    };
    let lease_id = bounded("the lease id", lease_id, MAX_TEXT_BYTES)?;
    Ok(ApplyOrder { sections: sections_from_wire(sections)?, mode, lease_id })
}

pub(crate) fn trial(trial_id: String, signature: String) -> Converted<TrialOrder> {
    Ok(TrialOrder {
        trial_id: bounded("the trial id", trial_id, MAX_TEXT_BYTES)?,
        signature: bounded("the signature", signature, MAX_TEXT_BYTES)?,
    })
}

pub(crate) fn lease_to_wire(order: LeaseOrder) -> wire::LeaseRequest {
    let LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
    let action = match action {
        LeaseAction::Acquire => wire::lease_request::Action::Acquire,
        LeaseAction::Renew => wire::lease_request::Action::Renew,
        LeaseAction::Release => wire::lease_request::Action::Release,
    };
    wire::LeaseRequest { lease_id, holder, action: action.into(), ttl_ms, signature }
}

pub(crate) fn lease_from_wire(request: wire::LeaseRequest) -> Converted<LeaseOrder> {
    use wire::lease_request::Action;
    let wire::LeaseRequest { lease_id, holder, action, ttl_ms, signature } = request;
    let action = match Action::try_from(action) {
        Ok(Action::Acquire) => LeaseAction::Acquire,
        Ok(Action::Renew) => LeaseAction::Renew,
        Ok(Action::Release) => LeaseAction::Release,
        Ok(Action::Unspecified) | Err(_) => return Err(ConvertError::Unknown("action")),
    };
    let found = lease_id.len();
    if found != 32 {
        return Err(ConvertError::Length { what: "the lease id", found, expected: 32 });
    }
    Ok(LeaseOrder {
        lease_id,
        holder: bounded("the holder", holder, MAX_TEXT_BYTES)?,
        action,
        ttl_ms,
        signature: bounded("the signature", signature, MAX_TEXT_BYTES)?,
    })
}

pub(crate) fn lease_answer_to_wire(answer: LeaseAnswer) -> wire::LeaseResponse {
    let LeaseAnswer { granted, holder, remaining_ms } = answer;
    wire::LeaseResponse { granted, holder, remaining_ms }
}

pub(crate) fn lease_answer_from_wire(answer: wire::LeaseResponse) -> LeaseAnswer {
    let wire::LeaseResponse { granted, holder, remaining_ms } = answer;
    LeaseAnswer { granted, holder, remaining_ms }
}

pub(crate) fn probe_to_wire(order: ProbeOrder) -> wire::ProbeRequest {
    let ProbeOrder { targets, timeout } = order;
    wire::ProbeRequest { targets, timeout_ms: millis(timeout) }
}

pub(crate) fn probe_from_wire(request: wire::ProbeRequest) -> Converted<ProbeOrder> {
    let wire::ProbeRequest { targets, timeout_ms } = request;
    let (found, max) = (targets.len(), MAX_PROBE_TARGETS);
    if found > max {
        return Err(ConvertError::TooLarge { what: "the list of targets", found, max });
    }
    let targets = targets
        .into_iter()
        .map(|target| bounded("a target", target, MAX_TEXT_BYTES))
        .collect::<Converted<Vec<_>>>()?;
    Ok(ProbeOrder { targets, timeout: Duration::from_millis(timeout_ms.into()) })
}

pub(crate) fn probe_result_to_wire(result: ProbeResult) -> wire::ProbeResult {
    let ProbeResult { target, reached } = result;
    let error = match reached {
        Ok(()) => String::new(),
        // An empty text would read as success.
        Err(reason) if reason.is_empty() => "not reached".to_owned(),
        Err(reason) => reason,
    };
    wire::ProbeResult { target, error }
}

pub(crate) fn probe_result_from_wire(result: wire::ProbeResult) -> ProbeResult {
    let wire::ProbeResult { target, error } = result;
    ProbeResult { target, reached: if error.is_empty() { Ok(()) } else { Err(error) } }
}

pub(crate) fn tunnel_to_wire(request: TunnelRequest) -> wire::TunnelRequest {
    use wire::tunnel_request::Step;
    let step = match request {
        TunnelRequest::Open(login) => Step::Open(wire::TunnelOpen {
            user_jwt: match login {
                TunnelLogin::User { jwt } => jwt,
                TunnelLogin::Monitor => String::new(),
            },
        }),
        TunnelRequest::Signature(signature) => {
            Step::Signature(wire::TunnelSignature { signature: signature.to_vec() })
        }
        TunnelRequest::Call(call) => {
            let TunnelCall { id, subject, payload, headers, timeout, max_replies } = call;
            let (timeout_ms, headers) = (millis(timeout), headers.into_iter().collect());
            Step::Call(wire::TunnelCall { id, subject, payload, timeout_ms, max_replies, headers })
        }
    };
    wire::TunnelRequest { step: Some(step) }
}

pub(crate) fn tunnel_from_wire(request: wire::TunnelRequest) -> Converted<TunnelRequest> {
    use wire::tunnel_request::Step;
    let wire::TunnelRequest { step } = request;
    Ok(match step.ok_or(ConvertError::Missing("step"))? {
        Step::Open(wire::TunnelOpen { user_jwt }) => {
            let jwt = bounded("the user JWT", user_jwt, MAX_USER_JWT_BYTES)?;
            TunnelRequest::Open(if jwt.is_empty() { TunnelLogin::Monitor } else { TunnelLogin::User { jwt } })
        }
        Step::Signature(wire::TunnelSignature { signature }) => {
            TunnelRequest::Signature(fixed("the signature", &signature)?)
        }
        Step::Call(call) => {
            let wire::TunnelCall { id, subject, payload, timeout_ms, max_replies, headers } = call;
            TunnelRequest::Call(TunnelCall {
                id,
                subject: bounded("the subject", subject, MAX_TEXT_BYTES)?,
                payload,
                headers: headers.into_iter().collect(),
                timeout: Duration::from_millis(timeout_ms.into()),
                max_replies: max_replies.max(1),
            })
        }
    })
}

pub(crate) fn tunnel_answer_to_wire(response: TunnelResponse) -> wire::TunnelResponse {
    use wire::tunnel_response::Step;
    let step = match response {
        TunnelResponse::Nonce(nonce) => Step::Nonce(wire::TunnelNonce { nonce }),
        TunnelResponse::Opened { server_name, max_payload } => {
            Step::Opened(wire::TunnelOpened { server_name, max_payload })
        }
        TunnelResponse::Reply(reply) => {
            let TunnelReply { id, payload, status, headers } = reply;
            let (status, headers) = (status.unwrap_or_default().into(), headers.into_iter().collect());
            Step::Reply(wire::TunnelReply { id, payload, status, headers })
        }
        TunnelResponse::End { id, replies, error } => {
            Step::End(wire::TunnelEnd { id, replies, error: error.unwrap_or_default() })
        }
    };
    wire::TunnelResponse { step: Some(step) }
}

pub(crate) fn tunnel_answer_from_wire(response: wire::TunnelResponse) -> Converted<TunnelResponse> {
    use wire::tunnel_response::Step;
    let wire::TunnelResponse { step } = response;
    Ok(match step.ok_or(ConvertError::Missing("step"))? {
        Step::Nonce(wire::TunnelNonce { nonce }) => TunnelResponse::Nonce(nonce),
        Step::Opened(wire::TunnelOpened { server_name, max_payload }) => {
            TunnelResponse::Opened { server_name, max_payload }
        }
        Step::Reply(wire::TunnelReply { id, payload, status, headers }) => {
            let status = u16::try_from(status).map_err(|_| ConvertError::Unknown("status"))?;
            TunnelResponse::Reply(TunnelReply {
                id,
                payload,
                status: (status != 0).then_some(status),
                headers: headers.into_iter().collect(),
            })
        }
        Step::End(wire::TunnelEnd { id, replies, error }) => {
            TunnelResponse::End { id, replies, error: (!error.is_empty()).then_some(error) }
        }
    })
}

/// Exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(what: &'static str, bytes: &[u8]) -> Converted<[u8; N]> {
    bytes.try_into().map_err(|_| ConvertError::Length { what, found: bytes.len(), expected: N })
}

/// Milliseconds as the wire holds them; longer than 49 days is cut to that.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
