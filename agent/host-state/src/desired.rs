//! What the sections, taken together, ask of the host.

use std::collections::BTreeMap;

use nats_config::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::document::{
    ClaimsSection, ClusterSection, GatewaySection, Profile, Release, ServerBinary, StoreSpec,
};
use crate::firewall::{FirewallRules, Reach};
use crate::unit::DropIn;

/// A host's desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The whole configuration, gateway block included.
    pub config: ServerConfig,
    /// The binary.
    pub server: ServerBinary,
    /// The store directory.
    pub store: StoreSpec,
    /// Which rules hold for its disk.
    pub profile: Profile,
    /// Whether the server is to run, and in which meta group.
    pub run: Run,
    /// Files of the current rendition with their hashes, as its manifest says; empty before the first one.
    pub files: BTreeMap<String, DesiredFile>,
    /// What the current rendition was made from; absent before the first one. Behind [`Desired::config`] where a
    /// change is to come, and in its lists of addresses until the server restarts for another reason.
    pub rendered: Option<ServerConfig>,
    /// Not-after of the leaf in the current rendition, as `/varz` prints it (RFC 3339, UTC, whole seconds); absent
    /// where it is unknown, and then what is served is not compared.
    pub leaf_not_after: Option<String>,
    /// By account public key: SHA-256 of the JWT text, `iat`, tombstone.
    pub claims: BTreeMap<String, DesiredClaim>,
    /// The meta lineage the ledger remembers for the store; absent before the first release.
    pub lineage: Option<String>,
    /// Whether a meta leader was ever seen in that lineage.
    pub formed: bool,
    /// The store's own id as the ledger remembers it; absent before the store was first prepared.
    pub store_id: Option<String>,
    /// The user that the server runs as; absent where that is the agent's own.
    pub owner: Option<Owner>,
    /// Who may reach which port; absent where the agent manages no firewall.
    pub firewall: Option<FirewallRules>,
    /// What its unit's drop-in says; absent where the server is the agent's child.
    pub unit: Option<DropIn>,
}

/// Who owns a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Owner { uid, gid } = self;
        write!(f, "user {uid}, group {gid}")
    }
}

/// Whether the server is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// Staged and kept stopped.
    Held,
    /// Running in this meta group.
    Released(Release),
}

/// A file of a rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredFile {
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
}

/// An account JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredClaim {
    /// The account's name.
    pub name: String,
    /// SHA-256 of the JWT text, 64 lower-case hex digits.
    pub sha256: String,
    /// Its `iat`, seconds since 1970.
    pub issued_at: i64,
    /// Whether the account was deleted.
    pub tombstone: bool,
}

/// Facts that the agent's own ledger adds to the sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// See [`Desired::files`].
    pub files: BTreeMap<String, DesiredFile>,
    /// See [`Desired::rendered`].
    pub rendered: Option<ServerConfig>,
    /// See [`Desired::leaf_not_after`].
    pub leaf_not_after: Option<String>,
    /// See [`Desired::lineage`].
    pub lineage: Option<String>,
    /// See [`Desired::formed`].
    pub formed: bool,
    /// See [`Desired::store_id`].
    pub store_id: Option<String>,
    /// See [`Desired::owner`].
    pub owner: Option<Owner>,
    /// The agent's port, where it manages a firewall.
    pub agent_port: Option<u16>,
    /// See [`Desired::unit`].
    pub unit: Option<DropIn>,
}

impl Desired {
    /// Joins sections and local facts. A gateway section without a gateway listener in the cluster section changes nothing.
    pub fn new(
        cluster: &ClusterSection,
        gateway: Option<&GatewaySection>,
        claims: Option<&ClaimsSection>,
        local: LocalFacts,
    ) -> Desired {
        let LocalFacts {
            files,
            rendered,
            leaf_not_after,
            lineage,
            formed,
            store_id,
            owner,
            agent_port,
            unit,
        } = local;
        Desired {
            config: joined_config(cluster, gateway),
            server: cluster.server.clone(),
            store: cluster.store.clone(),
            profile: cluster.profile,
            run: run(cluster, gateway),
            files,
            rendered,
            leaf_not_after,
            claims: claims.map(desired_claims).unwrap_or_default(),
            lineage,
            formed,
            store_id,
            owner,
            firewall: agent_port.map(|agent_port| Reach { cluster, gateway, agent_port }.rules()),
            unit,
        }
    }
}

/// The configuration with the gateway block that both sections make together.
pub fn joined_config(cluster: &ClusterSection, gateway: Option<&GatewaySection>) -> ServerConfig {
    let mut config = cluster.config.clone();
    if let (Some(listener), Some(section)) = (&cluster.gateway, gateway) {
        let mut listener = listener.clone();
        listener.reject_unknown = section.reject_unknown;
        listener.remotes = section.remotes.clone();
        listener.tls.pinned_certs = section
            .pins
            .iter()
            .filter_map(|pin| nats_config::Sha256Hex::try_from(pin.clone()).ok())
            .collect();
        config.gateway = Some(listener);
    }
    config
}

/// A cluster behind a gateway runs by the gateway's release, any other by its own.
pub fn run(cluster: &ClusterSection, gateway: Option<&GatewaySection>) -> Run {
    let release = match &cluster.gateway {
        Some(_) => gateway.and_then(|section| section.release.clone()),
        None => cluster.release.clone(),
    };
    release.map_or(Run::Held, Run::Released)
}

fn desired_claims(section: &ClaimsSection) -> BTreeMap<String, DesiredClaim> {
    section
        .accounts
        .iter()
        .map(|(key, entry)| {
            let claim = DesiredClaim {
                name: entry.name.clone(),
                sha256: crate::document::ContentHash::of(&entry.jwt).into(),
                issued_at: entry.issued_at,
                tombstone: entry.tombstone,
            };
            (key.clone(), claim)
        })
        .collect()
}
