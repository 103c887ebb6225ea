//! The `cluster` section: one host's server, configuration, certificates, store and neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nats_config::{GatewayListener, ServerConfig, Sha256Hex};
use serde::{Deserialize, Serialize};

use super::{Section, SectionKind};
use crate::DownloadUrl;

/// What one `nats_cluster` asks of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Cluster name.
    pub cluster: String,
    /// This host: node name, server name and the DNS name in its certificate.
    pub host: String,
    /// Which rules hold.
    pub profile: Profile,
    /// The authority's public side with its generations, as canonical JSON of `identity::Trust`.
    pub trust: serde_json::Value,
    /// The nats-server binary.
    pub server: ServerBinary,
    /// The whole configuration but the gateway block, which joins with the `gateway` section.
    pub config: ServerConfig,
    /// The gateway listener without remotes and pins; absent when the cluster has no gateway.
    pub gateway: Option<GatewayListener>,
    /// Certificates of this host.
    pub tls: HostTls,
    /// The agent's own NATS users.
    pub users: AgentUsers,
    /// The JetStream store directory.
    pub store: StoreSpec,
    /// The cluster's other and own nodes, absent ones left out, by host name.
    pub peers: BTreeMap<String, Peer>,
    /// Who may reach the managed ports.
    pub firewall: FirewallIntent,
    /// Whether the agent repairs drift by itself.
    pub on_drift: OnDrift,
    /// Lets the server start. Absent: held. Always absent when `gateway` is present: the gateway releases.
    pub release: Option<Release>,
    /// What the person declared, in the provider's own words, so that an import finds it again. The agent keeps it
    /// and reads nothing in it; a change of it alone changes nothing on the host.
    pub declared: serde_json::Value,
}

impl Section for ClusterSection {
    const KIND: SectionKind = SectionKind::Cluster;
}

/// Which topology, disk and firewall rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Every rule.
    Production,
    /// Topology, disk and firewall rules relaxed, each named in the plan.
    Development,
}

/// The nats-server binary a host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerBinary {
    /// Version without `v`, like `2.15.1`.
    pub version: String,
    /// Where it comes from.
    pub source: BinarySource,
}

/// Where a nats-server binary comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BinarySource {
    /// The one that the agent was started with.
    Agent,
    /// Installed on the host by somebody else at this absolute path.
    Path {
        /// Absolute path.
        path: String,
    },
    /// A file on the host, installed side by side by version and checksum.
    File {
        /// Absolute path of the file to install from.
        path: String,
        /// SHA-256 of the binary, 64 lower-case hex digits.
        sha256: String,
    },
    /// Downloaded by the agent and installed side by side by version and checksum: the binary itself, or a release of
    /// nats-server, a `.tar.gz` with the binary in it.
    Url {
        /// Where it is downloaded.
        url: DownloadUrl,
        /// SHA-256 of the file that is downloaded.
        sha256: Sha256Hex,
    },
}

/// Certificates of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTls {
    /// Issuer certificate for this host, PEM, signed by the host CA.
    pub issuer: String,
    /// Host CA certificate, PEM.
    pub host_ca: String,
    /// Fleet CA certificate (of callers of the agent), PEM.
    pub fleet_ca: String,
    /// DNS names a leaf carries; the host name is among them.
    pub dns_names: BTreeSet<String>,
    /// Addresses a leaf carries.
    pub addresses: BTreeSet<IpAddr>,
}

/// JWTs for the agent's own NATS users; their keys never leave the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentUsers {
    /// In the system account: monitoring requests and `CLAIMS.UPDATE`.
    pub system_jwt: String,
    /// In the probe account: the mesh probe.
    pub probe_jwt: String,
}

/// The JetStream store directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSpec {
    /// Absolute path; nats-server puts `jetstream/` below it.
    pub directory: String,
    /// Permission bits of the directory, like 0o700.
    pub mode: u32,
    /// Whether it may lie on the root file system, which `production` refuses otherwise.
    pub on_root: bool,
    /// Who the data belongs to.
    pub identity: StoreIdentity,
}

/// Whose data a store holds. A server starts on nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreIdentity {
    /// Operator public key.
    pub authority: String,
    /// Cluster name.
    pub cluster: String,
    /// Server name: Raft's node id is its hash, so another name is another member.
    pub server_name: String,
    /// System account public key: it names the meta group's directory.
    pub system_account: String,
}

/// A node of the same cluster, or of another one behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// `host:port` of its agent.
    pub agent: String,
    /// Pin of its leaf key: SHA-256 of the subject public key info, 64 lower-case hex digits.
    pub pin: String,
    /// Its agent's NATS users; absent in what was signed before they were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<PeerUsers>,
}

/// Public keys (`U...`) of an agent's own NATS users. Neighbours keep them, so that they can be revoked when the host is
/// lost and nobody can ask it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerUsers {
    /// In the system account.
    pub system: String,
    /// In the probe account.
    pub probe: String,
}

/// Who may reach the managed ports; cluster and gateway peers are derived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallIntent {
    /// Networks of clients; empty: nobody was named, and everybody may come.
    pub clients: Vec<IpNet>,
    /// Networks that may scrape metrics; empty: only the host itself.
    pub metrics: Vec<IpNet>,
    /// Networks of operators, which alone may reach the agent, beside all peers; empty: everybody may.
    pub management: Vec<IpNet>,
    /// Port of the agent's metrics, 1 to 65535.
    pub metrics_port: u16,
}

/// What the agent does about drift between applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// Tell.
    Report,
    /// Repair what an apply would repair.
    Repair,
}

/// Permission to start, and with whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Names the meta group for ever, 32 lower-case hex digits; made once, by whoever first released it.
    pub meta_lineage: String,
    /// Every server that counts in the meta group's first election, by server name.
    pub members: BTreeSet<String>,
}
