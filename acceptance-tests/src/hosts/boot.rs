//! Nine hosts boot, take the package and run the agent, reach each other, and come back from a reboot and a power cut.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Stage;
use super::stage::AGENT_UNITS;
use crate::proof::Row;
use crate::rig::hosts::Host;
use crate::rig::hosts::network::Network;

/// How long the agent may take after a boot.
const BACK_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let started = Instant::now();
    stage.booted()?;
    let booted = started.elapsed();
    let started = Instant::now();
    let hosts = stage.installed()?;
    let installed = started.elapsed();
    let mut rows = vec![
        Row::told("hosts booted together within", seconds(booted)),
        Row::told("package installed on all, agents running, within", seconds(installed)),
    ];

    let one = hosts.host("east-1")?;
    let mut reached = 0;
    for other in hosts.all() {
        for network in [Network::Client, Network::Cluster] {
            let place = other.place();
            for address in [place.v4(network).to_string(), place.v6(network).to_string()] {
                // A name of the host's own network answers without anybody who listens: refused is reached.
                let reply = one.output(&["bash", "-c", &format!("exec 3<>/dev/tcp/{address}/9")])?;
                reached += u32::from(String::from_utf8_lossy(&reply.stderr).contains("Connection refused"));
            }
        }
    }
    rows.push(Row::exactly(
        "addresses that east-1 reaches, of nine hosts on two networks, IPv4 and IPv6",
        reached,
        36,
    ));

    let started = Instant::now();
    hosts.reboot(|host| host.name() == "east-1")?;
    rows.push(Row::exactly(
        "agent's units active after a reboot",
        active(hosts.host("east-1")?)?,
        AGENT_UNITS.len(),
    ));
    rows.push(Row::told("reboot of one host, until they are", seconds(started.elapsed())));

    hosts.host_mut("west-2")?.cut_power()?;
    hosts.boot()?;
    rows.push(Row::exactly(
        "agent's units active after a power cut",
        active(hosts.host("west-2")?)?,
        AGENT_UNITS.len(),
    ));
    let mounted = hosts.host("west-2")?.run(&["findmnt", "--noheadings", "--output=FSTYPE", "/data"])?;
    rows.push(Row::exactly("its own disk is mounted again as", mounted.trim().to_owned(), "ext4".to_owned()));
    Ok(rows)
}

/// How many of the agent's units are active, once all are or the time is over.
fn active(host: &Host) -> Result<usize> {
    for unit in AGENT_UNITS {
        // Counted below: a unit that is missing is a broken promise, not a check that could not be made.
        let _ = host.wait_active(unit, BACK_TIMEOUT);
    }
    let states: Vec<bool> = AGENT_UNITS.iter().map(|unit| host.is_active(unit)).collect::<Result<_>>()?;
    Ok(states.into_iter().filter(|active| *active).count())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
