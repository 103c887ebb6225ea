//! A disk that is not there, another's disk, a broken or a full one: nothing starts on it, plan and host say why, and no file
//! of it is touched.

use std::time::Duration;

use anyhow::{Context, Result};
use data_encoding::BASE64;

use super::Stage;
use super::stage::AGENT_UNITS;
use super::system::System;
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts};

/// The host whose disk is changed, and the one whose disk it is given.
const HOST: &str = "west-3";
const OTHER: &str = "west-2";
/// How long a server that may not start is watched, while the agent looks at its host anew.
const WATCHED: Duration = Duration::from_secs(5);
/// How long the agent's units may take after a restart.
const AGENT_TIMEOUT: Duration = Duration::from_secs(30);

/// One thing that is wrong with a disk.
struct Case {
    what: &'static str,
    /// What plan and host must say.
    words: &'static [&'static str],
    /// How it comes about, as shell; the server is stopped.
    hand: &'static str,
    /// What a person does about it.
    undo: &'static str,
}

const CASES: &[Case] = &[
    Case {
        what: "disk not mounted",
        words: &["store", "gone", "mount"],
        hand: "umount /data",
        undo: "mount /data",
    },
    Case {
        what: "disk not mounted, an empty directory in its place",
        words: &["store", "/data/jetstream", "mount"],
        hand: "umount /data; mkdir /data/jetstream",
        undo: "rmdir /data/jetstream; mount /data",
    },
    Case {
        what: "another server's disk",
        words: &["store", "belongs to server name `west-2`"],
        hand: "mv /data/jetstream /data/own; base64 -d | tar -C /data -xf -",
        undo: "rm -r /data/jetstream; mv /data/own /data/jetstream",
    },
    Case {
        what: "renamed server",
        words: &["store", "belongs to server name `west-9`"],
        hand: "sed -i.own 's/\"server_name\":\"[^\"]*\"/\"server_name\":\"west-9\"/' /data/jetstream/nats-agent-store.json",
        undo: "mv /data/jetstream/nats-agent-store.json.own /data/jetstream/nats-agent-store.json",
    },
    Case {
        what: "another cluster's data",
        words: &["store", "belongs to cluster `south`"],
        hand: "sed -i.own 's/\"cluster\":\"[^\"]*\"/\"cluster\":\"south\"/' /data/jetstream/nats-agent-store.json",
        undo: "mv /data/jetstream/nats-agent-store.json.own /data/jetstream/nats-agent-store.json",
    },
    Case {
        what: "read-only disk",
        words: &["store", "read-only"],
        hand: "mount -o remount,ro /data",
        undo: "mount -o remount,rw /data",
    },
    Case {
        what: "full disk",
        words: &["store", "full"],
        hand: "cat /dev/zero > /data/filler 2>/dev/null || :; sync",
        undo: "rm /data/filler",
    },
];

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let (mut refused, mut planned, mut told, mut kept) = (0, 0, 0, 0);
    let mut rows = Vec::new();
    for case in CASES {
        let host = hosts.host(HOST)?;
        let found = one(hosts, system, case).with_context(|| case.what)?;
        refused += usize::from(found.stayed_down);
        planned += usize::from(found.planned);
        told += usize::from(found.told);
        kept += usize::from(found.untouched);
        if !(found.stayed_down && found.planned && found.told && found.untouched) {
            rows.push(Row::told(case.what, format!("{found:?}")));
            rows.push(Row::told("the host said", host.run(&["nats-agent", "diff"]).unwrap_or_default()));
        }
    }
    system.plan()?.unchanged()?;
    let cases = CASES.len();
    rows.push(Row::exactly("wrong disks on which no server started", refused, cases));
    rows.push(Row::exactly("wrong disks of which the plan said why and what to do", planned, cases));
    rows.push(Row::exactly("wrong disks of which `nats-agent diff` said so", told, cases));
    rows.push(Row::exactly("wrong disks on which every file was left as it was", kept, cases));
    Ok(rows)
}

/// What came of one case.
#[derive(Debug)]
struct Found {
    /// Neither the agent nor the apply started the server.
    stayed_down: bool,
    /// The plan said why.
    planned: bool,
    /// The host said why.
    told: bool,
    /// The files were the same before and after.
    untouched: bool,
}

fn one(hosts: &Hosts, system: &System, case: &Case) -> Result<Found> {
    let host = hosts.host(HOST)?;
    // As data, since what a host prints is text.
    let others = hosts.host(OTHER)?.run(&["sh", "-c", "tar -C /data -cf - jetstream | base64 -w0"])?;
    BASE64.decode(others.trim().as_bytes()).context("read the other disk")?;
    host.run(&["systemctl", "stop", "nats-server.service"])?;
    host.run_with(&["sh", "-ec", case.hand], others.as_bytes())?;
    let before = listing(host)?;
    host.run(&["systemctl", "restart", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, AGENT_TIMEOUT)?;
    }
    std::thread::sleep(WATCHED);
    let told = system.told()?;
    // An apply repairs what can be repaired; it must start nothing here, whether it fails or warns.
    let _ = system.try_apply(hosts)?;
    let stayed_down = host.main_pid("nats-server.service")?.is_none();
    let words: Vec<&str> = [HOST].into_iter().chain(case.words.iter().copied()).collect();
    let said = host.output(&["nats-agent", "diff"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let found = Found {
        stayed_down,
        planned: told.holds(&words),
        told: said.lines().any(|line| case.words.iter().all(|word| line.contains(word))),
        untouched: listing(host)? == before,
    };
    host.run(&["sh", "-ec", case.undo])?;
    system.apply(hosts)?;
    host.wait_active("nats-server.service", AGENT_TIMEOUT)?;
    Ok(found)
}

/// Every file below the store with its size and time of change; empty where there is none.
fn listing(host: &Host) -> Result<String> {
    host.run(&["sh", "-c", "find /data -xdev -type f -printf '%p %s %T@\\n' 2>/dev/null | sort"])
}
