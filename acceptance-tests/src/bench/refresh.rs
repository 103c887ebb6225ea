//! A plan that asks a thousand hosts, all simulated in one process, beside a caller that asks them and does no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use identity::{Authority, Generations, RootKey};
use nats_agent_api::fake::FakeAgent;
use serde_json::{Map, json};
use tokio::runtime::Runtime;

use super::callers::Caller;
use super::report::{Row, Table};
use super::usage::Usage;
use crate::rig::binaries;
use crate::rig::terraform::{Installation, Workspace};
use crate::scenario::supercluster::AUTHORITY;

/// Clusters, and hosts of each.
const CLUSTERS: usize = 100;
const NODES: usize = 10;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Plans, and rounds of the caller.
const RUNS: usize = 3;
/// The key of hosts that do not exist.
const ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// Measures: an apply that claims and stages a thousand bare hosts, then empty plans.
///
/// # Errors
/// When a host is not claimed, or a plan finds something to do.
pub fn run() -> Result<Table> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let root: RootKey = ROOT.parse().context("read the key")?;
    let authority =
        Authority::derive(&root, AUTHORITY.parse().context("name the authority")?, Generations::default())
            .context("derive the authority")?;
    let hosts = runtime.block_on(bare(&authority))?;
    let terraform = workspace(&hosts)?;
    let (made, _) = watched(&terraform, |terraform| Ok(terraform.apply()?.succeeded()?.elapsed))?;
    let (mut times, mut peak) = (Vec::new(), 0.0_f64);
    let mut floors = Vec::new();
    for _ in 0..RUNS {
        let (time, most) = watched(&terraform, |terraform| Ok(terraform.plan()?.unchanged()?.elapsed))?;
        times.push(time);
        peak = peak.max(most);
        floors.push(asked(&runtime, &authority, &hosts)?);
    }
    let (ours, floor) = (super::report::quantile(&times, 0.5), super::report::quantile(&floors, 0.5));
    let own = Usage::of(std::process::id())?.resident_mib;
    let total = CLUSTERS * NODES;
    Ok(Table {
        name: "refresh",
        floor: format!(
            "a caller that connects to each of the {total} hosts and observes it once, all at once, in the process that \
             simulates them; the hosts take the same two processors; median of {RUNS}"
        ),
        rows: vec![
            Row::of_times(
                &format!("empty plan that asks {total} hosts in {CLUSTERS} clusters"),
                ours,
                floor,
                None,
            ),
            Row {
                what: "most memory of the provider in it (VmHWM), beside all simulated hosts together"
                    .to_owned(),
                ours: format!("{peak:.1} MiB"),
                floor: Some(format!("{own:.1} MiB")),
                ratio: None,
                goal: None,
            },
            Row::of_times(&format!("apply that claims and stages {total} bare hosts"), made, floor, None),
        ],
    })
}

async fn bare(authority: &Authority) -> Result<Vec<(String, FakeAgent)>> {
    let mut hosts = Vec::new();
    for cluster in 1..=CLUSTERS {
        for node in 1..=NODES {
            let name = format!("c{cluster}-{node}");
            let enrollment = authority.enrollment(name.parse().context("name a host")?, 1);
            hosts.push((name, FakeAgent::unclaimed(enrollment).await));
        }
    }
    Ok(hosts)
}

/// Clusters that wait for a gateway, so that an apply claims and stages and starts nothing.
fn workspace(hosts: &[(String, FakeAgent)]) -> Result<Workspace> {
    let mut workspace = Workspace::new(&binaries::provider()?, Installation::DevOverride)?;
    workspace.set_timeout(PATIENCE);
    let mut clusters = Map::new();
    for (number, hosts) in (1..).zip(hosts.chunks(NODES)) {
        let node = |(index, (name, agent)): (usize, &(String, FakeAgent))| {
            let node = json!({
                "agent": agent.address(),
                "address": format!("10.{}.{}.{}", number / 256, number % 256, index + 1),
            });
            (name.clone(), node)
        };
        let cluster = json!({
            "authority": "${nats_authority.acme.trust}",
            "name": format!("c{number}"),
            "profile": "development",
            "nodes": hosts.iter().enumerate().map(node).collect::<Map<_, _>>(),
            "jetstream": { "max_memory": "1GB", "max_storage": "10GB", "store_dir": "/data/jetstream" },
            "gateway": true,
            "deletion_protection": false,
        });
        clusters.insert(format!("c{number}"), cluster);
    }
    let configuration = json!({
        "provider": { "nats": { "root_key": ROOT } },
        "resource": { "nats_authority": { "acme": { "name": AUTHORITY } }, "nats_cluster": clusters },
    });
    workspace.write("main.tf.json", &configuration.to_string())?;
    Ok(workspace)
}

/// Runs a command, and says the most memory that a provider's process had meanwhile, MiB.
fn watched<T: Send>(
    terraform: &Workspace,
    command: impl FnOnce(&Workspace) -> Result<T> + Send,
) -> Result<(T, f64)> {
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = {
        let is_over = Arc::clone(&is_over);
        let program = binaries::provider()?;
        std::thread::spawn(move || {
            let mut peak = 0.0_f64;
            while !is_over.load(Ordering::Relaxed) {
                for pid in running(&program) {
                    // One that has ended meanwhile was seen before.
                    peak = Usage::of(pid).map_or(peak, |usage| peak.max(usage.peak_mib));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        })
    };
    let result = command(terraform);
    is_over.store(true, Ordering::Relaxed);
    let peak = watching.join().map_err(|_| anyhow!("the watching thread panicked"))?;
    Ok((result?, peak))
}

/// Processes of this very program.
fn running(program: &std::path::Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let pids = entries.filter_map(Result::ok).filter_map(pid);
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program))
        .collect()
}

/// Every host connected to and observed once.
fn asked(runtime: &Runtime, authority: &Authority, hosts: &[(String, FakeAgent)]) -> Result<Duration> {
    let caller = Caller::of(authority)?;
    let began = Instant::now();
    let caller = &caller;
    let asking = hosts.iter().map(|(name, agent)| async move {
        let client = caller.connect(&agent.address(), name.parse().context("name a host")?).await?;
        client.observe().await.with_context(|| format!("observe `{name}`"))
    });
    let observed = runtime.block_on(futures_util::future::join_all(asking));
    observed.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(began.elapsed())
}
