//! All leaves expired at once on servers that run, because their agents were down for longer than a leaf lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, kill_process};
use time::OffsetDateTime;

use super::aging::put;
use crate::rig::agents::Host;
use crate::rig::process::Signal;
use crate::rig::wait::wait_until;
use crate::scenario::steady::stored;
use crate::scenario::system::System;
use crate::scenario::traffic;
use crate::soak::proof::Row;

/// Messages in the stream before.
const MESSAGES: u64 = 100;
/// Age of the issuers, and of the leaves, which live thirty days.
const DAYS: (i64, i64) = (40, 31);
const DEADLINE: Duration = Duration::from_secs(90);

/// Lets them expire, starts the agents, applies once.
pub(super) fn rows(system: &mut System) -> Result<Vec<Row>> {
    system.publish("east-1", "orders.outage", MESSAGES);
    let before = texts(system)?;
    let names: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    for name in &names {
        system.host_mut(name).agent()?.kill()?;
    }
    let (now, authority) = (OffsetDateTime::now_utc(), system.authority());
    for host in system.hosts() {
        let (issuer, leaf) = DAYS;
        put(&authority, host, now - time::Duration::days(issuer), now - time::Duration::days(leaf))?;
        reload(host)?;
    }
    for host in system.hosts() {
        let what = format!("clients refusing the certificate of `{}`", host.name());
        wait_until(&what, DEADLINE, || Ok(!lets_in(system, host)))?;
    }
    let began = Instant::now();
    system.supercluster.fleet.start()?;
    let applied = system.apply();
    let recovered = began.elapsed();
    let refusing = system.hosts().iter().filter(|host| !lets_in(system, host)).count();
    let left = u64::from(system.plan().unchanged().is_err());
    let after = texts(system)?;
    let lost = before.iter().filter(|(text, times)| after.get(*text) != Some(times)).count();
    Ok(vec![
        Row::told("servers whose certificate had expired, refused by clients", names.len()),
        Row::told("agents started to the end of one apply", format!("{:.0} s", recovered.as_secs_f64())),
        Row::told("that apply", format!("{:.0} s", applied.elapsed.as_secs_f64())),
        Row::exactly("servers that clients refuse after it", refusing, 0),
        Row::exactly("plans after it that find something to do", left, 0),
        Row::told("messages in the stream", before.len()),
        Row::exactly("messages lost", lost, 0),
    ])
}

/// Whether a client that verifies certificates is let in, and lets the server in.
fn lets_in(system: &System, host: &Host) -> bool {
    let credentials = system.credentials();
    traffic::talk(async { traffic::connect(host, &credentials).await }).is_ok()
}

fn reload(host: &Host) -> Result<()> {
    let pid = host.server_pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let pid = pid.with_context(|| format!("no nats-server runs on `{}`", host.name()))?;
    kill_process(pid, Signal::HUP).context("have nats-server reload")
}

fn texts(system: &System) -> Result<std::collections::BTreeMap<String, u64>> {
    let credentials = system.credentials();
    let host = &system.hosts()[0];
    traffic::talk(async { stored(&traffic::connect(host, &credentials).await?, "ORDERS").await })
}
