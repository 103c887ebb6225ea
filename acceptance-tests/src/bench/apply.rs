//! How long the quickstart's apply takes, beside the same nine nats-servers started by hand.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::report::{Row, Table};
use crate::rig::agents::Host;
use crate::rig::loopback::MONITOR_PORT;
use crate::rig::process::Process;
use crate::rig::terraform::Installation;
use crate::rig::wait::wait_until;
use crate::scenario::supercluster::Supercluster;
use crate::tools;

/// How long the servers may take to find a meta leader.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures: one apply from nine agents that belong to nobody; then, with the agents stopped and the stores empty, the
/// nine servers on the configurations that the agents rendered.
///
/// # Errors
/// When either does not come up.
pub fn run() -> Result<Table> {
    let clusters = [("east", 3), ("west", 3), ("north", 3)];
    let mut system = Supercluster::lay_out(&clusters, "quickstart", Installation::Mirror)?;
    system.fleet.start()?;
    system.terraform.init()?.succeeded()?;
    let ours = system.terraform.apply()?.succeeded()?.elapsed;
    let names: Vec<String> = system.fleet.hosts().iter().map(|host| host.name().to_owned()).collect();
    for name in &names {
        system.fleet.host_mut(name)?.agent()?.stop()?;
    }
    for host in system.fleet.hosts() {
        ensure!(host.server_pid().is_none(), "`{}` still runs a nats-server", host.name());
        fs::remove_dir_all(host.store_dir()).context("empty a store")?;
        fs::create_dir(host.store_dir()).context("make a store")?;
    }
    let started = Instant::now();
    let servers = system.fleet.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    wait_until("a meta leader of nine servers", PATIENCE, || {
        has_leader(&system.fleet.hosts()[0], servers.len())
    })?;
    let floor = started.elapsed();
    Ok(Table {
        name: "apply",
        floor: "nine nats-servers with empty stores, started by hand on the configurations that the agents rendered, until \
                they have a meta leader of all nine"
            .to_owned(),
        rows: vec![Row::of_times(
            "apply: nine agents that belong to nobody to accounts, users, streams and a health check",
            ours,
            floor,
            None,
        )],
    })
}

fn start(host: &Host) -> Result<Process> {
    let mut command = Command::new(tools::nats_server()?);
    command.args(["-c", "current/nats-server.json"]).current_dir(host.state_dir());
    Process::start(
        &format!("nats-server of `{}`", host.name()),
        &mut command,
        &host.state_dir().join("by-hand.log"),
    )
}

/// Whether `host` knows a leader of a meta group of `members`.
/// Source: nats-server 2.15.1 server/monitor.go, `/jsz`, `meta_cluster`.
fn has_leader(host: &Host, members: usize) -> Result<bool> {
    let mut stream = TcpStream::connect((host.address(), MONITOR_PORT)).context("connect to the monitor")?;
    stream.set_read_timeout(Some(PATIENCE)).context("bound the wait")?;
    write!(stream, "GET /jsz HTTP/1.0\r\n\r\n").context("ask the monitor")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the monitor's answer")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the monitor's answer has no body")?;
    let body: Value = serde_json::from_str(body).context("the monitor's answer is JSON")?;
    let meta = &body["meta_cluster"];
    Ok(meta["leader"].as_str().is_some_and(|leader| !leader.is_empty()) && meta["cluster_size"] == members)
}
