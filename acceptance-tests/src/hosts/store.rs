//! A disk that is not there, another's disk, a broken or a full one: nothing starts on it, plan and host say why, and
//! no file of it is touched.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Stage;
use super::stage::{AGENT_TIMEOUT, AGENT_UNITS};
use super::system::System;
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts};

/// The host whose disk is changed, and the one whose disk it is given.
const HOST: &str = "west-3";
const OTHER: &str = "west-2";
/// The unit that must not be started.
const SERVER: &str = "nats-server.service";
/// How long a server that may not start is watched, while the agent looks at its host anew.
const WATCHED: Duration = Duration::from_secs(5);

/// One thing that is wrong with a disk.
struct Case {
    what: &'static str,
    /// What plan and host must say, in one line: why, and what to do.
    words: [&'static str; 2],
    disk: Disk,
    /// How it comes about, as shell; the server is stopped.
    hand: &'static str,
    /// What a person does about it.
    undo: &'static str,
}

/// What is at the store's place once the hand has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// The host's own.
    Own,
    /// None.
    Unmounted,
    /// The host's own, which holds the data of [`OTHER`]: the hand has it on its standard input.
    Others,
}

const CASES: &[Case] = &[
    Case {
        what: "disk not mounted",
        words: ["store directory `/data/jetstream` is gone, this host has data in it", "mount the disk"],
        disk: Disk::Unmounted,
        hand: "umount /data",
        undo: "systemctl start data.mount",
    },
    Case {
        what: "disk not mounted, an empty directory in its place",
        words: [
            "store directory `/data/jetstream` is empty, this host has data in it",
            "mount the right disk",
        ],
        disk: Disk::Unmounted,
        hand: "umount /data; mkdir /data/jetstream",
        undo: "rmdir /data/jetstream; systemctl start data.mount",
    },
    Case {
        what: "another server's disk",
        words: ["the store belongs to server name `west-2`, not to `west-3`", "mount this host's disk"],
        disk: Disk::Others,
        hand: "mv /data/jetstream /data/own; base64 -d | tar -C /data -xf -",
        undo: "rm -r /data/jetstream; mv /data/own /data/jetstream",
    },
    Case {
        what: "renamed server",
        words: ["the store belongs to server name `west-9`, not to `west-3`", "mount this host's disk"],
        disk: Disk::Own,
        hand: "sed -i.own 's/\"server_name\":\"[^\"]*\"/\"server_name\":\"west-9\"/' /data/jetstream/nats-agent-store.json",
        undo: "mv /data/jetstream/nats-agent-store.json.own /data/jetstream/nats-agent-store.json",
    },
    Case {
        what: "another cluster's data",
        words: ["the store belongs to cluster `south`, not to `west`", "mount this host's disk"],
        disk: Disk::Own,
        hand: "sed -i.own 's/\"cluster\":\"[^\"]*\"/\"cluster\":\"south\"/' /data/jetstream/nats-agent-store.json",
        undo: "mv /data/jetstream/nats-agent-store.json.own /data/jetstream/nats-agent-store.json",
    },
    Case {
        what: "read-only disk",
        words: ["is mounted read-only at `/data`", "mount it `rw`"],
        disk: Disk::Own,
        hand: "mount -o remount,ro /data",
        undo: "mount -o remount,rw /data; systemctl restart nats-agent-applier.service nats-agent.service",
    },
    Case {
        what: "full disk",
        words: ["store directory `/data/jetstream` is full:", "nats-agent-ballast"],
        disk: Disk::Own,
        hand: "cat /dev/zero > /data/filler 2>/dev/null || :; sync",
        undo: "rm /data/filler",
    },
];

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let mut count = Found::default();
    let mut rows = Vec::new();
    for case in CASES {
        let (found, said) = one(hosts, system, case).with_context(|| case.what)?;
        let Found { down, refused, planned, told, untouched } = found;
        count.down += down;
        count.refused += refused;
        count.planned += planned;
        count.told += told;
        count.untouched += untouched;
        if [down, refused, planned, told, untouched].contains(&0) {
            rows.push(Row::told(case.what, format!("{found:?}")));
            rows.push(Row::told("the host said", said));
        }
    }
    system.plan()?.unchanged()?;
    let Found { down, refused, planned, told, untouched } = count;
    let cases = CASES.len();
    rows.push(Row::exactly("wrong disks on which no server started", down, cases));
    rows.push(Row::exactly(
        "wrong disks on which an apply with a change failed and named the host",
        refused,
        cases,
    ));
    rows.push(Row::exactly("wrong disks of which the plan said why and what to do", planned, cases));
    rows.push(Row::exactly("wrong disks of which `nats-agent status` said so", told, cases));
    rows.push(Row::exactly("wrong disks on which every file was left as it was", untouched, cases));
    Ok(rows)
}

/// In how many cases it was so; of one case, 0 or 1.
#[derive(Debug, Default)]
struct Found {
    /// Neither the agent nor the apply started the server.
    down: usize,
    /// The apply failed and named the host.
    refused: usize,
    /// The plan said why and what to do.
    planned: usize,
    /// The host said so too.
    told: usize,
    /// The files were the same before and after.
    untouched: usize,
}

/// What came of one case, and what `nats-agent status` said on the host.
fn one(hosts: &Hosts, system: &mut System, case: &Case) -> Result<(Found, String)> {
    let host = hosts.host(HOST)?;
    let input = if case.disk == Disk::Others { data_of(hosts.host(OTHER)?)? } else { String::new() };
    host.run(&["systemctl", "stop", SERVER])?;
    host.run_with(&["sh", "-ec", case.hand], input.as_bytes())?;
    let before = listing(host, case.disk)?;
    let starts = invocations(host)?;
    ensure!(!starts.is_empty(), "the journal tells of no start of the server, so it would tell of no other");
    host.run(&["systemctl", "restart", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, AGENT_TIMEOUT)?;
    }
    std::thread::sleep(WATCHED);
    let told = system.told()?;
    // Something that the host would have to take, so that the apply has work with it.
    system.resource("nats_cluster", host.site())["limits"] = json!({ "max_connections": 60_000 });
    let run = system.try_apply(hosts)?;
    if let Some(cluster) = system.resource("nats_cluster", host.site()).as_object_mut() {
        cluster.remove("limits");
    }
    let is_down = host.main_pid(SERVER)?.is_none() && invocations(host)? == starts;
    let said = host.output(&["nats-agent", "status"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let found = Found {
        down: usize::from(is_down),
        refused: usize::from(run.code != 0 && run.error_text().contains(HOST)),
        planned: usize::from(told.holds(HOST, &case.words)),
        told: usize::from(said.lines().any(|line| case.words.iter().all(|word| line.contains(word)))),
        untouched: usize::from(listing(host, case.disk)? == before),
    };
    host.run(&["sh", "-ec", case.undo])?;
    system.apply(hosts)?;
    host.wait_active(SERVER, AGENT_TIMEOUT)?;
    Ok((found, said))
}

/// All that is in a host's store, as text, since what a host prints is text.
fn data_of(host: &Host) -> Result<String> {
    let data = host.run(&["sh", "-c", "tar -C /data -cf - jetstream | base64 -w0"])?;
    let archive = BASE64.decode(data.trim().as_bytes()).context("read the other disk")?;
    ensure!(!archive.is_empty(), "nothing is on the other disk");
    Ok(data)
}

/// Every start of the server in this boot, by systemd's number for it, also of one that ended at once.
/// Source: systemd 252, systemd.journal-fields, `INVOCATION_ID` of what process 1 says of a unit.
fn invocations(host: &Host) -> Result<BTreeSet<String>> {
    host.run(&["journalctl", "--sync"])?;
    let journal = host.journal(&["--output=json", &format!("UNIT={SERVER}")])?;
    let mut starts = BTreeSet::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).context("read the journal")?;
        starts.extend(entry["INVOCATION_ID"].as_str().map(str::to_owned));
    }
    Ok(starts)
}

/// Every directory and file at the store's place with mode and owner, files also with size and time of change.
fn listing(host: &Host, disk: Disk) -> Result<BTreeSet<String>> {
    let text = host.run(&[
        "find",
        "/data",
        "-xdev",
        "-mindepth",
        "1",
        "(",
        "-type",
        "d",
        "-printf",
        "%y %p %m %U:%G\\n",
        "-o",
        "-printf",
        "%y %p %m %U:%G %s %T@\\n",
        ")",
    ])?;
    let has_files = text.lines().any(|line| line.starts_with("f "));
    ensure!(has_files == (disk != Disk::Unmounted), "at the store's place lies: {text}");
    Ok(text.lines().map(str::to_owned).collect())
}
