//! Rules of ports, routes and gateways.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    ClientListener, ClusterListener, ClusterName, GatewayListener, HostPort, ListenerTls, MonitorListener,
    ServerConfig,
};

use super::{Problems, paths};

pub(super) fn check(config: &ServerConfig, problems: &mut Problems) {
    let ClientListener { address: _, port: _, advertise, tls } = &config.client;
    check_advertise("client.advertise", advertise.as_ref(), problems);
    check_tls("client.tls", tls, problems);
    if let Some(MonitorListener { address, port: _ }) = &config.monitor
        && !address.is_loopback()
    {
        let problem = "is no loopback address, and the monitoring port asks nobody who they are";
        problems.add("monitor.address", address, problem, "give an address of 127.0.0.0/8 or `::1`");
    }
    if let Some(cluster) = &config.cluster {
        check_cluster(cluster, config.jetstream.is_some(), problems);
    }
    if let Some(gateway) = &config.gateway {
        check_gateway(gateway, config.cluster.is_some(), problems);
    }
    check_ports(config, problems);
}

/// A port that nobody can dial, or two listeners that want the same one.
fn check_ports(config: &ServerConfig, problems: &mut Problems) {
    let mut listeners = vec![("client", config.client.address, config.client.port)];
    listeners.extend(config.monitor.iter().map(|one| ("monitor", one.address, one.port)));
    listeners.extend(config.cluster.iter().map(|one| ("cluster", one.address, one.port)));
    listeners.extend(config.gateway.iter().map(|one| ("gateway", one.address, one.port)));
    for (index, (name, address, port)) in listeners.iter().enumerate() {
        let path = format!("{name}.port");
        if *port == 0 {
            problems.add(&path, port, "means the server's default port or none", "give 1 to 65535");
        }
        let meets = |other: &IpAddr| other == address || other.is_unspecified() || address.is_unspecified();
        for (other, other_address, other_port) in &listeners[..index] {
            if port == other_port && *port != 0 && meets(other_address) {
                let problem = format!("is also the port of `{other}` on the same address");
                problems.add(&path, port, &problem, "give each listener its own port");
            }
        }
    }
}

fn check_cluster(cluster: &ClusterListener, has_jetstream: bool, problems: &mut Problems) {
    let ClusterListener { name: _, address: _, port: _, advertise, no_advertise: _, routes, tls } = cluster;
    check_advertise("cluster.advertise", advertise.as_ref(), problems);
    check_peer_tls("cluster.tls", tls, problems);
    // Source: nats-server 2.15.1 server/jetstream_cluster.go; `-t` passes it, the start is refused.
    if routes.is_empty() && has_jetstream {
        let problem = "JetStream in a cluster does not start without a route";
        problems.absent("cluster.routes", problem, "give the cluster address of at least one server");
    }
    check_addresses("cluster.routes", routes, problems);
}

fn check_gateway(gateway: &GatewayListener, has_cluster: bool, problems: &mut Problems) {
    let GatewayListener { address: _, port: _, advertise, reject_unknown: _, remotes, tls } = gateway;
    if !has_cluster {
        let problem = "a gateway bears the name of its cluster, and there is none";
        problems.absent("cluster", problem, "give `cluster`, or leave out `gateway`");
    }
    check_advertise("gateway.advertise", advertise.as_ref(), problems);
    check_peer_tls("gateway.tls", tls, problems);
    let mut owners: BTreeMap<&HostPort, &ClusterName> = BTreeMap::new();
    for (name, addresses) in remotes {
        let path = format!("gateway.remotes.{name}");
        if addresses.is_empty() {
            problems.absent(&path, "the server refuses a remote gateway without address", "give one address");
        }
        check_addresses(&path, addresses, problems);
        for address in addresses {
            if let Some(other) = owners.insert(address, name) {
                let problem = format!("is also an address of the cluster `{other}`");
                problems.add(&path, address, &problem, "give each address to the one cluster it belongs to");
            }
        }
    }
}

fn is_unspecified(address: &HostPort) -> bool {
    address.host().parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}

fn check_addresses(path: &str, addresses: &BTreeSet<HostPort>, problems: &mut Problems) {
    for address in addresses.iter().filter(|address| is_unspecified(address)) {
        problems.add(path, address, "is no address that can be dialled", "give the address of one server");
    }
}

fn check_advertise(path: &str, advertise: Option<&HostPort>, problems: &mut Problems) {
    if let Some(address) = advertise.filter(|address| is_unspecified(address)) {
        problems.add(
            path,
            address,
            "is no address that can be dialled",
            "give one that others reach, or none",
        );
    }
}

fn check_tls(path: &str, tls: &ListenerTls, problems: &mut Problems) {
    let ListenerTls { cert_file, key_file, ca_file, verify, timeout, pinned_certs } = tls;
    paths::check_relative(&format!("{path}.cert_file"), cert_file, problems);
    paths::check_relative(&format!("{path}.key_file"), key_file, problems);
    paths::check_relative(&format!("{path}.ca_file"), ca_file, problems);
    problems.positive(&format!("{path}.timeout"), Some(*timeout));
    // Source: nats-server 2.15.1 server/client.go (`matchesPinnedCert`): without a certificate nothing matches.
    if !pinned_certs.is_empty() && !verify {
        let problem = "pins are only met by certificates, which nobody is asked for";
        problems.add(&format!("{path}.verify"), verify, problem, "set it, or leave `pinned_certs` empty");
    }
}

/// Ports between servers, where the server turns verification on whatever the file says.
fn check_peer_tls(path: &str, tls: &ListenerTls, problems: &mut Problems) {
    check_tls(path, tls, problems);
    if !tls.verify && tls.pinned_certs.is_empty() {
        let problem =
            "servers always verify each other, so the file would say something else than what happens";
        problems.add(&format!("{path}.verify"), tls.verify, problem, "set it");
    }
}
