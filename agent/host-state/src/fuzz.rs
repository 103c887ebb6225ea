//! Every reader of outside text here, each as one body for any bytes: for the fuzz targets and for tests (feature `fuzz`).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::document::{ClaimsSection, ClusterSection, ContentHash, GatewaySection, Section, canonical};
use crate::firewall::{self, FirewallRules, Networks, Table};
use crate::lease::Lease;
use crate::report::{ApplyEvent, Report};
use crate::{DownloadUrl, Plan, SectionKind, SignedSection};

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("signed_section", signed_section, || {
        vec![section(SectionKind::Claims, "{\"accounts\":{}}").into_bytes()]
    }),
    ("cluster_section", body::<ClusterSection>, || vec![b"{\"config\":{},\"host\":\"east-1\"}".to_vec()]),
    ("gateway_section", body::<GatewaySection>, || {
        vec![b"{\"name\":\"global\",\"hosts\":{},\"clusters\":{}}".to_vec()]
    }),
    ("claims_section", body::<ClaimsSection>, || {
        let entry =
            json!({ "name": "orders", "jwt": "a.b.c", "issued_at": 1, "tombstone": false, "declared": null });
        vec![json!({ "accounts": { "A": entry } }).to_string().into_bytes()]
    }),
    ("download_url", download_url, || {
        vec![b"https://example.com/nats-server-v2.15.1-linux-amd64.tar.gz".to_vec()]
    }),
    ("firewall_listing", listing, || vec![firewall_listing().into_bytes()]),
    ("agent_answers", answers, || {
        vec![
            json!({ "started": { "step": "x" } }).to_string().into_bytes(),
            canonical(&Plan::empty()).into_bytes(),
        ]
    }),
];

fn download_url(bytes: &[u8]) {
    let Some(url) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<DownloadUrl>().ok()) else {
        return;
    };
    assert!(url.path().starts_with('/'));
}

/// A listing with our table and a chain of somebody else.
fn firewall_listing() -> String {
    let mut listing = firewall::replace_commands(&Table::of(Some(&rules()), None));
    let commands = listing["nftables"].as_array_mut().expect("a list of commands").split_off(2);
    let mut objects: Vec<serde_json::Value> =
        commands.into_iter().map(|command| command["add"].clone()).collect();
    objects.push(
        json!({ "chain": { "family": "ip", "table": "f", "name": "in", "type": "filter", "hook": "input",
        "prio": 0, "policy": "drop" } }),
    );
    objects.push(json!({ "rule": { "family": "ip", "table": "f", "chain": "in", "expr": [
        { "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } },
            "right": { "set": [22, { "range": [80, 90] }] } } }, { "jump": { "target": "in" } }] } }));
    json!({ "nftables": objects }).to_string()
}

fn rules() -> FirewallRules {
    let from = Networks::of(["10.0.0.0/8", "fd00::/8"].iter().filter_map(|text| text.parse().ok()));
    let rule = firewall::PortRule { port: 4222, from };
    FirewallRules([(firewall::ManagedPort::Client, rule)].into())
}

/// What the kernel lists, in which anybody may have put anything.
fn listing(bytes: &[u8]) {
    let desired = Table::of(Some(&rules()), None);
    if let Ok(found) = firewall::parse(bytes) {
        assert!(firewall::compare(&desired, found.as_ref()).len() <= firewall::MAX_DIFFERENCES);
    }
    let _ = firewall::foreign::foreign_drops(bytes, &rules());
    read::<FirewallRules>(bytes);
}

/// A section whose header fits its body, unsigned.
fn section(kind: SectionKind, body: &str) -> String {
    let header = json!({
        "authority": "O", "section": kind, "owner": "nats_authority/acme", "host": null, "claim_id": null,
        "generation": 1, "parent": null, "content": ContentHash::of(body), "document_key": 1, "writer": "ci",
    });
    json!({ "header": header, "body": body, "signature": "" }).to_string()
}

fn signed_section(bytes: &[u8]) {
    let Ok(section) = serde_json::from_slice::<SignedSection>(bytes) else { return };
    let _ = section.header.signed_bytes();
    let _ =
        (section.body::<ClusterSection>(), section.body::<GatewaySection>(), section.body::<ClaimsSection>());
}

/// A body under a header that fits it, so that damage reaches its reader.
fn body<T: Section>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let section = serde_json::from_str::<SignedSection>(&section(T::KIND, text)).expect("a section of ours");
    if let Ok(body) = section.body::<T>() {
        said_again(&body);
    }
}

/// What an agent answers, or keeps of a lease.
fn answers(bytes: &[u8]) {
    read::<Report>(bytes);
    read::<Plan>(bytes);
    read::<ApplyEvent>(bytes);
    read::<Lease>(bytes);
}

fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        said_again(&value);
    }
}

/// What was understood must be sayable, and be understood the same.
fn said_again<T: DeserializeOwned + Serialize>(value: &T) {
    let said = canonical(value);
    let again = serde_json::from_str::<T>(&said).expect("our own text is readable");
    assert_eq!(canonical(&again), said);
}
