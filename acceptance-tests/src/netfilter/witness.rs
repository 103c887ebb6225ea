//! The witness: a table beside ours that notes which connections arrived and which of them our table let pass.
//!
//! A denied packet is dropped in silence, and silence alone proves little: the witness says that it arrived and did not
//! pass. It accepts everything, and stands before and behind every chain of ours.

use std::collections::BTreeSet;
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
    counter allowed_arrived { }
    counter allowed_passed { }
    counter denied_arrived { }
    counter denied_passed { }
    chain before {
        type filter hook prerouting priority -300; policy accept;
        tcp flags & (syn|ack) == syn add @arrived4 { ip saddr . tcp dport }
        tcp flags & (syn|ack) == syn add @arrived6 { ip6 saddr . tcp dport }
        ip saddr 10.1.0.0/16 tcp dport 4222 counter name allowed_arrived
        ip saddr 10.2.0.0/16 tcp dport 4222 counter name denied_arrived
    }
    chain behind {
        type filter hook input priority 300; policy accept;
        tcp flags & (syn|ack) == syn add @passed4 { ip saddr . tcp dport }
        tcp flags & (syn|ack) == syn add @passed6 { ip6 saddr . tcp dport }
        ip saddr 10.1.0.0/16 tcp dport 4222 counter name allowed_passed
        ip saddr 10.2.0.0/16 tcp dport 4222 counter name denied_passed
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

/// Packets of the two networks that traffic is made of: `10.1.0.0/16` is allowed on port 4222, `10.2.0.0/16` is not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) allowed_arrived: u64,
    pub(super) allowed_passed: u64,
    pub(super) denied_arrived: u64,
    pub(super) denied_passed: u64,
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
    let mut counted = Counted::default();
    for object in listing(host)? {
        let counter = &object["counter"];
        let packets = counter["packets"].as_u64().unwrap_or_default();
        match counter["name"].as_str() {
            Some("allowed_arrived") => counted.allowed_arrived = packets,
            Some("allowed_passed") => counted.allowed_passed = packets,
            Some("denied_arrived") => counted.denied_arrived = packets,
            Some("denied_passed") => counted.denied_passed = packets,
            _ => {}
        }
    }
    Ok(counted)
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
