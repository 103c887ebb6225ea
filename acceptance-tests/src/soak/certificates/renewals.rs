//! Accelerated renewals: each host's kept leaf is replaced by one that is due, and its agent asked to look at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use identity::mint_leaf;
use nats_agent::applier::rendition::RENDITIONS_KEPT;
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::Leaf;
use serde_json::Value;
use time::OffsetDateTime;

use super::aging::secret;
use super::{PACE, traffic_rows};
use crate::rig::agents::Host;
use crate::rig::process::Signal;
use crate::rig::wait::wait_until;
use crate::scenario::steady::Steady;
use crate::scenario::system::{System, varz};
use crate::soak::proof::Row;

/// Life of a leaf that is due. Its first second lies some minutes back, so one third of its life is over at once.
const SHORT: Duration = Duration::from_secs(120);
/// How long one renewal may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Renews `wanted` times over all hosts, under traffic.
pub(super) fn rows(system: &mut System, wanted: u64) -> Result<Vec<Row>> {
    let names: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    let servers: Vec<_> = system.hosts().iter().map(Host::server_pid).collect();
    let traffic = Steady::start(system.hosts(), &system.credentials(), PACE)?;
    let (began, mut renewed, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while renewed < wanted {
        let round = usize::try_from(wanted - renewed)?.min(names.len());
        let began = Instant::now();
        let mut due = Vec::new();
        for name in &names[..round] {
            let host = system.host_mut(name);
            let before = varz(host)["config_load_time"].clone();
            let leaf = make_due(host)?;
            host.agent()?.signal(Signal::HUP)?;
            due.push((name, leaf, before));
        }
        for (name, leaf, before) in &due {
            wait_renewed(system.host(name), leaf, before)?;
            renewed += 1;
        }
        longest = longest.max(began.elapsed());
    }
    let took = began.elapsed();
    let counted = traffic.finish()?;
    let now = system.hosts().iter().map(Host::server_pid);
    let restarted = now.zip(&servers).filter(|(now, before)| now != *before).count();
    let kept = system.hosts().iter().map(renditions).collect::<Result<Vec<_>>>()?;
    let found = u64::from(system.plan().unchanged().is_err());
    let mut rows = vec![
        Row::exactly("certificates renewed and served", renewed, wanted),
        Row::told("time for all of them", format!("{:.0} s", took.as_secs_f64())),
        Row::told("longest round over all hosts", format!("{:.1} s", longest.as_secs_f64())),
        Row::exactly("servers that restarted", restarted, 0),
        Row::at_most(
            "renditions on a host afterwards",
            kept.into_iter().max().unwrap_or(0),
            RENDITIONS_KEPT + 1,
        ),
        Row::exactly("plans after them that find something to do", found, 0),
    ];
    rows.extend(traffic_rows("under renewals", &counted, system)?);
    Ok(rows)
}

/// Replaces the leaf that the agent keeps by one of the same keys that is due.
fn make_due(host: &Host) -> Result<Leaf> {
    let kept = Leaf::read(&host.state_dir())?.context("the host keeps no leaf")?;
    let now = OffsetDateTime::now_utc();
    let short = mint_leaf(&secret(host)?, &kept.material.issuer, &kept.material.names, now, SHORT)?;
    let due = Leaf { material: kept.material, certificate: short.leaf };
    anyhow::ensure!(due.is_due(now)?, "the leaf is not due");
    due.write(&Effects::default(), &host.state_dir())?;
    Ok(due)
}

/// The agent keeps another leaf, and its server has read it.
fn wait_renewed(host: &Host, due: &Leaf, loaded_before: &Value) -> Result<()> {
    let what = format!("the renewal on `{}`", host.name());
    wait_until(&what, DEADLINE, || {
        let is_kept = Leaf::read(&host.state_dir())?.is_some_and(|leaf| leaf.certificate != due.certificate);
        Ok(is_kept && varz(host)["config_load_time"] != *loaded_before)
    })
}

fn renditions(host: &Host) -> Result<usize> {
    let folder = host.state_dir().join(host_state::layout::RENDITIONS);
    Ok(std::fs::read_dir(folder).context("list renditions")?.count())
}
