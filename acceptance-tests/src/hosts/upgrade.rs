//! A later package is installed, the agent's processes are killed, the package is removed: no nats-server changes its
//! process but by the removal, and nothing is lost by that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Stage;
use super::stage::AGENT_UNITS;
use super::system::{self, STORE};
use crate::proof::Row;
use crate::rig::hosts::execute::run;
use crate::rig::hosts::{Host, Hosts};
use crate::rig::loopback::Folder;

/// How long the agent may take until it runs again.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);
/// The host that the package is taken off.
const REMOVED: &str = "east-3";
/// Messages that are stored before that.
const MESSAGES: u64 = 100;
/// What is kept of the agent.
const KEPT: &str = "/var/lib/nats-agent";

/// The package that upgrades: the same program under a later version, as hosts find it.
const NEXT: &str = "next.deb";
/// What is put behind its version. Source: deb-version(7): later than the version without it.
const LATER: &str = "+next";

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let package = stage.programs().package.clone();
    let first = stage.package_name()?;
    make_next(&package)?;
    let (hosts, system) = stage.supercluster()?;
    let before = processes(hosts, "nats-server.service")?;
    let agents: Vec<_> = AGENT_UNITS.iter().map(|unit| processes(hosts, unit)).collect::<Result<_>>()?;
    let mut rows = vec![Row::exactly("nats-servers that run", before.len(), hosts.all().len())];
    let started = Instant::now();
    for host in hosts.all() {
        host.install(NEXT)?;
    }
    wait_agents(hosts)?;
    rows.push(Row::told("agents upgraded on all hosts within, seconds", started.elapsed().as_secs()));
    rows.push(Row::exactly("hosts with the later version", of_version(hosts, LATER)?, hosts.all().len()));
    for (unit, before) in AGENT_UNITS.iter().zip(&agents) {
        let what = format!("hosts where {unit} is another process after that");
        rows.push(Row::exactly(&what, changed(before, &processes(hosts, unit)?), hosts.all().len()));
    }
    let what = "servers with another process or start after that";
    rows.push(Row::exactly(what, changed(&before, &processes(hosts, "nats-server.service")?), 0));
    for unit in AGENT_UNITS {
        for host in hosts.all() {
            host.run(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit])?;
        }
        // A killed unit is not active until systemd starts it anew; that it is then is what counts.
        std::thread::sleep(Duration::from_secs(2));
        wait_agents(hosts)?;
        let what = format!("servers with another process or start after {unit} was killed on all");
        rows.push(Row::exactly(&what, changed(&before, &processes(hosts, "nats-server.service")?), 0));
    }
    rows.push(settled("after upgrade and kills", system::wait_settled(system, hosts)));
    system.publish(hosts.host("east-1")?, "orders.upgrade", MESSAGES)?;
    let stored = system.stored(hosts.host("east-1")?, "ORDERS")?;
    rows.extend(removed_and_back(hosts.host(REMOVED)?, &first)?);
    rows.push(settled("after removal and installation", system::wait_settled(system, hosts)));
    let kept = system.stored(hosts.host(REMOVED)?, "ORDERS")? == stored;
    rows.push(Row::told("messages in the stream", stored.values().sum::<u64>()));
    rows.push(Row::exactly("every message is there after removal and installation", kept, true));
    Ok(rows)
}

/// Makes [`NEXT`] beside `package`.
fn make_next(package: &Path) -> Result<()> {
    let folder = Folder::new("next")?;
    let tree = folder.path().join("tree");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).context("read the package's control file")?;
    let later = |line: &str| {
        let later = if line.starts_with("Version: ") { LATER } else { "" };
        format!("{line}{later}\n")
    };
    fs::write(&control, text.lines().map(later).collect::<String>()).context("write the control file")?;
    let next = package.parent().context("the package lies in a folder")?.join(NEXT);
    run(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&next))?;
    Ok(())
}

/// How many hosts have a package whose version ends so.
fn of_version(hosts: &Hosts, end: &str) -> Result<usize> {
    let mut count = 0;
    for host in hosts.all() {
        let version = host.run(&["dpkg-query", "--show", "--showformat=${Version}", "nats-agent"])?;
        count += usize::from(version.ends_with(end));
    }
    Ok(count)
}

/// Takes the package off one host and puts it on again.
fn removed_and_back(host: &Host, package: &str) -> Result<Vec<Row>> {
    // A server that runs writes. The agent's log of changes grows with each of its steps.
    let list = || -> Result<Vec<String>> {
        let printed = "%p %s\\n";
        let found = host.run(&[
            "find",
            KEPT,
            STORE,
            "-type",
            "f",
            "-not",
            "-path",
            "*/audit/*",
            "-not",
            "-path",
            "*/server/*.pid",
            "-printf",
            printed,
        ])?;
        Ok(found.lines().map(str::to_owned).collect())
    };
    let mut rows = Vec::new();
    host.run(&["systemctl", "stop", AGENT_UNITS[1], AGENT_UNITS[0], "nats-server.service"])?;
    let before = list()?;
    let of_store = before.iter().filter(|line| line.starts_with(STORE)).count();
    rows.push(Row::at_least("files of the store before removal", of_store, 5));
    for step in ["--remove", "--purge"] {
        host.run(&["dpkg", step, "nats-agent"])?;
        let now = list()?;
        let missing = before.iter().filter(|path| !now.contains(path)).count();
        rows.push(Row::exactly(
            &format!("files missing or of another size after dpkg {step}, of {}", before.len()),
            missing,
            0,
        ));
        let running = host.tasks()?.iter().filter(|task| task.command.contains("nats-")).count();
        rows.push(Row::exactly(&format!("processes that run after dpkg {step}"), running, 0));
    }
    host.install(package)?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, BACK_TIMEOUT)?;
    }
    Ok(rows)
}

fn settled(when: &str, result: Result<()>) -> Row {
    let found = result.map_or_else(|error| format!("no: {error:#}"), |()| "yes".to_owned());
    Row::exactly(&format!("every server runs and the plan is empty {when}"), found, "yes".to_owned())
}

fn wait_agents(hosts: &Hosts) -> Result<()> {
    for host in hosts.all() {
        for unit in AGENT_UNITS {
            host.wait_active(unit, BACK_TIMEOUT)?;
        }
    }
    Ok(())
}

/// The unit's process on each host that has one, and systemd's number for its start.
fn processes(hosts: &Hosts, unit: &str) -> Result<BTreeMap<String, (u32, String)>> {
    let mut found = BTreeMap::new();
    for host in hosts.all() {
        if let Some(pid) = host.main_pid(unit)? {
            let start = host.run(&["systemctl", "show", "--property=InvocationID", "--value", unit])?;
            found.insert(host.name().to_owned(), (pid, start.trim().to_owned()));
        }
    }
    Ok(found)
}

fn changed<T: PartialEq>(before: &BTreeMap<String, T>, now: &BTreeMap<String, T>) -> usize {
    before.iter().filter(|(host, process)| now.get(*host) != Some(*process)).count()
}
