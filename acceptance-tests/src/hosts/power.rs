//! A host, a site and all hosts are rebooted, a host loses its power: everything comes back without any hand, data kept.

use std::time::Instant;

use anyhow::Result;

use super::Stage;
use super::system;
use crate::proof::Row;
use crate::rig::hosts::{Hosts, SITES};

/// Messages that are stored before the first reboot.
const MESSAGES: u64 = 200;

/// The unit that loads the rules before the network is up.
const FIREWALL: &str = "nats-agent-firewall.service";

/// What may happen to hosts: the stream has a replica on each host of the first site, so each event meets data. Every
/// host has booted again when it returns.
type Event = fn(&mut Hosts) -> Result<()>;

const EVENTS: [(&str, Event); 4] = [
    ("reboot of one host", |hosts| hosts.reboot(|host| host.name() == "east-2")),
    ("reboot of a site", |hosts| hosts.reboot(|host| host.site() == SITES[0])),
    ("power cut of one host", |hosts| {
        hosts.host_mut("east-3")?.cut_power()?;
        hosts.boot()
    }),
    ("reboot of all", |hosts| hosts.reboot(|_| true)),
];

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    system.publish(hosts.host("east-1")?, "orders.power", MESSAGES)?;
    let before = system.stored(hosts.host("east-1")?, "ORDERS")?;
    let mut rows = vec![Row::told("messages in the stream", before.values().sum::<u64>())];
    for (what, happen) in EVENTS {
        let started = Instant::now();
        happen(hosts)?;
        rows.push(Row::told(&format!("{what}: booted after, seconds"), started.elapsed().as_secs()));
        let settled = system::wait_settled(system, hosts);
        let took = started.elapsed().as_secs();
        rows.push(Row::told(&format!("{what}: every server up and nothing to plan after, seconds"), took));
        let back = settled.map_or_else(|error| format!("no: {error:#}"), |()| "yes".to_owned());
        rows.push(Row::exactly(&format!("{what}: back without a hand"), back, "yes".to_owned()));
        let loaded: Vec<bool> =
            hosts.all().iter().map(|host| host.is_active(FIREWALL)).collect::<Result<_>>()?;
        let loaded = loaded.into_iter().filter(|active| *active).count();
        rows.push(Row::exactly(
            &format!("{what}: hosts that loaded their rules at boot"),
            loaded,
            hosts.all().len(),
        ));
        let kept = system.stored(hosts.host("west-1")?, "ORDERS")? == before;
        rows.push(Row::exactly(&format!("{what}: every message is there"), kept, true));
    }
    Ok(rows)
}
