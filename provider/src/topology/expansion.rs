//! From what was declared to what each host is told.
//!
//! Two inputs: the declaration, and what hosts brought at their claim ([`HostMaterial`]: their keys' pins and what
//! was signed for them). Same inputs, same sections, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use host_state::document::{
    AgentUsers, ClusterSection, GatewayHost, GatewaySection, HostTls, Peer, PeerUsers, Release,
    StoreIdentity, StoreSpec,
};
use host_state::layout;
use identity::{HostName, HostNames, Trust};
use nats_config::{
    ClientListener, ClusterListener, FullResolver, GatewayListener, HostPort, JetStream, JetStreamLimits,
    ListenerTls, Logging, MonitorListener, NatsDuration, OperatorTrust, ServerConfig, ServerName, Sha256Hex,
};

use super::{Cluster, Gateway, Node, certificate_names};

/// Permission bits of a store directory: nobody else reads messages.
const STORE_MODE: u32 = 0o700;
/// Longest TLS handshake; twice and more the server's default, because a cold supercluster handshakes all at once.
const TLS_TIMEOUT: NatsDuration = NatsDuration::from_secs(5);
/// How often servers compare claims among themselves; agents converge them faster, this is the second net.
const RESOLVER_INTERVAL: NatsDuration = NatsDuration::from_secs(60);
/// How long a server asks its peers for a claim it does not have.
const RESOLVER_TIMEOUT: NatsDuration = NatsDuration::from_secs(2);
/// Most accounts in a resolver; far above what one claims section carries.
const RESOLVER_LIMIT: u64 = 100_000;

/// What one host brought at its claim, and what was signed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMaterial {
    /// SHA-256 of its leaf key's SubjectPublicKeyInfo.
    pub pin: Sha256Hex,
    /// Its issuer certificate, PEM.
    pub issuer: String,
    /// JWTs of the agent's own users.
    pub users: AgentUsers,
    /// Their public keys.
    pub user_keys: PeerUsers,
}

/// Where nats-server's monitoring port of `node` is bound: always loopback. Hosts that share a machine have loopback
/// addresses of their own, and each monitors on its own.
pub fn monitor_address(node: &Node) -> IpAddr {
    if node.address.is_loopback() { node.address } else { Ipv4Addr::LOCALHOST.into() }
}

/// The names in a node's certificates, as `identity` wants them.
pub fn host_names(host: &HostName, node: &Node) -> HostNames {
    let (mut dns, ips) = certificate_names(host, node);
    dns.remove(host.as_str());
    HostNames { host: host.clone(), dns, ips }
}

/// The authority's public side as sections carry it.
pub fn trust_json(trust: &Trust) -> serde_json::Value {
    serde_json::to_value(trust).expect("an authority's public side is plain data")
}

/// One section for each node that is present. `materials` must hold each of them; one without material is left out.
///
/// With `gateway = true` the release is the gateway's, so `release` is then ignored.
pub fn cluster_sections(
    cluster: &Cluster,
    trust: &Trust,
    declared: &serde_json::Value,
    materials: &BTreeMap<HostName, HostMaterial>,
    release: Option<&Release>,
) -> BTreeMap<HostName, ClusterSection> {
    let pins: BTreeSet<Sha256Hex> = cluster
        .present()
        .filter_map(|(host, _)| materials.get(host).map(|material| material.pin.clone()))
        .collect();
    let peers: BTreeMap<String, Peer> = cluster
        .present()
        .filter_map(|(host, node)| {
            let HostMaterial { pin, user_keys, .. } = materials.get(host)?;
            let (agent, pin) = (node.agent.to_string(), pin.as_str().to_owned());
            Some((host.to_string(), Peer { agent, pin, users: Some(user_keys.clone()) }))
        })
        .collect();
    cluster
        .present()
        .filter_map(|(host, node)| {
            let material = materials.get(host)?;
            let (dns_names, addresses) = certificate_names(host, node);
            let section = ClusterSection {
                cluster: cluster.name.to_string(),
                host: host.to_string(),
                profile: cluster.profile,
                trust: trust_json(trust),
                server: cluster.server.clone(),
                config: server_config(cluster, host, node, Some(trust), &pins),
                gateway: cluster.gateway.then(|| gateway_listener(cluster, node)),
                tls: HostTls {
                    issuer: material.issuer.clone(),
                    host_ca: trust.host_ca_bundle(),
                    fleet_ca: trust.fleet_ca_bundle(),
                    dns_names,
                    addresses,
                },
                users: material.users.clone(),
                store: store(cluster, host, node, trust),
                peers: peers.clone(),
                firewall: cluster.firewall.clone(),
                on_drift: cluster.on_drift,
                release: release.filter(|_| !cluster.gateway).cloned(),
                declared: declared.clone(),
            };
            Some((host.clone(), section))
        })
        .collect()
}

fn store(cluster: &Cluster, host: &HostName, node: &Node, trust: &Trust) -> StoreSpec {
    StoreSpec {
        directory: node.store_dir(cluster).to_owned(),
        mode: STORE_MODE,
        on_root: cluster.jetstream.store_on_root,
        identity: StoreIdentity {
            authority: trust.operator.to_string(),
            cluster: cluster.name.to_string(),
            server_name: host.to_string(),
            system_account: trust.system_account.to_string(),
        },
    }
}

/// The configuration of one server but for its gateway block. Without `trust` (not known before apply) it lacks
/// operator mode; the rules of everything else still hold for it.
pub fn server_config(
    cluster: &Cluster,
    host: &HostName,
    node: &Node,
    trust: Option<&Trust>,
    pins: &BTreeSet<Sha256Hex>,
) -> ServerConfig {
    ServerConfig {
        server_name: host.as_str().parse::<ServerName>().expect("every host name is a valid server name"),
        client: ClientListener {
            address: node.address,
            port: cluster.ports.client,
            advertise: None,
            tls: listener_tls(false, BTreeSet::new()),
        },
        monitor: Some(MonitorListener { address: monitor_address(node), port: cluster.ports.monitor }),
        cluster: Some(ClusterListener {
            name: cluster.name.clone(),
            address: node.cluster_address,
            port: cluster.ports.cluster,
            advertise: None,
            no_advertise: false,
            routes: routes(cluster),
            tls: listener_tls(true, pins.clone()),
        }),
        gateway: None,
        jetstream: Some(JetStream {
            store_dir: node.store_dir(cluster).to_owned(),
            max_memory: cluster.jetstream.max_memory,
            max_storage: cluster.jetstream.max_storage,
            unique_tag: cluster.jetstream.unique_tag.clone(),
            sync: cluster.jetstream.sync,
            domain: cluster.jetstream.domain.clone(),
            limits: JetStreamLimits::default(),
        }),
        trust: trust.map(operator_trust),
        limits: cluster.limits.clone(),
        logging: Logging { log_file: Some(layout::LOG_FILE.to_owned()), ..cluster.logging.clone() },
        tags: node.tags.clone(),
        lame_duck: cluster.lame_duck.clone(),
        pid_file: Some(layout::PID_FILE.to_owned()),
        extra: cluster.server_config.clone(),
    }
}

/// Exactly one URL for each server that is present, its own included: the count of URLs is the size that the first
/// election waits for. Source: nats-server 2.15.1 server/raft.go.
fn routes(cluster: &Cluster) -> BTreeSet<HostPort> {
    cluster.present().map(|(_, node)| host_port(node.cluster_address, cluster.ports.cluster)).collect()
}

fn host_port(address: IpAddr, port: u16) -> HostPort {
    HostPort::new(address, port).expect("ports are parsed as 1 to 65535")
}

fn listener_tls(verify: bool, pinned_certs: BTreeSet<Sha256Hex>) -> ListenerTls {
    ListenerTls {
        cert_file: layout::CERT_PATH.to_owned(),
        key_file: layout::KEY_PATH.to_owned(),
        ca_file: layout::CA_PATH.to_owned(),
        verify,
        timeout: TLS_TIMEOUT,
        pinned_certs,
    }
}

fn gateway_listener(cluster: &Cluster, node: &Node) -> GatewayListener {
    GatewayListener {
        address: node.address,
        port: cluster.ports.gateway,
        advertise: None,
        reject_unknown: true,
        remotes: BTreeMap::new(),
        tls: listener_tls(true, BTreeSet::new()),
    }
}

fn operator_trust(trust: &Trust) -> OperatorTrust {
    OperatorTrust {
        operator_jwt: trust.operator_jwt.to_string(),
        system_account: trust.system_account.to_string(),
        resolver: FullResolver {
            dir: layout::RESOLVER.to_owned(),
            allow_delete: true,
            interval: RESOLVER_INTERVAL,
            timeout: RESOLVER_TIMEOUT,
            limit: RESOLVER_LIMIT,
        },
        preload: BTreeMap::from([
            (trust.system_account.to_string(), trust.system_account_jwt.to_string()),
            (trust.probe_account.to_string(), trust.probe_account_jwt.to_string()),
        ]),
    }
}

/// The section that every host of the gateway takes. `pins` are those of every host's leaf key.
pub fn gateway_section(
    gateway: &Gateway,
    declared: &serde_json::Value,
    pins: &BTreeSet<Sha256Hex>,
    release: Option<&Release>,
) -> GatewaySection {
    let remotes = gateway
        .clusters
        .values()
        .map(|member| {
            let urls = member.nodes.values().map(|node| node.gateway_url.clone()).collect();
            (member.cluster.clone(), urls)
        })
        .collect();
    let hosts = gateway
        .nodes()
        .map(|(host, member, node)| {
            let told = GatewayHost {
                cluster: member.cluster.to_string(),
                agent: node.agent.to_string(),
                cluster_url: node.cluster_url.to_string(),
                gateway_url: node.gateway_url.to_string(),
            };
            (host.to_string(), told)
        })
        .collect();
    GatewaySection {
        gateway: gateway.name.to_string(),
        reject_unknown: gateway.reject_unknown,
        remotes,
        pins: pins.iter().map(|pin| pin.as_str().to_owned()).collect(),
        hosts,
        release: release.cloned(),
        declared: declared.clone(),
    }
}
