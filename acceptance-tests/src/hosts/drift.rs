//! Everything that is managed, changed by hand: the next plan names host, item and setting, and an apply or the hand
//! puts it right. And a system that nobody touches says nothing, however often it is looked at.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Stage;
use super::system::System;
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts};

/// Plans of the system that nobody touched.
const REFRESHES: usize = 200;

/// What is told of a firewall that let everybody in.
const OPENED: &str = "firewall the firewall table was taken away or opened by process ";
/// The agent has loaded the table again by itself, and tells of that as long as it runs or until an apply changes
/// something.
const RESTART: &str = "systemctl restart nats-agent-applier.service nats-agent.service";

/// The host whose rules are flushed, and how long that is waited for.
const FLUSHED: &str = "west-1";
const LOADED_AGAIN: Duration = Duration::from_secs(30);

/// One change by hand.
struct Case {
    /// What is done, in words.
    what: &'static str,
    /// What the plan must say in one line of the host.
    words: &'static [&'static str],
    /// What is done, as a line of shell; the state directory is the working directory.
    hand: &'static str,
    /// What puts it right where an apply must not; empty where it does.
    undo: &'static str,
}

const CASES: &[Case] = &[
    Case {
        what: "drop-in edited",
        words: &["unit `LimitNOFILE` is `64`, should be `800000`"],
        hand: "sed -i 's/^LimitNOFILE=.*/LimitNOFILE=64/' /etc/systemd/system/nats-server.service.d/50-nats-agent.conf",
        undo: "",
    },
    Case {
        what: "drop-in removed",
        words: &["unit `nats-server.service.d/50-nats-agent.conf` is missing"],
        hand: "rm /etc/systemd/system/nats-server.service.d/50-nats-agent.conf",
        undo: "",
    },
    Case {
        what: "drop-in of somebody else",
        words: &["unit `/etc/systemd/system/nats-server.service.d/99-hand.conf` changes"],
        hand: "printf '[Service]\\nNice=5\\n' > /etc/systemd/system/nats-server.service.d/99-hand.conf; systemctl daemon-reload",
        undo: "rm /etc/systemd/system/nats-server.service.d/99-hand.conf; systemctl daemon-reload",
    },
    Case {
        what: "unit file replaced",
        words: &["unit `/etc/systemd/system/nats-server.service` stands before"],
        hand: "cp /usr/lib/systemd/system/nats-server.service /etc/systemd/system/; systemctl daemon-reload",
        undo: "rm /etc/systemd/system/nats-server.service; systemctl daemon-reload",
    },
    Case {
        what: "configuration edited",
        words: &["configuration `max_payload` is `2097152`, should not be there"],
        hand: "sed -i 's/^{/{\"max_payload\": 2097152,/' current/nats-server.json",
        undo: "",
    },
    Case {
        what: "certificate replaced",
        words: &["certificate `server.pem` is `sha256 "],
        hand: "cp current/ca.pem current/server.pem",
        undo: "",
    },
    Case {
        what: "key removed",
        words: &["key `server-key.pem` is missing"],
        hand: "rm current/server-key.pem",
        undo: "",
    },
    Case {
        what: "key readable by all",
        words: &["key `server-key.pem` is `mode 0644`, should be `mode 0640`"],
        hand: "chmod 0644 current/server-key.pem",
        undo: "",
    },
    Case {
        what: "firewall rule added",
        words: &["firewall `chain input` is `tcp dport 4222 accept`, should not be there"],
        hand: "nft add rule inet nats_agent input tcp dport 4222 accept",
        undo: "",
    },
    Case {
        what: "firewall rule removed",
        words: &[OPENED, "(`nft`)", "`chain rules_", " was missing, should be `", " drop"],
        hand: "set -- $(nft -a list table inet nats_agent | awk '/^\\tchain/ { chain = $2 } / drop / { print chain, $NF; exit }'); nft delete rule inet nats_agent $1 handle $2",
        undo: RESTART,
    },
    Case {
        what: "firewall rule edited",
        words: &[OPENED, "(`nft`)", "`chain rules_", " was `", "should be `"],
        hand: "set -- $(nft -a list table inet nats_agent | awk '/^\\tchain/ { chain = $2 } / drop / { print chain, $NF; exit }'); nft replace rule inet nats_agent $1 handle $2 tcp dport 4223 drop",
        undo: RESTART,
    },
    Case {
        what: "firewall table gone",
        words: &[OPENED, "(`nft`)", "`table inet nats_agent` was missing"],
        hand: "nft delete table inet nats_agent",
        undo: RESTART,
    },
    Case {
        what: "another table that drops a port of ours",
        words: &["firewall ", "inet other", "4222", "drop"],
        hand: "nft add table inet other; nft add chain inet other input '{ type filter hook input priority 0; }'; nft add rule inet other input tcp dport 4222 drop",
        undo: "nft delete table inet other",
    },
    Case {
        what: "store opened to all",
        words: &["store `mode` is `mode 0755`, should be `mode 0700`"],
        hand: "chmod 0755 /data/jetstream",
        undo: "",
    },
    Case {
        what: "store of another group",
        words: &["store `owner` is `user ", "group 0`, should be `"],
        hand: "chgrp root /data/jetstream",
        undo: "",
    },
    Case {
        what: "service stopped",
        words: &["process is `stopped", "should be `running`"],
        hand: "systemctl stop nats-server.service",
        undo: "",
    },
    Case {
        what: "service masked",
        words: &["unit `nats-server.service` is `masked`, should be `not masked`"],
        hand: "systemctl mask nats-server.service",
        undo: "",
    },
    Case {
        what: "binary replaced",
        words: &["process `binary` is `sha256 "],
        hand: "cp /usr/local/bin/nats-server /usr/local/bin/new; printf x >> /usr/local/bin/new; mv /usr/local/bin/new /usr/local/bin/nats-server",
        undo: "",
    },
];

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let (mut named, mut tried) = (0, 0);
    let mut rows = Vec::new();
    let before = system.told()?;
    rows.push(Row::exactly("drift and findings before", before.lines.len(), 0));
    for line in &before.lines {
        rows.push(Row::told("told before anything was changed", line));
    }
    for round in CASES.chunks(hosts.all().len()) {
        let told = changed(hosts, system, round)?;
        for (case, host) in round.iter().zip(hosts.all()) {
            tried += 1;
            if told.holds(host.name(), case.words) {
                named += 1;
            } else {
                rows.push(Row::exactly(
                    case.what,
                    format!("not named on {}", host.name()),
                    "named".to_owned(),
                ));
            }
        }
        if named < tried {
            rows.extend(told.lines.iter().map(|line| Row::told("the plan said", line)));
        }
        for (case, host) in round.iter().zip(hosts.all()) {
            if !case.undo.is_empty() {
                by_hand(host, case.undo)?;
            }
        }
        system.apply(hosts).context("repair what was changed")?;
        let after = system.told()?;
        let left = after.without_notes();
        rows.push(Row::exactly("drift and findings after an apply", left.len(), 0));
        rows.extend(left.iter().map(|line| Row::told("still told", line)));
    }
    rows.push(Row::exactly("changes by hand that the next plan named", named, CASES.len()));
    rows.extend(flushed(hosts.host(FLUSHED)?, system)?);
    let mut told = 0;
    for _ in 0..REFRESHES {
        let seen = system.told()?;
        told += seen.without_notes().len() + usize::from(!seen.is_empty);
    }
    rows.push(Row::told("refreshes of the system that nobody touched", REFRESHES));
    rows.push(Row::exactly("drift and findings in them", told, 0));
    Ok(rows)
}

/// Somebody flushes all rules of a host: the table is there again by itself, and the next plan says who did it.
fn flushed(host: &Host, system: &System) -> Result<Vec<Row>> {
    by_hand(host, "nft flush ruleset")?;
    let started = Instant::now();
    host.wait_for("the firewall table", LOADED_AGAIN, |host| {
        let found = host.output(&["nft", "list", "chain", "inet", "nats_agent", "input"])?;
        Ok(String::from_utf8_lossy(&found.stdout).contains("goto rules_").then_some(()))
    })?;
    let took = started.elapsed().as_secs_f64();
    let is_told = system.told()?.holds(host.name(), &[OPENED, "(`nft`)"]);
    by_hand(host, RESTART)?;
    Ok(vec![
        Row::at_most("`nft flush ruleset`: seconds until the rules hold again", took, 5.0),
        Row::exactly("`nft flush ruleset`: the next plan says who did it", is_told, true),
    ])
}

/// Makes each change on a host of its own and plans.
fn changed(hosts: &Hosts, system: &System, round: &[Case]) -> Result<super::system::Told> {
    for (case, host) in round.iter().zip(hosts.all()) {
        by_hand(host, case.hand).context(case.what)?;
    }
    system.told()
}

fn by_hand(host: &Host, line: &str) -> Result<()> {
    host.run(&["sh", "-ec", &format!("cd /var/lib/nats-agent; {line}")]).map(drop)
}
