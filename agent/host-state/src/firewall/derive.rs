//! From a host's sections to its firewall rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{FirewallRules, ManagedPort, Networks, PortRule};
use crate::document::{ClusterSection, FirewallIntent, GatewaySection};

/// What the rules are made of.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// The host's `cluster` section.
    pub cluster: &'a ClusterSection,
    /// Its `gateway` section; absent when there is none.
    pub gateway: Option<&'a GatewaySection>,
    /// The port that the agent listens on.
    pub agent_port: u16,
}

impl Reach<'_> {
    /// Who may reach which managed port.
    ///
    /// Clients: the networks of `clients`, everyone where none is named. Routes: every address that is known of a present
    /// node of the cluster. Gateways: every address that is known of a host of the supercluster. Monitoring: nobody but the
    /// host itself. Metrics: the networks of `metrics`. Agent: everyone, or where `management` names networks those and
    /// all peers. A peer that is known by a DNS name only adds nothing: names are not resolved here.
    #[must_use]
    pub fn rules(&self) -> FirewallRules {
        let Reach { cluster, gateway, agent_port } = *self;
        let FirewallIntent { clients, metrics, management, metrics_port } = &cluster.firewall;
        let config = &cluster.config;
        let peers = Networks::of(self.cluster_addresses());
        let all_peers = Networks::of(peers.iter().chain(gateway.into_iter().flat_map(host_addresses)));
        let or_everyone = |named: &[IpNet]| {
            if named.is_empty() { Networks::everyone() } else { Networks::of(named.iter().copied()) }
        };
        let agent = if management.is_empty() {
            Networks::everyone()
        } else {
            Networks::of(management.iter().copied().chain(all_peers.iter()))
        };
        let listed = [
            (ManagedPort::Client, Some(config.client.port), or_everyone(clients)),
            (ManagedPort::Cluster, config.cluster.as_ref().map(|listener| listener.port), peers),
            (ManagedPort::Gateway, cluster.gateway.as_ref().map(|listener| listener.port), all_peers),
            (ManagedPort::Monitor, config.monitor.as_ref().map(|listener| listener.port), Networks::nobody()),
            (ManagedPort::Metrics, Some(*metrics_port), Networks::of(metrics.iter().copied())),
            (ManagedPort::Agent, Some(agent_port), agent),
        ];
        let rules = listed.into_iter().filter_map(|(name, port, from)| {
            let port = port?;
            Some((name, PortRule { port, from }))
        });
        FirewallRules(rules.collect())
    }

    fn cluster_addresses(&self) -> Vec<IpNet> {
        let ClusterSection { config, gateway, peers, .. } = self.cluster;
        let routes =
            config.cluster.iter().flat_map(|listener| &listener.routes).filter_map(|route| one(route.host()));
        let agents = peers.values().filter_map(|peer| host_of(&peer.agent));
        let own = [Some(config.client.address)]
            .into_iter()
            .chain([config.cluster.as_ref().map(|listener| listener.address)])
            .chain([gateway.as_ref().map(|listener| listener.address)])
            .flatten()
            .filter(|address| !address.is_unspecified())
            .map(IpNet::from);
        routes.chain(agents).chain(own).collect()
    }
}

fn host_addresses(gateway: &GatewaySection) -> Vec<IpNet> {
    let urls = gateway.hosts.values().flat_map(|host| [&host.agent, &host.cluster_url, &host.gateway_url]);
    let remotes = gateway.remotes.values().flatten().filter_map(|remote| one(remote.host()));
    urls.filter_map(|url| host_of(url)).chain(remotes).collect()
}

/// The address in `host:port`; `None` for a name.
fn host_of(text: &str) -> Option<IpNet> {
    let (host, _) = text.rsplit_once(':')?;
    one(host.trim_start_matches('[').trim_end_matches(']'))
}

fn one(host: &str) -> Option<IpNet> {
    host.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified()).map(IpNet::from)
}
