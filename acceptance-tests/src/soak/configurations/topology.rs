//! Random topologies that keep every rule, and what they expand into: one configuration for each server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host_state::desired::joined_config;
use host_state::document::{
    AgentUsers, BinarySource, FirewallIntent, OnDrift, PeerUsers, Profile, ServerBinary,
};
use identity::{HostName, Trust};
use nats_config::{HostPort, LameDuck, NatsDuration, ServerConfig, Sha256Hex, SyncInterval, arbitrary};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::Value;
use terraform_provider_nats::topology::{
    Cluster, Gateway, HostMaterial, JetStreamSpec, Node, Ports, Problem, Rollout, cluster_problems,
    cluster_sections, gateway_problems, gateway_section, member,
};

/// Clusters, and the gateway that joins them where there is one.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) clusters: Vec<Cluster>,
    pub(super) gateway: Option<Gateway>,
}

impl Topology {
    /// Every rule that it breaks; advice is none.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let of_clusters = self.clusters.iter().flat_map(|cluster| cluster_problems(cluster, true));
        let of_gateway = self.gateway.iter().flat_map(|gateway| gateway_problems(gateway, true));
        of_clusters.chain(of_gateway).filter(|problem| !problem.is_advice).collect()
    }

    /// The configuration of every server that is there.
    pub(super) fn configurations(&self, trust: &Trust) -> Vec<ServerConfig> {
        let pin = |host: &HostName| Sha256Hex::of(host.as_str().as_bytes());
        let hosts = || self.clusters.iter().flat_map(Cluster::present).map(|(host, _)| host);
        let materials: BTreeMap<HostName, HostMaterial> = hosts()
            .map(|host| {
                let users = AgentUsers { system_jwt: String::new(), probe_jwt: String::new() };
                let user_keys = PeerUsers { system: String::new(), probe: String::new() };
                (host.clone(), HostMaterial { pin: pin(host), issuer: String::new(), users, user_keys })
            })
            .collect();
        let pins: BTreeSet<Sha256Hex> = hosts().map(pin).collect();
        let gateway =
            self.gateway.as_ref().map(|gateway| gateway_section(gateway, &Value::Null, &pins, None));
        self.clusters
            .iter()
            .flat_map(|cluster| cluster_sections(cluster, trust, &Value::Null, &materials, None))
            .map(|(_, section)| joined_config(&section, gateway.as_ref()))
            .collect()
    }
}

/// What the clusters of one topology share.
#[derive(Clone, Debug)]
struct Shared {
    ports: Ports,
    is_ipv6: bool,
    zoned: bool,
    reject_unknown: bool,
}

/// Any topology that keeps every rule: one to five clusters of one to seven nodes.
pub(super) fn topology() -> impl Strategy<Value = Topology> {
    let shape = (vec(1..=7_usize, 1..=5), 1024..=60_000_u16, any::<[bool; 3]>());
    shape.prop_flat_map(|(mut sizes, port, [is_ipv6, zoned, reject_unknown])| {
        // Agents listen on 8442.
        let port = if (8430..=8445).contains(&port) { port + 100 } else { port };
        // A lone server never elects a leader, and is refused.
        if let [size @ 1] = sizes.as_mut_slice() {
            *size = 3;
        }
        let ports = Ports {
            client: port,
            cluster: port + 1,
            gateway: port + 2,
            monitor: port + 3,
            metrics: port + 6,
        };
        let shared = Shared { ports, is_ipv6, zoned, reject_unknown };
        let servers: usize = sizes.iter().sum();
        let joined = sizes.len() > 1;
        let is_production = sizes.iter().all(|size| *size >= 3 && (!joined || size * 2 <= servers))
            && (!joined || sizes.len() >= 3);
        let clusters: Vec<_> = (1..)
            .zip(sizes)
            .map(|(number, size)| cluster(number, size, shared.clone(), joined, is_production))
            .collect();
        clusters.prop_map(move |clusters| {
            let member = |cluster: &Cluster| {
                (cluster.name.to_string(), member(cluster, "acme", "of a proof".to_owned()))
            };
            let gateway = joined.then(|| Gateway {
                name: "global".parse().expect("it is a name"),
                clusters: clusters.iter().map(member).collect(),
                reject_unknown: shared.reject_unknown,
                rollout: Rollout { max_unavailable: 1, settle: NatsDuration::from_secs(10) },
            });
            Topology { clusters, gateway }
        })
    })
}

fn cluster(
    number: u8,
    size: usize,
    shared: Shared,
    joined: bool,
    is_production: bool,
) -> impl Strategy<Value = Cluster> {
    let address = address(&shared, number, 1, 0);
    let sizes = (arbitrary::byte_size(), arbitrary::byte_size());
    let sync = prop_oneof![Just(SyncInterval::Always), arbitrary::duration().prop_map(SyncInterval::Every)];
    let jetstream = (sizes, "/data/[a-z]{3,8}", sync, of("[a-z][a-z0-9_-]{0,8}"));
    let rest = (
        arbitrary::limits(),
        arbitrary::logging(),
        (30..=600_u32, 0..=29_u32),
        arbitrary::extra(true, true, address, shared.ports.client),
        any::<bool>(),
    );
    let told = (1..=size).map(|node| self::node(&shared, number, node)).collect::<Vec<_>>();
    ("[a-z]{4,8}", told, jetstream, rest).prop_map(move |(word, nodes, jetstream, rest)| {
        let ((max_memory, max_storage), store_dir, sync, domain) = jetstream;
        let (limits, logging, (duration, grace_period), server_config, repairs) = rest;
        let name = format!("{word}{number}");
        let host = |index: usize| format!("{name}-{index}").parse().expect("it is a host name");
        let mut nodes: BTreeMap<HostName, Node> =
            (1..).zip(nodes).map(|(index, node)| (host(index), node)).collect();
        // One that is away is not counted, and production rules count.
        let keep = if is_production || !joined { size } else { 1 };
        for (index, node) in nodes.values_mut().enumerate() {
            node.absent &= index >= keep;
        }
        Cluster {
            name: name.parse().expect("it is a name"),
            profile: if is_production { Profile::Production } else { Profile::Development },
            nodes,
            server: ServerBinary { version: "2.15.1".to_owned(), source: BinarySource::Agent },
            ports: shared.ports,
            jetstream: JetStreamSpec {
                max_memory,
                max_storage,
                store_dir,
                store_on_root: false,
                unique_tag: shared.zoned.then(|| "az:".to_owned()),
                sync,
                domain,
            },
            limits,
            logging,
            lame_duck: LameDuck {
                duration: NatsDuration::from_secs(duration),
                grace_period: NatsDuration::from_secs(grace_period),
            },
            firewall: FirewallIntent {
                clients: vec!["10.0.0.0/8".parse().expect("it is a network")],
                metrics: Vec::new(),
                management: Vec::new(),
                metrics_port: 7777,
            },
            gateway: joined,
            rollout: Rollout { max_unavailable: 1, settle: NatsDuration::from_secs(10) },
            on_drift: if repairs { OnDrift::Repair } else { OnDrift::Report },
            server_config,
        }
    })
}

fn node(shared: &Shared, cluster: u8, number: usize) -> impl Strategy<Value = Node> + use<> {
    let index = u8::try_from(number).unwrap_or(u8::MAX);
    let address = address(shared, cluster, index, 0);
    let inner = self::address(shared, cluster, index, 1);
    let agent = HostPort::new(address, 8442).expect("the port is not 0");
    let tags = proptest::collection::btree_set("disk:[a-z]{1,4}|region:[a-z0-9]{1,4}", 0..3);
    let own_store = of("/mnt/[a-z]{3,8}");
    (tags, any::<bool>(), own_store, any::<bool>(), 1..=3_u32, 0..3_u8).prop_map(
        move |(mut tags, is_split, store_dir, absent, generation, zone)| {
            tags.insert(format!("az:{zone}"));
            Node {
                agent: agent.clone(),
                address,
                cluster_address: if is_split { inner } else { address },
                tags,
                extra_names: BTreeSet::new(),
                store_dir,
                absent,
                generation,
            }
        },
    )
}

/// An address that no other node has; `net` tells the two networks of a node apart.
fn address(shared: &Shared, cluster: u8, node: u8, net: u8) -> IpAddr {
    if shared.is_ipv6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, u16::from(net), 0, 0, u16::from(cluster), u16::from(node)))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, net, cluster, node))
    }
}
