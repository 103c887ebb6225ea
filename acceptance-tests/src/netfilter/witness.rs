//! The witness: a table beside ours that notes which connections arrived and which of them our table let pass.
//!
//! A denied packet is dropped in silence, and silence alone proves little: the witness says that it arrived and did not
//! pass. It stands before and behind every chain of ours, and accepts everything but the packets of [`FLOODS`], which it
//! takes away once they are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::namespaces::Namespace;

const TABLE: &str = "
table inet witness {
    set arrived4 { type ipv4_addr . inet_service; flags dynamic; size 65535; }
    set arrived6 { type ipv6_addr . inet_service; flags dynamic; size 65535; }
    set passed4 { type ipv4_addr . inet_service; flags dynamic; size 65535; }
    set passed6 { type ipv6_addr . inet_service; flags dynamic; size 65535; }
    counter allowed4_arrived { }
    counter allowed4_passed { }
    counter denied4_arrived { }
    counter denied4_passed { }
    counter allowed6_arrived { }
    counter allowed6_passed { }
    counter denied6_arrived { }
    counter denied6_passed { }
    chain before {
        type filter hook prerouting priority -300; policy accept;
        tcp flags & (syn|ack) == syn add @arrived4 { ip saddr . tcp dport }
        tcp flags & (syn|ack) == syn add @arrived6 { ip6 saddr . tcp dport }
        ip saddr 10.1.0.0/16 tcp dport 4222 counter name allowed4_arrived
        ip saddr 10.2.0.0/16 tcp dport 4222 counter name denied4_arrived
        ip6 saddr fd01::/16 tcp dport 4222 counter name allowed6_arrived
        ip6 saddr fd02::/16 tcp dport 4222 counter name denied6_arrived
    }
    chain behind {
        type filter hook input priority 300; policy accept;
        tcp flags & (syn|ack) == syn add @passed4 { ip saddr . tcp dport }
        tcp flags & (syn|ack) == syn add @passed6 { ip6 saddr . tcp dport }
        ip saddr 10.1.0.0/16 tcp dport 4222 counter name allowed4_passed
        ip saddr 10.2.0.0/16 tcp dport 4222 counter name denied4_passed
        ip6 saddr fd01::/16 tcp dport 4222 counter name allowed6_passed
        ip6 saddr fd02::/16 tcp dport 4222 counter name denied6_passed
        ip saddr { 10.1.255.1, 10.2.255.1 } drop
        ip6 saddr { fd01::ff:1, fd02::ff:1 } drop
    }
}";

/// Source address and destination port of a first packet.
pub(super) type First = (IpAddr, u16);

/// What was noted.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) arrived: BTreeSet<First>,
    pub(super) passed: BTreeSet<First>,
}

/// Flows that are counted on port 4222, and of each a source whose packets nobody answers. The witness counts whole
/// networks: `10.1.0.0/16` and `fd01::/16` are to be allowed, `10.2.0.0/16` and `fd02::/16` denied.
pub(super) const FLOODS: &[(&str, &str)] = &[
    ("allowed4", "10.1.255.1"),
    ("denied4", "10.2.255.1"),
    ("allowed6", "fd01::ff:1"),
    ("denied6", "fd02::ff:1"),
];

/// Packets of each flow, since the witness was loaded.
#[derive(Debug)]
pub(super) struct Counted(BTreeMap<String, u64>);

/// Packets of one flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) arrived: u64,
    pub(super) passed: u64,
}

impl Counted {
    /// Those of `flow` that came after `before`.
    pub(super) fn since(&self, before: &Counted, flow: &str) -> Flow {
        let count = |place: &str| {
            let of =
                |counted: &Counted| counted.0.get(&format!("{flow}_{place}")).copied().unwrap_or_default();
            of(self).saturating_sub(of(before))
        };
        Flow { arrived: count("arrived"), passed: count("passed") }
    }
}

/// Loads it into a host; it goes with the host's namespace.
pub(super) fn load(host: &Namespace) -> Result<()> {
    host.nft(TABLE).map(|_| ())
}

/// Forgets what was noted.
pub(super) fn forget(host: &Namespace) -> Result<()> {
    let sets = ["arrived4", "arrived6", "passed4", "passed6"];
    host.nft(&sets.map(|set| format!("flush set inet witness {set}")).join("; ")).map(|_| ())
}

/// What was noted since.
pub(super) fn noted(host: &Namespace) -> Result<Noted> {
    let mut noted = Noted::default();
    for object in listing(host)? {
        let set = &object["set"];
        let into = match set["name"].as_str() {
            Some("arrived4" | "arrived6") => &mut noted.arrived,
            Some("passed4" | "passed6") => &mut noted.passed,
            _ => continue,
        };
        for element in set["elem"].as_array().into_iter().flatten() {
            into.insert(first(element).with_context(|| format!("the witness notes `{element}`"))?);
        }
    }
    Ok(noted)
}

/// What was counted since it was loaded.
pub(super) fn counted(host: &Namespace) -> Result<Counted> {
    let counted = |object: Value| {
        let counter = &object["counter"];
        Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
    };
    Ok(Counted(listing(host)?.into_iter().filter_map(counted).collect()))
}

fn listing(host: &Namespace) -> Result<Vec<Value>> {
    let output = host.run("/usr/sbin/nft -j list table inet witness")?;
    let mut listing: Value = serde_json::from_slice(&output.stdout)?;
    Ok(listing["nftables"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

fn first(element: &Value) -> Option<First> {
    let element = element.get("elem").and_then(|element| element.get("val")).unwrap_or(element);
    let parts = element.get("concat")?.as_array()?;
    Some((parts.first()?.as_str()?.parse().ok()?, u16::try_from(parts.get(1)?.as_u64()?).ok()?))
}
