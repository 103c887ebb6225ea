//! One cluster whose agents are all reached over roads that break, and providers that write to it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use host_state::document::ClaimsSection;
use identity::{AccountClaims, decode_account};
use nats_agent::applier::ledger::Ledger;
use nats_agent::parts::effects::Effects;
use serde_json::Value as Json;
use terraform_provider_nats::provider::NatsProvider;
use tfplug::Value;
use tfplug::testing::{Harness, Instance};
use tokio::runtime::Runtime;

use super::audit::Log;
use super::proxy::Proxy;
use crate::rig::agents::Host;
use crate::scenario::system::System;
use crate::soak::chance::Chance;

/// Where the road to a host's agent begins, at the host's own address.
const ROAD_PORT: u16 = 18442;
/// Computed attributes of `nats_cluster`, which no block declares.
const COMPUTED: [&str; 4] = ["id", "members", "drift", "findings"];

/// The system, its roads and its configuration.
pub(super) struct Rig {
    pub(super) system: System,
    roads: Vec<Proxy>,
}

/// What a provider must know of the system.
#[derive(Debug)]
pub(super) struct Doors {
    seeds: Vec<String>,
    root_key: String,
}

impl Rig {
    /// A formed cluster of three, applied over roads that are calm.
    pub(super) fn start(runtime: &Runtime, one_in: u64, seed: u64) -> Result<Self> {
        let mut system = System::lay_out(&[("east", 3)]);
        system.forget("nats_stream", "orders");
        let mut text = system.configuration.to_string();
        for host in system.hosts() {
            text = text.replace(&host.agent_address().to_string(), &road(host).to_string());
        }
        system.configuration = serde_json::from_str(&text).context("put the roads into the configuration")?;
        let mut roads = Vec::new();
        for (number, host) in (1..).zip(system.hosts()) {
            let (from, to) = (SocketAddr::V4(road(host)), SocketAddr::V4(host.agent_address()));
            roads.push(runtime.block_on(Proxy::start(from, to, one_in, Chance::of(seed, number)))?);
        }
        system.supercluster.fleet.start()?;
        system.apply();
        Ok(Self { system, roads })
    }

    /// Whether connections made from now on may be cut.
    pub(super) fn set_stormy(&self, is_stormy: bool) {
        self.roads.iter().for_each(|road| road.set_stormy(is_stormy));
    }

    /// Connections so far, and how many of them were cut.
    pub(super) fn connections(&self) -> (u64, u64) {
        self.roads.iter().map(Proxy::counts).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// What providers must know.
    pub(super) fn doors(&self) -> Doors {
        let seeds = self.system.hosts().iter().map(|host| road(host).to_string()).collect();
        Doors { seeds, root_key: self.system.supercluster.root_key.clone() }
    }

    /// What every agent has logged so far.
    pub(super) fn logs(&self) -> Result<Vec<Log>> {
        let read = |host: &Host| {
            let path = host.state_dir().join("../agent.log");
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
            Log::read(&text)
        };
        self.system.hosts().iter().map(read).collect()
    }

    /// The accounts that each host's ledger holds, by name.
    pub(super) fn accounts(&self) -> Result<Vec<BTreeMap<String, AccountClaims>>> {
        let trust = self.system.authority().trust();
        let of = |host: &Host| {
            let ledger = Ledger::open(host.state_dir().join("ledger"), Effects::default())?;
            let entry = ledger.read()?.claims.context("it holds no claims")?;
            let section: ClaimsSection = entry.accepted.body()?;
            let accounts = section.accounts.values().map(|entry| {
                let decoded = decode_account(&entry.jwt.parse()?, &trust)?;
                Ok((entry.name.clone(), decoded.claims))
            });
            accounts.collect::<Result<BTreeMap<_, _>>>()
        };
        let read = |host: &Host| of(host).with_context(|| format!("read the ledger of `{}`", host.name()));
        self.system.hosts().iter().map(read).collect()
    }

    /// Body of the cluster section that each host's ledger holds.
    pub(super) fn clusters(&self) -> Result<Vec<Json>> {
        let of = |host: &Host| {
            let ledger = Ledger::open(host.state_dir().join("ledger"), Effects::default())?;
            let entry = ledger.read()?.cluster.context("it holds no cluster section")?;
            let body: Json = serde_json::from_str(&entry.accepted.body)?;
            Ok(body["declared"].clone())
        };
        self.system.hosts().iter().map(of).collect()
    }
}

impl Doors {
    /// A provider as a new process of `writer` would be.
    pub(super) async fn provider(&self, writer: &str) -> Result<Harness> {
        let harness = Harness::new(NatsProvider::writing_as(writer)).await.map_err(told)?;
        let seeds = Value::list(self.seeds.iter().map(|seed| Value::from(seed.as_str())));
        let block = Value::object([("root_key", Value::from(self.root_key.as_str())), ("agents", seeds)]);
        harness.configure(block).await.map_err(told)?;
        Ok(harness)
    }
}

/// Where callers reach a host's agent.
fn road(host: &Host) -> SocketAddrV4 {
    SocketAddrV4::new(host.address(), ROAD_PORT)
}

/// What a provider said, as an error.
pub(super) fn told(diagnostics: tfplug::Diagnostics) -> anyhow::Error {
    anyhow!("{diagnostics}")
}

/// The cluster as a process finds it; asked again while roads break.
pub(super) async fn import(provider: &Harness) -> Result<Instance> {
    let mut last = None;
    for _ in 0..10 {
        match provider.import("nats_cluster", "acme/east").await {
            Ok(instance) => return Ok(instance),
            Err(problems) => last = Some(told(problems)),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(last.context("nothing was tried")?.context("import the cluster"))
}

/// The block that declares what `instance` holds, with `settle` and, if there are any, `connections`.
pub(super) fn block(instance: &Instance, settle: &str, connections: Option<u64>) -> Value {
    let declared = instance.state.entries().filter(|(name, _)| !COMPUTED.contains(name));
    let block = Value::object(declared.map(|(name, value)| (name, value.clone())));
    let block = block.with("rollout", Value::object([("settle", Value::from(settle))]));
    match connections {
        Some(most) => block.with(
            "limits",
            Value::object([("max_connections", Value::from(i64::try_from(most).unwrap_or(i64::MAX)))]),
        ),
        None => block,
    }
}
