//! What a person declared, parsed and each value checked; rules between values are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use host_state::document::{FirewallIntent, OnDrift, Profile, ServerBinary};
use identity::HostName;
use nats_config::{
    ByteSize, ClusterName, HostPort, LameDuck, Logging, NatsDuration, ServerLimits, SyncInterval,
};

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, also that of its gateway.
    pub name: ClusterName,
    /// Which rules hold.
    pub profile: Profile,
    /// Its nodes by name, absent ones included.
    pub nodes: BTreeMap<HostName, Node>,
    /// The nats-server binary.
    pub server: ServerBinary,
    /// Ports, the same on every node.
    pub ports: Ports,
    /// JetStream, the same on every node but for the directory.
    pub jetstream: JetStreamSpec,
    /// Bounds on what clients may do.
    pub limits: ServerLimits,
    /// What is logged.
    pub logging: Logging,
    /// How a server says goodbye.
    pub lame_duck: LameDuck,
    /// Who may reach the ports.
    pub firewall: FirewallIntent,
    /// Whether it is one of several clusters behind a gateway.
    pub gateway: bool,
    /// How a change goes through the nodes.
    pub rollout: Rollout,
    /// Whether agents repair drift by themselves.
    pub on_drift: OnDrift,
    /// Further settings under NATS's own names.
    pub server_config: serde_json::Map<String, serde_json::Value>,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where its agent listens.
    pub agent: HostPort,
    /// Where clients and other clusters reach it.
    pub address: IpAddr,
    /// Where the other nodes of the cluster reach it.
    pub cluster_address: IpAddr,
    /// Tags for the placement of streams.
    pub tags: BTreeSet<String>,
    /// Further DNS names and addresses that clients know it by.
    pub extra_names: BTreeSet<String>,
    /// Its store directory; absent means that of the cluster.
    pub store_dir: Option<String>,
    /// Not awaited, not counted, in no list of others.
    pub absent: bool,
    /// Enrolment generation, from 1.
    pub generation: u32,
}

/// Ports of a node, 1 to 65535 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Clients.
    pub client: u16,
    /// Routes.
    pub cluster: u16,
    /// Gateways.
    pub gateway: u16,
    /// nats-server's own monitoring, on loopback only.
    pub monitor: u16,
    /// The agent's metrics.
    pub metrics: u16,
}

/// JetStream of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamSpec {
    /// Most bytes of memory streams on one server.
    pub max_memory: ByteSize,
    /// Most bytes of file streams on one server.
    pub max_storage: ByteSize,
    /// Absolute directory, unless a node has its own.
    pub store_dir: String,
    /// Whether it may lie on the root file system in production.
    pub store_on_root: bool,
    /// Prefix of the tag that tells zones apart; absent means none.
    pub unique_tag: Option<String>,
    /// When writes reach the disk.
    pub sync: SyncInterval,
    /// Domain; absent means none.
    pub domain: Option<String>,
}

/// How a change goes through many hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// How many servers of one cluster may be down at once, from 1.
    pub max_unavailable: u32,
    /// How long everything must be well before the next one.
    pub settle: NatsDuration,
}

/// What a gateway knows of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `<authority>/<cluster>`.
    pub id: String,
    /// Authority name.
    pub authority: String,
    /// Cluster name.
    pub cluster: ClusterName,
    /// Which rules hold.
    pub profile: Profile,
    /// Whether the cluster is staged for a gateway.
    pub gateway: bool,
    /// Changes with anything that the cluster's hosts are told.
    pub revision: String,
    /// Its nodes, absent ones left out.
    pub nodes: BTreeMap<HostName, MemberNode>,
}

/// What a gateway knows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberNode {
    /// Where its agent listens.
    pub agent: HostPort,
    /// Its cluster listener.
    pub cluster_url: HostPort,
    /// Its gateway listener.
    pub gateway_url: HostPort,
    /// Enrolment generation.
    pub generation: u32,
}

/// A gateway: the mesh between clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its name.
    pub name: ClusterName,
    /// Its clusters, by the key they were given in the configuration.
    pub clusters: BTreeMap<String, Member>,
    /// Whether clusters that are not listed are turned away.
    pub reject_unknown: bool,
    /// How a change goes through the hosts.
    pub rollout: Rollout,
}

impl Cluster {
    /// The nodes that are there, by name.
    pub fn present(&self) -> impl Iterator<Item = (&HostName, &Node)> {
        self.nodes.iter().filter(|(_, node)| !node.absent)
    }
}

impl Node {
    /// Where its data lies.
    pub fn store_dir<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.store_dir.as_deref().unwrap_or(&cluster.jetstream.store_dir)
    }
}

impl Ports {
    /// Each with its attribute's name.
    pub fn named(&self) -> [(&'static str, u16); 5] {
        let Self { client, cluster, gateway, monitor, metrics } = *self;
        [
            ("client", client),
            ("cluster", cluster),
            ("gateway", gateway),
            ("monitor", monitor),
            ("metrics", metrics),
        ]
    }
}

impl Gateway {
    /// Every node of every cluster, with its cluster's name.
    pub fn nodes(&self) -> impl Iterator<Item = (&HostName, &Member, &MemberNode)> {
        self.clusters
            .values()
            .flat_map(|member| member.nodes.iter().map(move |(host, node)| (host, member, node)))
    }
}

/// DNS names and addresses in a node's certificates: its own name, its addresses and its extra names.
pub fn certificate_names(host: &HostName, node: &Node) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let mut dns = BTreeSet::from([host.as_str().to_owned()]);
    let mut addresses = BTreeSet::from([node.address, node.cluster_address]);
    if let Ok(agent) = node.agent.host().parse() {
        addresses.insert(agent);
    } else {
        dns.insert(node.agent.host().to_owned());
    }
    for name in &node.extra_names {
        match name.parse::<IpAddr>() {
            Ok(address) => _ = addresses.insert(address),
            Err(_) => _ = dns.insert(name.clone()),
        }
    }
    (dns, addresses)
}

/// What a gateway is told of `cluster`.
pub fn member(cluster: &Cluster, authority: &str, revision: String) -> Member {
    let url = |address, port| HostPort::new(address, port).expect("ports are parsed as 1 to 65535");
    let nodes = cluster
        .present()
        .map(|(host, node)| {
            let node = MemberNode {
                agent: node.agent.clone(),
                cluster_url: url(node.cluster_address, cluster.ports.cluster),
                gateway_url: url(node.address, cluster.ports.gateway),
                generation: node.generation,
            };
            (host.clone(), node)
        })
        .collect();
    Member {
        id: format!("{authority}/{}", cluster.name),
        authority: authority.to_owned(),
        cluster: cluster.name.clone(),
        profile: cluster.profile,
        gateway: cluster.gateway,
        revision,
        nodes,
    }
}
