//! What agents use while nothing happens, beside the nats-servers they look after.

use std::time::Duration;

use anyhow::{Context, Result};

use super::report::{Row, Table};
use super::usage::Usage;
use crate::rig::binaries;
use crate::rig::terraform::Installation;
use crate::scenario::supercluster::Supercluster;

/// Between the end of the apply and the first look.
const CALM: Duration = Duration::from_secs(20);
/// Between the two looks; a sweep of every agent falls into it.
const TIME: Duration = Duration::from_secs(60);
/// Most memory of one agent, MiB.
pub(super) const MEMORY_GOAL: f64 = 20.0;
/// Most processor time of one agent, per cent of one core.
const PROCESSOR_GOAL: f64 = 0.5;

/// Measures on one cluster of three, formed, with one account, user and stream.
///
/// # Errors
/// When the cluster does not come up, or a process ends meanwhile.
pub fn run() -> Result<Table> {
    let mut system = at_rest()?;
    let (agents, servers) = processes(&mut system)?;
    let before = (look(&agents)?, look(&servers)?);
    std::thread::sleep(TIME);
    let after = (look(&agents)?, look(&servers)?);
    let share = |before: &[Usage], after: &[Usage]| most_used(before, after) / TIME.as_secs_f64() * 100.0;
    let of = |usages: &[Usage], what: fn(&Usage) -> f64| most(usages.iter().map(what));
    let row = |name: &str, what: fn(&Usage) -> f64, goal| {
        Row::of_numbers(name, of(&after.0, what), of(&after.1, what), "MiB", goal)
    };
    let threads =
        |usages: &[Usage]| usages.iter().map(|usage| usage.threads).max().unwrap_or_default().to_string();
    Ok(Table {
        name: "agent-idle",
        floor: format!(
            "the nats-servers of the same hosts; each figure is the highest of three, over {} s",
            TIME.as_secs()
        ),
        rows: vec![
            row("memory of an agent (VmRSS)", |usage| usage.resident_mib, Some(MEMORY_GOAL)),
            row("of it not backed by a file (RssAnon)", |usage| usage.anonymous_mib, None),
            Row::of_numbers(
                "processor time of an agent",
                share(&before.0, &after.0),
                share(&before.1, &after.1),
                "% of a core",
                Some(PROCESSOR_GOAL),
            ),
            Row {
                what: "threads of an agent".to_owned(),
                ours: threads(&after.0),
                floor: Some(threads(&after.1)),
                ratio: None,
                goal: None,
            },
        ],
    })
}

/// One formed cluster of three with an account, a user and a stream, at which nobody looks any more.
pub(super) fn at_rest() -> Result<Supercluster> {
    binaries::agent()?;
    let mut system = Supercluster::lay_out(&[("east", 3)], "quickstart", Installation::DevOverride)?;
    system.fleet.start()?;
    system.terraform.apply()?.succeeded()?;
    std::thread::sleep(CALM);
    Ok(system)
}

/// Seconds of processor time between two looks, of the process that used most.
pub(super) fn most_used(before: &[Usage], after: &[Usage]) -> f64 {
    let both = before.iter().zip(after);
    most(both.map(|(before, after)| after.processor.saturating_sub(before.processor).as_secs_f64()))
}

/// Process numbers of all agents, and of all nats-servers.
pub(super) fn processes(system: &mut Supercluster) -> Result<(Vec<u32>, Vec<u32>)> {
    let names: Vec<String> = system.fleet.hosts().iter().map(|host| host.name().to_owned()).collect();
    let (mut agents, mut servers) = (Vec::new(), Vec::new());
    for name in names {
        let host = system.fleet.host_mut(&name)?;
        servers.push(host.server_pid().with_context(|| format!("`{name}` runs no nats-server"))?);
        agents.push(host.agent()?.pid());
    }
    Ok((agents, servers))
}

pub(super) fn look(pids: &[u32]) -> Result<Vec<Usage>> {
    pids.iter().map(|pid| Usage::of(*pid)).collect()
}

pub(super) fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}
