//! A lost host that is marked absent is out of every route and gateway at once, though it still runs with all its keys.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Stage;
use crate::proof::Row;
use crate::rig::hosts::network::Network;
use crate::rig::hosts::{Host, Hosts, SITES};
use crate::rig::loopback::MONITOR_PORT;

/// The host that is lost.
const LOST: &str = "north-3";
/// How soon after its apply it must be out everywhere.
const WITHIN: f64 = 10.0;
/// When the check gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let linked = linked_everywhere(hosts)?;
    system.resource("nats_cluster", "north")["nodes"][LOST]["absent"] = true.into();
    system.apply(hosts)?;
    let started = Instant::now();
    while !linked_to(hosts, LOST)?.is_empty() && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
    }
    let out = started.elapsed().as_secs_f64();
    let left = linked_to(hosts, LOST)?;
    // It goes on trying with its own keys; nobody lets it in again.
    std::thread::sleep(Duration::from_secs(20));
    let again = linked_to(hosts, LOST)?;
    let runs = hosts.host(LOST)?.is_active("nats-server.service")?;
    system.resource("nats_cluster", "north")["nodes"][LOST]["absent"] = false.into();
    system.apply(hosts)?;
    system.plan()?.unchanged()?;
    let back = linked_everywhere(hosts)?;
    let mut rows = vec![
        // Its cluster's other two, and in each other cluster the one to which it opened a gateway connection.
        Row::at_least("hosts with a route or gateway to it before", linked.len(), 4),
        Row::exactly("sites that these are in", sites(hosts, &linked)?, SITES.len()),
        Row::at_most("seconds after its apply until it is out of every route and gateway", out, WITHIN),
        Row::exactly("hosts that it is still linked to", left.len(), 0),
        Row::exactly(
            "hosts that let it in again within 20 s, while it runs with all its keys",
            again.len(),
            0,
        ),
        Row::exactly("its server still runs", runs, true),
        Row::exactly(
            "sites that it is linked to again once the mark is taken away",
            sites(hosts, &back)?,
            SITES.len(),
        ),
    ];
    rows.extend(left.iter().chain(&again).map(|host| Row::told("linked", host)));
    Ok(rows)
}

/// As [`linked_to`] of [`LOST`], once there is somebody in every site, or after all patience.
fn linked_everywhere(hosts: &Hosts) -> Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let linked = linked_to(hosts, LOST)?;
        if sites(hosts, &linked)? == SITES.len() || started.elapsed() >= PATIENCE {
            return Ok(linked);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// In how many sites these hosts stand.
fn sites(hosts: &Hosts, names: &[String]) -> Result<usize> {
    let sites: BTreeSet<&str> =
        names.iter().map(|name| Ok(hosts.host(name)?.site())).collect::<Result<_>>()?;
    Ok(sites.len())
}

/// The other hosts whose servers have a route or a gateway connection with `name`, in either direction, by its addresses.
fn linked_to(hosts: &Hosts, name: &str) -> Result<Vec<String>> {
    let place = hosts.host(name)?.place();
    let addresses = [Network::Client, Network::Cluster].map(|network| place.v4(network).to_string());
    let mut linked = Vec::new();
    for host in hosts.all().iter().filter(|host| host.name() != name) {
        let seen = [monitor(host, "/routez")?, monitor(host, "/gatewayz")?];
        if seen.iter().any(|seen| holds_address(seen, &addresses)) {
            linked.push(host.name().to_owned());
        }
    }
    Ok(linked)
}

/// Whether some connection is with one of these addresses.
/// Source: nats-server 2.15.1 server/monitor.go: `ip` of `RouteInfo`, and of `ConnInfo` in `Gatewayz`.
fn holds_address(seen: &Value, addresses: &[String]) -> bool {
    match seen {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_one =
                key == "ip" && value.as_str().is_some_and(|ip| addresses.iter().any(|own| own == ip));
            is_one || holds_address(value, addresses)
        }),
        Value::Array(items) => items.iter().any(|item| holds_address(item, addresses)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What the server of `host` says on its monitoring port, which only the host itself reaches.
fn monitor(host: &Host, path: &str) -> Result<Value> {
    let line = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{MONITOR_PORT}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    );
    let answer = host.run(&["bash", "-c", &line])?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    serde_json::from_str(body).with_context(|| format!("{path} of {} is no JSON", host.name()))
}
