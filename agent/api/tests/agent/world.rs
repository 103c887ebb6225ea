//! Authorities, callers and documents of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host_state::document::{ClaimEntry, ClaimsSection, ContentHash, SECTION_DOMAIN, SectionKind, canonical};
use host_state::{SectionHeader, SignedSection};
use identity::{Authority, ClientIdentity, Generations, Role, RootKey};
use nats_agent_api::order::{LEASE_DOMAIN, LeaseAction, LeaseOrder};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// An authority called `acme`, of another root key for each number.
pub(crate) fn authority(number: u8) -> Authority {
    let root = RootKey::from_bytes(std::array::from_fn(|index| index as u8 ^ number)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

pub(crate) fn caller(authority: &Authority, role: Role) -> ClientIdentity {
    let (now, hour) = (OffsetDateTime::now_utc(), Duration::from_secs(3600));
    authority.client_certificate(&role, &Zeroizing::new([7; 32]), now, hour).unwrap()
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(5), call: Duration::from_secs(5) }
}

/// An operator's connection to a fake that behaves.
pub(crate) async fn operator(authority: &Authority, address: &str) -> AgentClient {
    let identity = caller(authority, Role::Operator);
    let host_ca = authority.trust().host_ca_bundle();
    AgentClient::connect(address, &identity, &host_ca, Expected::default(), timeouts()).await.unwrap()
}

fn sign(authority: &Authority, domain: &str, bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(&authority.document_key().sign(domain, bytes))
}

/// A claims section with one account, signed.
pub(crate) fn claims(
    authority: &Authority,
    generation: u64,
    parent: Option<&SignedSection>,
) -> SignedSection {
    let entry = ClaimEntry {
        name: "orders".to_owned(),
        jwt: format!("jwt {generation}"),
        issued_at: 1_700_000_000 + generation as i64,
        tombstone: false,
        declared: serde_json::Value::Null,
    };
    let accounts = BTreeMap::from([(authority.account_key(&"orders".parse().unwrap()).to_string(), entry)]);
    let body = canonical(&ClaimsSection { accounts });
    let header = SectionHeader {
        authority: authority.trust().operator.to_string(),
        section: SectionKind::Claims,
        owner: "nats_authority/acme".to_owned(),
        host: None,
        claim_id: None,
        generation,
        parent: parent.map(|parent| parent.header.content.clone()),
        content: ContentHash::of(&body),
        document_key: 1,
        writer: format!("writer {generation}"),
    };
    let signature = sign(authority, SECTION_DOMAIN, &header.signed_bytes());
    SignedSection { header, body, signature }
}

pub(crate) fn lease(authority: &Authority, digit: char, holder: &str, action: LeaseAction) -> LeaseOrder {
    let lease_id: String = std::iter::repeat_n(digit, 32).collect();
    let signature = sign(authority, LEASE_DOMAIN, &LeaseOrder::signed_bytes(&lease_id, holder));
    LeaseOrder { lease_id, holder: holder.to_owned(), action, ttl_ms: 0, signature }
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
