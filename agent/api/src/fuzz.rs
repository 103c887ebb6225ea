//! Every message that comes over the wire, decoded and converted, each as one body for any bytes: for the fuzz targets
//! and for tests (feature `fuzz`).

use prost::Message;
use serde_json::json;

use crate::convert;
use crate::wire;

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("preview_request", preview, || vec![wire::PreviewRequest { sections: vec![section()] }.encode_to_vec()]),
    ("apply_request", apply, || {
        vec![
            wire::ApplyRequest { sections: vec![section()], mode: 2, lease_id: "0".repeat(32) }
                .encode_to_vec(),
        ]
    }),
    ("trial_request", trial, || {
        vec![wire::ConfirmRequest { trial_id: "t".to_owned(), signature: "s".to_owned() }.encode_to_vec()]
    }),
    ("lease_request", lease, || {
        let (lease_id, holder, signature) = ("0".repeat(32), "ci".to_owned(), "s".to_owned());
        vec![wire::LeaseRequest { lease_id, holder, action: 1, ttl_ms: 30_000, signature }.encode_to_vec()]
    }),
    ("probe_request", probe, || {
        vec![wire::ProbeRequest { targets: vec!["10.0.0.1:4222".to_owned()], timeout_ms: 9 }.encode_to_vec()]
    }),
    ("tunnel_request", tunnel, || {
        use wire::tunnel_request::Step;
        let (subject, headers) = ("a.b".to_owned(), [("A".to_owned(), "b".to_owned())].into());
        let call =
            wire::TunnelCall { id: 1, subject, payload: vec![1], timeout_ms: 1, max_replies: 1, headers };
        let steps = [
            Step::Open(wire::TunnelOpen { user_jwt: "a.b.c".to_owned() }),
            Step::Signature(wire::TunnelSignature { signature: vec![0; 64] }),
            Step::Call(call),
        ];
        steps.map(|step| wire::TunnelRequest { step: Some(step) }.encode_to_vec()).into()
    }),
    ("claim_request", claim, || {
        use wire::claim_request::Step;
        let binding = wire::ClaimBinding {
            trust_json: "{}".to_owned(),
            issuer_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            claim_id: "0".repeat(32),
            names_json: json!({ "host": "east-1", "dns": [], "ips": [] }).to_string(),
        };
        let proof = wire::ClaimProof { proof: vec![0; 32], generation: 1 };
        let steps = [Step::Proof(proof), Step::Binding(binding)];
        steps.map(|step| wire::ClaimRequest { step: Some(step) }.encode_to_vec()).into()
    }),
    ("agent_responses", responses, || {
        let report_json = "{}".to_owned();
        let audit_hash = "0".repeat(64);
        let observed = wire::ObserveResponse { report_json, sections: vec![section()], audit_hash };
        let reply = wire::TunnelReply { id: 1, payload: vec![1], status: 503, headers: [].into() };
        let step = Some(wire::tunnel_response::Step::Reply(reply));
        vec![observed.encode_to_vec(), wire::TunnelResponse { step }.encode_to_vec()]
    }),
];

fn section() -> wire::Section {
    let hash = "0".repeat(64);
    let header = json!({
        "authority": "O", "section": "claims", "owner": "nats_authority/acme", "host": null, "claim_id": null,
        "generation": 1, "parent": null, "content": hash, "document_key": 1, "writer": "ci",
    });
    wire::Section { header_json: header.to_string(), body: "{}".to_owned(), signature: "s".to_owned() }
}

fn preview(bytes: &[u8]) {
    if let Ok(wire::PreviewRequest { sections }) = wire::PreviewRequest::decode(bytes) {
        let _ = convert::sections_from_wire(sections);
    }
}

fn apply(bytes: &[u8]) {
    if let Ok(request) = wire::ApplyRequest::decode(bytes)
        && let Ok(order) = convert::apply_from_wire(request)
    {
        let again = convert::apply_from_wire(convert::apply_to_wire(order.clone()));
        assert_eq!(again.ok(), Some(order), "what was understood can be said again");
    }
}

fn trial(bytes: &[u8]) {
    if let Ok(wire::ConfirmRequest { trial_id, signature }) = wire::ConfirmRequest::decode(bytes) {
        let _ = convert::trial(trial_id, signature);
    }
    if let Ok(wire::CancelRequest { trial_id, signature }) = wire::CancelRequest::decode(bytes) {
        let _ = convert::trial(trial_id, signature);
    }
}

fn lease(bytes: &[u8]) {
    if let Ok(request) = wire::LeaseRequest::decode(bytes)
        && let Ok(order) = convert::lease_from_wire(request)
    {
        let again = convert::lease_from_wire(convert::lease_to_wire(order.clone()));
        assert_eq!(again.ok(), Some(order), "what was understood can be said again");
    }
}

fn probe(bytes: &[u8]) {
    if let Ok(request) = wire::ProbeRequest::decode(bytes) {
        let _ = convert::probe_from_wire(request);
    }
}

fn tunnel(bytes: &[u8]) {
    if let Ok(request) = wire::TunnelRequest::decode(bytes)
        && let Ok(request) = convert::tunnel_from_wire(request)
    {
        let again = convert::tunnel_from_wire(convert::tunnel_to_wire(request.clone()));
        assert_eq!(again.ok(), Some(request), "what was understood can be said again");
    }
}

fn claim(bytes: &[u8]) {
    use wire::claim_request::Step;
    let Ok(wire::ClaimRequest { step: Some(Step::Binding(binding)) }) = wire::ClaimRequest::decode(bytes)
    else {
        return;
    };
    let wire::ClaimBinding { trust_json, issuer_pem, claim_id: _, names_json } = binding;
    let _ = convert::json::<identity::Trust>("the trust", &trust_json, convert::MAX_CLAIM_BYTES);
    if let Ok(names) =
        convert::json::<identity::HostNames>("the names", &names_json, convert::MAX_CLAIM_BYTES)
    {
        let _ = names.problems();
    }
    let _ = issuer_pem.parse::<identity::CertificatePem>();
}

/// What a caller reads of an agent, which may be an impostor's before it has proven itself.
fn responses(bytes: &[u8]) {
    if let Ok(response) = wire::ObserveResponse::decode(bytes)
        && let Ok(observation) = convert::observation_from_wire(response)
    {
        let again = convert::observation_from_wire(convert::observation_to_wire(observation.clone()));
        assert_eq!(again.ok(), Some(observation), "what was understood can be said again");
    }
    if let Ok(wire::PreviewResponse { plan_json }) = wire::PreviewResponse::decode(bytes) {
        let _ = convert::answer::<host_state::Plan>("the plan", &plan_json);
        let _ = convert::answer::<host_state::report::ApplyEvent>("the event", &plan_json);
    }
    if let Ok(wire::PreflightResponse { preflight_json }) = wire::PreflightResponse::decode(bytes) {
        let _ = convert::answer::<host_state::preflight::Preflight>("the checks", &preflight_json);
    }
    if let Ok(wire::ClaimsResponse { section: Some(section) }) = wire::ClaimsResponse::decode(bytes) {
        let _ = convert::section_from_wire(section);
    }
    if let Ok(answer) = wire::LeaseResponse::decode(bytes) {
        let _ = convert::lease_answer_from_wire(answer);
    }
    if let Ok(wire::ProbeResponse { results }) = wire::ProbeResponse::decode(bytes) {
        for result in results {
            let _ = convert::probe_result_from_wire(result);
        }
    }
    if let Ok(response) = wire::TunnelResponse::decode(bytes) {
        let _ = convert::tunnel_answer_from_wire(response);
    }
    if let Ok(wire::ClaimResponse { step: Some(wire::claim_response::Step::Offer(offer)) }) =
        wire::ClaimResponse::decode(bytes)
    {
        let keys = &offer.host_keys_json;
        let _ = convert::json::<identity::HostKeys>("the host's keys", keys, convert::MAX_CLAIM_BYTES);
    }
}
