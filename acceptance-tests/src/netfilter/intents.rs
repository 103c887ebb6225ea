//! Random intents: whole documents of a host, as a provider signs them, and addresses worth asking from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use host_state::document::{ClusterSection, GatewayHost, GatewaySection, Peer};
use host_state::firewall::{FirewallRules, PortRule, Reach};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nats_agent::testing::Author;
use nats_agent_api::fake::host_secret;
use nats_config::{GatewayListener, HostPort};
use proptest::prelude::*;

use crate::soak::chance::Chance;

/// The agent's port.
pub(super) const AGENT_PORT: u16 = 8442;
/// Ports that nobody manages.
pub(super) const OTHER_PORTS: [u16; 2] = [22, 4333];

/// A host's sections.
#[derive(Debug)]
pub(super) struct Intent {
    cluster: ClusterSection,
    gateway: Option<GatewaySection>,
}

impl Intent {
    /// A random one. `plain` is what is not random in it.
    pub(super) fn draw(plain: &ClusterSection, chance: &mut Chance) -> Result<Intent> {
        let networks = || proptest::collection::vec(network(), 0..5);
        let addresses = || proptest::collection::vec(address(), 0..5);
        let drawn =
            (networks(), networks(), networks(), addresses(), addresses(), addresses(), any::<bool>());
        let (clients, metrics, management, routes, agents, gateways, has_gateway) = chance.draw(&drawn)?;
        let mut cluster = plain.clone();
        cluster.firewall.clients = clients;
        cluster.firewall.metrics = metrics;
        cluster.firewall.management = management;
        let listener = cluster.config.cluster.as_mut().context("the plain section has a cluster listener")?;
        listener.routes =
            routes.iter().map(|route| HostPort::new(*route, listener.port)).collect::<Result<_, _>>()?;
        let socket = |address: &IpAddr, port: u16| std::net::SocketAddr::new(*address, port).to_string();
        let peer = |(number, agent): (usize, &IpAddr)| {
            let (agent, pin) = (socket(agent, AGENT_PORT), "0".repeat(64));
            (format!("east-{}", number + 2), Peer { agent, pin, users: None })
        };
        cluster.peers = agents.iter().enumerate().map(peer).collect();
        if !has_gateway {
            return Ok(Intent { cluster, gateway: None });
        }
        cluster.gateway = Some(GatewayListener {
            address: cluster.config.client.address,
            port: 7222,
            advertise: None,
            reject_unknown: false,
            remotes: BTreeMap::new(),
            tls: cluster.config.client.tls.clone(),
        });
        let host = |(number, address): (usize, &IpAddr)| {
            let host = GatewayHost {
                cluster: "west".to_owned(),
                agent: socket(address, AGENT_PORT),
                cluster_url: socket(address, 5222),
                gateway_url: socket(address, 7222),
            };
            (format!("west-{}", number + 1), host)
        };
        let gateway = GatewaySection {
            gateway: "global".to_owned(),
            reject_unknown: false,
            remotes: BTreeMap::new(),
            pins: Default::default(),
            hosts: gateways.iter().enumerate().map(host).collect(),
            release: None,
            declared: serde_json::Value::Null,
        };
        Ok(Intent { cluster, gateway: Some(gateway) })
    }

    /// The rules that an agent derives of it.
    pub(super) fn rules(&self) -> FirewallRules {
        let Intent { cluster, gateway } = self;
        Reach { cluster, gateway: gateway.as_ref(), agent_port: AGENT_PORT }.rules()
    }
}

/// The section that all intents are made from.
pub(super) fn plain(host: IpAddr) -> ClusterSection {
    let author = Author::new(host, "/nowhere".into());
    author.plain_section(&host_secret(nats_agent::testing::HOST).keys())
}

/// An address of the pools: mostly few of them, so that networks overlap and touch.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![3 => 0..512_u32, 1 => 0..1_u32 << 24];
    let v6 = prop_oneof![3 => 0..512_u128, 1 => 0..1_u128 << 120];
    prop_oneof![
        v4.prop_map(|low| IpAddr::V4((0x0a00_0000 | low).into())),
        v6.prop_map(|low| IpAddr::V6(((0xfd_u128 << 120) | low).into())),
    ]
}

fn network() -> impl Strategy<Value = IpNet> {
    (address(), 0..=24_u8, 0..20_u8).prop_map(|(address, short, rare)| match address {
        _ if rare == 0 => IpNet::V4(Ipv4Net::new_assert([0, 0, 0, 0].into(), 0)),
        _ if rare == 1 => IpNet::V6(Ipv6Net::new_assert(0.into(), 0)),
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new_assert(address, 32 - short)),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new_assert(address, 128 - short * 5)),
    })
}

/// Addresses of the pools from which `rule` is worth asking about: the edges of its networks, what lies beside them, and
/// a few others.
pub(super) fn candidates(rule: &PortRule, chance: &mut Chance) -> Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for network in rule.from.iter() {
        let (first, last) = (network.network(), network.broadcast());
        all.extend([Some(first), Some(last), beside(first, false), beside(last, true)].into_iter().flatten());
    }
    all.extend(chance.draw(&proptest::collection::vec(address(), 6))?);
    let is_in_pool = |address: &IpAddr| match address {
        // The first and last of a pool are no hosts' addresses to the kernel.
        IpAddr::V4(address) => {
            address.octets()[0] == 10 && !matches!(address.octets(), [_, 0, 0, 0] | [_, 255, 255, 255])
        }
        IpAddr::V6(address) => address.octets()[0] == 0xfd && address.to_bits() << 8 != 0,
    };
    all.retain(is_in_pool);
    Ok(all)
}

fn beside(address: IpAddr, is_after: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            let next = if is_after { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let next = if is_after { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| IpAddr::V6(bits.into()))
        }
    }
}
