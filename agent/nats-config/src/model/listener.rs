//! The ports that a server listens on, and the TLS of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{ClusterName, HostPort, NatsDuration, Sha256Hex};

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientListener {
    /// Address to listen on; an unspecified one means all.
    pub address: IpAddr,
    /// Port, 1 to 65535.
    pub port: u16,
    /// What clients are told to dial instead of the address; absent means the address.
    pub advertise: Option<HostPort>,
    /// Certificates of this port.
    pub tls: ListenerTls,
}

/// Where `/varz` and its like answer, without any authentication and therefore on loopback only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorListener {
    /// A loopback address.
    pub address: IpAddr,
    /// Port, 1 to 65535.
    pub port: u16,
}

/// Routes between the servers of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterListener {
    /// Name of the cluster; also that of the gateway.
    pub name: ClusterName,
    /// Address to listen on.
    pub address: IpAddr,
    /// Port, 1 to 65535.
    pub port: u16,
    /// What other servers are told to dial; absent means the address.
    pub advertise: Option<HostPort>,
    /// Do not tell clients the addresses of the other servers.
    pub no_advertise: bool,
    /// One address for each server of the cluster, itself included or not; a server skips its own.
    pub routes: BTreeSet<HostPort>,
    /// Certificates of this port. Peers are always verified.
    pub tls: ListenerTls,
}

/// The mesh between clusters. Its name is always that of the cluster and so is not a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayListener {
    /// Address to listen on.
    pub address: IpAddr,
    /// Port, 1 to 65535.
    pub port: u16,
    /// What other clusters are told to dial; absent means the address.
    pub advertise: Option<HostPort>,
    /// Refuse clusters that `remotes` does not name. Then a new cluster means a restart of every server.
    pub reject_unknown: bool,
    /// Addresses of every cluster's gateway ports; the own cluster may stand in it and is skipped.
    pub remotes: BTreeMap<ClusterName, BTreeSet<HostPort>>,
    /// Certificates of this port. Peers are always verified.
    pub tls: ListenerTls,
}

/// Certificates of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM file of the certificate and its chain, relative to the state directory.
    pub cert_file: String,
    /// PEM file of the private key, relative to the state directory.
    pub key_file: String,
    /// PEM file of the authorities that a peer's certificate must come from, relative to the state directory.
    pub ca_file: String,
    /// Whether a client must show a certificate. Cluster and gateway ports always demand one.
    pub verify: bool,
    /// Longest time that a handshake may take.
    pub timeout: NatsDuration,
    /// SHA-256 sums of the public keys (DER SubjectPublicKeyInfo) that peers may show; empty means any key with
    /// a valid certificate.
    pub pinned_certs: BTreeSet<Sha256Hex>,
}
