//! Joining: a stable text, and proofs that hold for one connection, one host and one side only.

use identity::{ClaimSide, Enrollment, claim_proof, verify_claim_proof};

use crate::acme;

#[test]
fn the_text_is_stable_and_read_back() {
    let enrollment = acme().enrollment("east-1".parse().unwrap(), 2);
    let text = enrollment.to_text();
    assert_eq!(text, acme().enrollment("east-1".parse().unwrap(), 2).to_text());
    assert_eq!(text.lines().count(), 1);
    let read: Enrollment = format!(" {}\n", text.as_str()).parse().unwrap();
    assert_eq!(read.to_text(), text);
    assert_eq!((read.host.as_str(), read.generation, read.authority.as_str()), ("east-1", 2, "acme"));
    assert_eq!(read.fleet_ca, acme().trust().fleet_ca);
    assert_eq!(read.token.to_text(), enrollment.token.to_text());
    for (host, generation) in [("east-2", 2), ("east-1", 3)] {
        let other = acme().enrollment(host.parse().unwrap(), generation);
        assert_ne!(other.token.to_text(), enrollment.token.to_text());
    }
}

#[test]
fn damage_is_refused_without_showing_the_token() {
    let text = acme().enrollment("east-1".parse().unwrap(), 1).to_text();
    let cases = [
        ("", "enrolment does not start with `nats-enrollment-v1.`"),
        ("nats-enrollment-v1.e30", "enrolment does not hold what this version expects"),
        ("nats-enrollment-v1.!", "enrolment is cut or damaged"),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Enrollment>().unwrap_err().to_string(), expected);
    }
    for cut in 1..8 {
        assert!(text[..text.len() - cut].parse::<Enrollment>().is_err());
    }
}

#[test]
fn a_proof_binds_token_connection_key_and_side() {
    let token = acme().enrollment("east-1".parse().unwrap(), 1).token;
    let other = acme().enrollment("east-1".parse().unwrap(), 2).token;
    let proof = claim_proof(&token, b"exporter", b"spki", ClaimSide::Agent);
    let verify = |token, exporter: &[u8], spki: &[u8], side, proof: &[u8]| {
        verify_claim_proof(token, exporter, spki, side, proof)
    };
    assert!(verify(&token, b"exporter", b"spki", ClaimSide::Agent, &proof));
    assert!(!verify(&token, b"exporter", b"spki", ClaimSide::Provider, &proof), "the other side");
    assert!(!verify(&other, b"exporter", b"spki", ClaimSide::Agent, &proof), "another token");
    assert!(!verify(&token, b"another", b"spki", ClaimSide::Agent, &proof), "another connection");
    assert!(!verify(&token, b"exporter", b"other", ClaimSide::Agent, &proof), "another key");
    assert!(!verify(&token, b"exporters", b"pki", ClaimSide::Agent, &proof), "parts cannot shift");
    assert!(!verify(&token, b"exporter", b"spki", ClaimSide::Agent, &proof[..31]), "a cut proof");
    assert!(!verify(&token, b"exporter", b"spki", ClaimSide::Agent, &[]), "no proof");
}
