//! Round trips, and refusals of what is missing, unknown or too large.

use std::collections::BTreeMap;
use std::time::Duration;

use host_state::document::{ContentHash, SectionKind};
use host_state::{SectionHeader, SignedSection};
use proptest::prelude::*;

use super::*;

fn section(body: &str) -> SignedSection {
    SignedSection {
        header: SectionHeader {
            authority: "OACME".to_owned(),
            section: SectionKind::Claims,
            owner: "nats_authority/acme".to_owned(),
            host: None,
            claim_id: None,
            generation: 3,
            parent: Some(ContentHash::of("before")),
            content: ContentHash::of(body),
            document_key: 1,
            writer: "somebody".to_owned(),
        },
        body: body.to_owned(),
        signature: "c2ln".to_owned(),
    }
}

fn text(error: ConvertError) -> String {
    error.to_string()
}

proptest! {
    #[test]
    fn sections_come_back_as_they_went(body in ".{0,200}") {
        let section = section(&body);
        prop_assert_eq!(section_from_wire(section_to_wire(section.clone())).unwrap(), section);
    }

    #[test]
    fn headers_from_outside_never_panic(header_json in ".{0,400}", body in ".{0,40}") {
        let wire = wire::Section { header_json, body, signature: String::new() };
        prop_assert!(section_from_wire(wire).is_err());
    }

    #[test]
    fn tunnel_calls_come_back_as_they_went(
        id: u64, subject in "[a-z.]{1,40}", payload: Vec<u8>, millis in 0_u32..100_000, max_replies in 1_u32..50,
        headers in proptest::collection::btree_map("[A-Za-z-]{1,12}", ".{0,12}", 0..4),
    ) {
        let timeout = Duration::from_millis(millis.into());
        let call = TunnelRequest::Call(TunnelCall { id, subject, payload, headers, timeout, max_replies });
        prop_assert_eq!(tunnel_from_wire(tunnel_to_wire(call.clone())).unwrap(), call);
    }

    #[test]
    fn tunnel_replies_come_back_as_they_went(id: u64, payload: Vec<u8>, status in proptest::option::of(1_u16..)) {
        let reply = TunnelResponse::Reply(TunnelReply { id, payload, status, headers: BTreeMap::new() });
        prop_assert_eq!(tunnel_answer_from_wire(tunnel_answer_to_wire(reply.clone())).unwrap(), reply);
    }
}

#[test]
fn what_is_missing_or_unknown_is_refused() {
    assert_eq!(
        text(tunnel_from_wire(wire::TunnelRequest { step: None }).unwrap_err()),
        "the message has no step"
    );
    let apply = |mode| wire::ApplyRequest { sections: Vec::new(), mode, lease_id: String::new() };
    for mode in [0, 3, -1] {
        assert_eq!(text(apply_from_wire(apply(mode)).unwrap_err()), "the message has an unknown mode");
    }
    assert_eq!(apply_from_wire(apply(1)).unwrap().mode, ApplyMode::Stage);
    let lease = wire::LeaseRequest { lease_id: "ab".repeat(16), action: 9, ..Default::default() };
    assert_eq!(text(lease_from_wire(lease).unwrap_err()), "the message has an unknown action");
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(MAX_BODY_BYTES + 1);
    let wire = wire::Section { body: long, ..section_to_wire(section("")) };
    assert_eq!(
        text(section_from_wire(wire).unwrap_err()),
        "a section's body has 16777217 bytes or entries, at most 16777216 are accepted"
    );
    let many = vec![section_to_wire(section("")); 9];
    assert_eq!(
        text(sections_from_wire(many).unwrap_err()),
        "the list of sections has 9 bytes or entries, at most 8 are accepted"
    );
    let step = wire::tunnel_request::Step::Signature(wire::TunnelSignature { signature: vec![0; 63] });
    let short = wire::TunnelRequest { step: Some(step) };
    assert_eq!(text(tunnel_from_wire(short).unwrap_err()), "the signature has 63 bytes, it needs 64");
}

#[test]
fn a_failed_probe_without_a_reason_stays_failed() {
    let result = ProbeResult { target: "a:1".to_owned(), reached: Err(String::new()) };
    assert!(probe_result_from_wire(probe_result_to_wire(result)).reached.is_err());
}
