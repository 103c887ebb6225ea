//! A host is lost: somebody has its whole disk, with every key that was on it, and sits at its address. Once its owner has
//! applied that it is gone, nothing opens any more on the other eight, and nothing of them is changed.
//!
//! It stays lost: of the checks that need nine hosts none comes after this one.

mod disk;
mod doors;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Stage;
use crate::proof::Row;
use crate::rig::hosts::Hosts;
use crate::rig::hosts::network::{Network, inside};
use disk::Disk;
use doors::Door;

/// The host that is lost.
const LOST: &str = "north-3";
/// A host of ours whose address the others let in: what keeps somebody out there is no firewall.
const NEIGHBOUR: &str = "east-1";
/// How long after the apply the doors are tried first: what it promises is that a lost host is out within 10 s.
const WITHIN: Duration = Duration::from_secs(10);
/// Messages that are stored before.
const MESSAGES: u64 = 50;

/// A host as its attackers see it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    name: String,
    /// Where clients and callers of its agent connect.
    client: Ipv4Addr,
    /// Where routes connect.
    cluster: Ipv4Addr,
}

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    system.publish(hosts.host("east-1")?, "orders.lost", MESSAGES)?;
    let stored = system.stored(hosts.host("east-1")?, "ORDERS")?;
    let disk = Disk::copy(hosts.host(LOST)?)?;
    let before = tried(hosts, &disk, LOST)?;

    system.resource("nats_cluster", "north")["nodes"][LOST]["absent"] = true.into();
    let applied = Instant::now();
    system.apply(hosts)?;
    let took = applied.elapsed();
    std::thread::sleep(WITHIN);
    let kept = kept(hosts)?;
    let mut after = tried(hosts, &disk, LOST)?;
    after.extend(tried(hosts, &disk, NEIGHBOUR)?);
    let changed = self::kept(hosts)?.iter().filter(|(host, found)| kept.get(*host) != Some(*found)).count();
    let told = system.told()?;
    let read = system.stored(hosts.host("east-1")?, "ORDERS")?;

    let open: Vec<&(String, Door)> = after.iter().filter(|(_, door)| door.is_open()).collect();
    let mut rows = vec![
        Row::told("seconds of the apply that gave it up", took.as_secs()),
        Row::told("attempts after it, from its address and from a neighbour's", after.len()),
        Row::exactly("of these that opened something", open.len(), 0),
        Row::exactly("other hosts whose ledger, claims or keys changed meanwhile", changed, 0),
        Row::exactly("drift and findings of the other hosts", told.without_notes().len(), 0),
        Row::exactly("every message is there", read == stored, true),
    ];
    // What is refused after is worth as much as what was let in before.
    let others = hosts.all().len() - 1;
    for (start, least) in [
        ("Claims of the agent with its own certificate", others),
        ("route with its own certificate", 2),
        ("gateway with its own certificate", 2 * 3),
        ("login of its system user", others),
        ("statistics of every server as its system user", others),
        ("login of its probe user", others),
    ] {
        let opened = before.iter().filter(|(kind, door)| door.is_open() && kind.starts_with(start)).count();
        rows.push(Row::at_least(&format!("opened before: {start}"), opened, least));
        if opened < least {
            let shut = before.iter().filter(|(kind, door)| !door.is_open() && kind.starts_with(start));
            rows.extend(shut.map(|(kind, door)| Row::told(&format!("shut before: {kind}"), door)));
        }
    }
    for (kind, count) in by_kind(&after, |door| !door.is_open()) {
        rows.push(Row::told(&format!("refused: {kind}"), count));
    }
    for (kind, count) in by_kind(&after, Door::is_open) {
        rows.push(Row::told(&format!("opened: {kind}"), count));
    }
    rows.extend(open.iter().map(|(kind, door)| Row::told(&format!("opened: {kind}"), door)));
    rows.extend(told.without_notes().iter().map(|line| Row::told("told", line)));
    Ok(rows)
}

/// Tries every door of every other host from the address of `place`; each with its kind.
fn tried(hosts: &Hosts, disk: &Disk, place: &str) -> Result<Vec<(String, Door)>> {
    let mut targets = Vec::new();
    for host in hosts.all().iter().filter(|host| ![LOST, place].contains(&host.name())) {
        targets.push(Target {
            name: host.name().to_owned(),
            client: host.address(),
            cluster: host.place().v4(Network::Cluster),
        });
    }
    let doors = inside(place, || doors::try_all(disk, &targets))?.with_context(|| format!("from {place}"))?;
    Ok(doors.into_iter().map(|door| (format!("{} from {place}", door.kind()), door)).collect())
}

fn by_kind(doors: &[(String, Door)], wanted: impl Fn(&Door) -> bool) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (kind, _) in doors.iter().filter(|(_, door)| wanted(door)) {
        *counts.entry(kind.as_str()).or_default() += 1;
    }
    counts
}

/// What each other host holds that only its owner may change, as checksums.
fn kept(hosts: &Hosts) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for host in hosts.all().iter().filter(|host| host.name() != LOST) {
        let line = "cd /var/lib/nats-agent; find ledger server/resolver claim.json host-secret.json -type f | sort | xargs sha256sum";
        found.insert(host.name().to_owned(), host.run(&["sh", "-ec", line])?);
    }
    Ok(found)
}
