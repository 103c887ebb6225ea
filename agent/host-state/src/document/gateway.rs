//! The `gateway` section: what joins one host's cluster to the others, and the release.

use std::collections::{BTreeMap, BTreeSet};

use nats_config::{ClusterName, HostPort};
use serde::{Deserialize, Serialize};

use super::{Release, Section, SectionKind};

/// What one `nats_gateway` asks of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySection {
    /// Gateway name.
    pub gateway: String,
    /// Whether clusters that are not listed are turned away.
    pub reject_unknown: bool,
    /// Every cluster's gateway URLs, its own cluster included; exactly one per server.
    pub remotes: BTreeMap<ClusterName, BTreeSet<HostPort>>,
    /// Pins of every host's leaf key, for the gateway listener.
    pub pins: BTreeSet<String>,
    /// Every host of the supercluster that is not absent, by host name.
    pub hosts: BTreeMap<String, GatewayHost>,
    /// Lets the servers start. Absent: stop and hold.
    pub release: Option<Release>,
    /// What the person declared, as in [`super::ClusterSection::declared`].
    pub declared: serde_json::Value,
}

impl Section for GatewaySection {
    const KIND: SectionKind = SectionKind::Gateway;
}

/// A host of the supercluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayHost {
    /// Its cluster.
    pub cluster: String,
    /// `host:port` of its agent.
    pub agent: String,
    /// `host:port` of its cluster listener.
    pub cluster_url: String,
    /// `host:port` of its gateway listener.
    pub gateway_url: String,
}
