//! Clusters and gateways to vary.

use std::collections::BTreeMap;

use host_state::document::{BinarySource, FirewallIntent, OnDrift, Profile, ServerBinary};
use identity::{Authority, Generations, HostName};
use nats_config::{LameDuck, Logging, NatsDuration, ServerLimits, SyncInterval};

use crate::topology::{Cluster, Gateway, JetStreamSpec, Node, Ports, Rollout, member};

pub(super) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(super) fn authority() -> Authority {
    let root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

pub(super) fn node(address: &str, zone: &str) -> Node {
    Node {
        agent: format!("{address}:8442").parse().unwrap(),
        address: address.parse().unwrap(),
        cluster_address: address.parse().unwrap(),
        tags: [format!("az:{zone}")].into(),
        extra_names: ["nats.acme.example".to_owned()].into(),
        store_dir: None,
        absent: false,
        generation: 1,
    }
}

/// Three nodes in three zones, `10.0.<block>.1` and on.
pub(super) fn cluster(name: &str, block: u8) -> Cluster {
    let nodes = ["a", "b", "c"].iter().enumerate().map(|(index, zone)| {
        (host(&format!("{name}-{}", index + 1)), node(&format!("10.0.{block}.{}", index + 1), zone))
    });
    Cluster {
        name: name.parse().unwrap(),
        profile: Profile::Production,
        nodes: nodes.collect(),
        server: ServerBinary { version: "2.15.1".to_owned(), source: BinarySource::Agent },
        ports: Ports { client: 4222, cluster: 5222, gateway: 7222, monitor: 8222, metrics: 7777 },
        jetstream: JetStreamSpec {
            max_memory: "16GB".parse().unwrap(),
            max_storage: "200GB".parse().unwrap(),
            store_dir: "/data/jetstream".to_owned(),
            store_on_root: false,
            unique_tag: Some("az:".to_owned()),
            sync: SyncInterval::Always,
            domain: None,
        },
        limits: ServerLimits::default(),
        logging: Logging::default(),
        lame_duck: LameDuck {
            duration: NatsDuration::from_secs(120),
            grace_period: NatsDuration::from_secs(10),
        },
        firewall: FirewallIntent {
            clients: vec!["10.0.0.0/8".parse().unwrap()],
            metrics: Vec::new(),
            management: Vec::new(),
            metrics_port: 7777,
        },
        gateway: true,
        rollout: Rollout { max_unavailable: 1, settle: NatsDuration::from_secs(10) },
        on_drift: OnDrift::Report,
        server_config: serde_json::Map::new(),
    }
}

pub(super) fn gateway(clusters: &[Cluster]) -> Gateway {
    let clusters: BTreeMap<_, _> = clusters
        .iter()
        .map(|one| (one.name.to_string(), member(one, "acme", format!("revision of {}", one.name))))
        .collect();
    Gateway {
        name: "global".parse().unwrap(),
        clusters,
        reject_unknown: true,
        rollout: Rollout { max_unavailable: 1, settle: NatsDuration::from_secs(10) },
    }
}

pub(super) fn three() -> [Cluster; 3] {
    [cluster("east", 1), cluster("west", 2), cluster("north", 3)]
}
