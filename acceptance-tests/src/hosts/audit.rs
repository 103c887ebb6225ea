//! Whatever is done to the audit log of a host: `verify` there says so, and the next plan of whoever declared the host.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use host_state::layout;

use super::Stage;
use super::stage::{AGENT_TIMEOUT, AGENT_UNITS};
use super::system::System;
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts};
use crate::scenario::audit::{HANDS, touched_anywhere, warned};

/// The host whose log is touched.
const HOST: &str = "east-2";

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.supercluster()?;
    let host = hosts.host(HOST)?;
    let (mut verified, mut planned, mut again) = (0, 0, 0);
    let mut rows = vec![
        Row::exactly("sound before, as `nats-agent audit verify` says", verify(host, &[])?.0, 0),
        Row::exactly("warnings of the plan before", told(system)?.len(), 0),
    ];
    let log = log(host);
    for hand in HANDS {
        let whole = fs::read_to_string(&log).context("read the log")?;
        fs::write(&log, hand.touched(&whole)).context("touch the log")?;
        let (code, said) = verify(host, &[])?;
        let warned = told(system)?;
        let is_verified = code == 2 && said.contains(hand.verify);
        let is_planned = warned.iter().any(|line| is_of_host(line) && line.contains(hand.verify));
        verified += usize::from(is_verified);
        planned += usize::from(is_planned);
        if !(is_verified && is_planned) {
            rows.push(Row::told(
                hand.what,
                format!("exit code {code}: {said}; the plan: {}", warned.join("; ")),
            ));
        }
        fs::write(&log, whole).context("put the log back")?;
        again += told(system)?.len();
    }
    let whole = fs::read_to_string(&log).context("read the log")?;
    let anywhere = touched_anywhere(&whole);
    let mut told_anywhere = 0;
    for (what, touched) in &anywhere {
        fs::write(&log, touched).context("touch the log")?;
        let (code, said) = verify(host, &[])?;
        told_anywhere += usize::from(code == 2);
        if code != 2 {
            rows.push(Row::told(what, format!("exit code {code}: {said}")));
        }
    }
    fs::write(&log, whole).context("put the log back")?;
    rows.push(Row::at_least("records flipped and dropped, one at a time", anywhere.len(), 20));
    rows.push(Row::exactly("of these that `verify` told", told_anywhere, anywhere.len()));
    rows.push(Row::exactly("hands on the log that `verify` told", verified, HANDS.len()));
    rows.push(Row::exactly("hands on the log that the next plan told", planned, HANDS.len()));
    rows.push(Row::exactly("warnings once it was put back", again, 0));
    rows.extend(cut(hosts, system)?);
    Ok(rows)
}

/// Records are cut off the end while no agent runs: what is left is sound, and not what was there.
fn cut(hosts: &Hosts, system: &System) -> Result<Vec<Row>> {
    let host = hosts.host(HOST)?;
    let newest = host.run(&["nats-agent", "audit", "show", "--last", "1", "--json"])?;
    let newest: serde_json::Value = serde_json::from_str(&newest).context("read the newest record")?;
    let hash = newest["hash"].as_str().context("a record has a hash")?;
    let head = format!("{}:{hash}", newest["seq"]);
    host.run(&["systemctl", "stop", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    let log = log(host);
    // Each agent that starts begins a file of its own.
    let folder = log.parent().context("the log lies in a folder")?;
    for entry in fs::read_dir(folder).context("list the log")? {
        let file = entry.context("list the log")?.path();
        if file != log {
            fs::remove_file(file).context("cut the log")?;
        }
    }
    let whole = fs::read_to_string(&log).context("read the log")?;
    let left: Vec<&str> = whole.split_inclusive('\n').take(12).collect();
    fs::write(&log, left.concat()).context("cut the log")?;
    let sound = verify(host, &[])?.0;
    let (code, said) = verify(host, &["--against", &head])?;
    let is_told = code == 2 && said.contains("it ends with record 12, and it had");
    host.run(&["systemctl", "start", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, AGENT_TIMEOUT)?;
    }
    // Cluster and gateway remember each for itself, so there may be two lines.
    let is_cut = |lines: &[String]| {
        !lines.is_empty()
            && lines.iter().all(|line| is_of_host(line) && line.contains("audit log is not the one"))
    };
    let warned = told(system)?;
    system.apply(hosts)?;
    let again = told(system)?;
    let mut rows = vec![
        Row::exactly("cut log, sound by itself: exit code of `verify`", sound, 0),
        Row::exactly("cut log, told by `verify` against a head that was kept", is_told, true),
        Row::exactly("cut log, told by the next plan", is_cut(&warned), true),
        Row::exactly(
            "cut log, told by the plan after an apply, which does not make it good",
            is_cut(&again),
            true,
        ),
    ];
    rows.extend(again.into_iter().map(|line| Row::told("of the cut log was said", line)));
    if !(is_told && is_cut(&warned)) {
        rows.push(Row::told(
            "of it was said before",
            format!("{code}: {said}; the plan: {}", warned.join("; ")),
        ));
    }
    Ok(rows)
}

fn log(host: &Host) -> PathBuf {
    host.root().join("var/lib/nats-agent").join(layout::AUDIT).join(layout::audit_file(1))
}

/// What `nats-agent audit verify` says, and its exit code.
fn verify(host: &Host, arguments: &[&str]) -> Result<(i32, String)> {
    let output = host.output(&[&["nats-agent", "audit", "verify"], arguments].concat())?;
    let code = output.status.code().context("it was killed")?;
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn told(system: &System) -> Result<Vec<String>> {
    Ok(warned(&system.plan()?.unchanged()?))
}

fn is_of_host(line: &str) -> bool {
    line.starts_with(&format!("{HOST}: audit "))
}
