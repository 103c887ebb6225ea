//! What agents use while somebody asks them all the time, beside what they use while nobody does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use identity::{Authority, Generations, RootKey};

use super::agent_idle::{MEMORY_GOAL, at_rest, look, most, most_used, processes};
use super::callers::Caller;
use super::report::{Row, Table};
use super::usage::Usage;
use crate::scenario::supercluster::{AUTHORITY, Supercluster};

/// How long each part lasts.
const TIME: Duration = Duration::from_secs(30);
/// Between two questions to one agent: fifteen times as often as monitoring usually asks.
const PAUSE: Duration = Duration::from_secs(1);

/// Measures on one formed cluster of three: half a minute in which nobody asks, then half a minute of an `Observe` of
/// each agent every second, over one connection each.
///
/// # Errors
/// When the cluster does not come up, or an agent does not answer.
pub fn run() -> Result<Table> {
    let mut system = at_rest()?;
    let (agents, _) = processes(&mut system)?;
    let before = look(&agents)?;
    std::thread::sleep(TIME);
    let between = look(&agents)?;
    let questions = ask(&system)?;
    let after = look(&agents)?;
    let share = |before: &[Usage], after: &[Usage]| most_used(before, after) / TIME.as_secs_f64() * 100.0;
    let memory = |usages: &[Usage]| most(usages.iter().map(|usage| usage.resident_mib));
    let each = most_used(&between, &after) * 1e3 / f64::from(questions);
    Ok(Table {
        name: "agent-asked",
        floor: format!(
            "the same agents while nobody asks; each figure is the highest of three, over {} s",
            TIME.as_secs()
        ),
        rows: vec![
            Row::of_numbers(
                "memory of an agent (VmRSS)",
                memory(&after),
                memory(&between),
                "MiB",
                Some(MEMORY_GOAL),
            ),
            Row::of_numbers(
                "processor time of an agent, observed every second",
                share(&between, &after),
                share(&before, &between),
                "% of a core",
                None,
            ),
            Row {
                what: "processor time of one observation".to_owned(),
                ours: format!("{each:.1} ms"),
                floor: None,
                ratio: None,
                goal: None,
            },
        ],
    })
}

/// Asks for [`TIME`]. Returns how many questions each agent answered.
fn ask(system: &Supercluster) -> Result<u32> {
    let root: RootKey = system.root_key.parse().context("read the root key")?;
    let name = AUTHORITY.parse().context("name the authority")?;
    let authority = Authority::derive(&root, name, Generations::default()).context("derive the authority")?;
    let caller = Caller::of(&authority)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for host in system.fleet.hosts() {
            let name = host.name().parse().context("name a host")?;
            clients.push(caller.connect(&host.agent_address().to_string(), name).await?);
        }
        let (began, mut questions) = (Instant::now(), 0);
        while began.elapsed() < TIME {
            for client in &clients {
                client.observe().await.context("observe an agent")?;
            }
            questions += 1;
            let next = PAUSE * questions;
            tokio::time::sleep(next.saturating_sub(began.elapsed())).await;
        }
        Ok(questions)
    })
}
