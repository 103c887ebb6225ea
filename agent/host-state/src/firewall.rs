//! The firewall: which managed port may be reached from where, as rules, as a packet sees them, as the kernel lists them.
//!
//! We deny, and only on managed ports; a packet to any other port is never mentioned, so that no rule set of ours can
//! cut somebody off from anything else. The rules are stateless: who loses the right to a port loses the connections too.
//!
//! ```text
//! derive   sections -> FirewallRules       networks  sets of addresses in one form
//! verdict  what becomes of a packet: the oracle that the kernel is held against
//! table    FirewallRules and trial -> the nftables table        compare  two tables, item by item
//! opens    whether a table that others changed lets everybody in
//! replacement  how one table comes into another's place
//! nft_json the table as `nft -j` reads and lists it             foreign  other tables that drop our ports
//! ```
//!
//! An accepting rule of ours does not beat a dropping one of another table (facts of nftables: every base chain of a hook
//! has to accept), so [`foreign`] looks for those.

mod compare;
mod confirmation;
mod derive;
pub mod foreign;
mod networks;
mod nft_json;
mod opens;
mod replacement;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use compare::{MAX_DIFFERENCES, TableDifference, compare};
pub use confirmation::{TRIAL_DOMAIN, TrialAction};
pub use derive::Reach;
pub use networks::Networks;
pub use nft_json::{ListingError, MAX_LISTING_BYTES, parse, replace_commands};
pub use opens::opens;
pub use replacement::{Replacement, at_once, is_left_behind, replacement};
pub use table::{Chain, Hook, OnTrial, Rule, Set, TABLE, TABLE_FAMILY, Table};
pub use verdict::{Packet, Verdict};

use crate::document::{ContentHash, canonical};

/// A port that belongs to us on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedPort {
    /// nats-server's clients.
    Client,
    /// Routes between the servers of a cluster.
    Cluster,
    /// Gateways between clusters.
    Gateway,
    /// nats-server's own monitoring: nobody but the host itself.
    Monitor,
    /// The agent's `/metrics`.
    Metrics,
    /// The agent itself.
    Agent,
}

impl ManagedPort {
    /// Every one.
    pub const ALL: &[ManagedPort] = &[
        ManagedPort::Client,
        ManagedPort::Cluster,
        ManagedPort::Gateway,
        ManagedPort::Monitor,
        ManagedPort::Metrics,
        ManagedPort::Agent,
    ];

    /// The word in messages and in names of sets.
    pub fn as_str(self) -> &'static str {
        match self {
            ManagedPort::Client => "client",
            ManagedPort::Cluster => "cluster",
            ManagedPort::Gateway => "gateway",
            ManagedPort::Monitor => "monitor",
            ManagedPort::Metrics => "metrics",
            ManagedPort::Agent => "agent",
        }
    }
}

impl std::fmt::Display for ManagedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may reach one port over TCP; the host itself always may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRule {
    /// The port, 1 to 65535.
    pub port: u16,
    /// From where; no network: only from the host itself.
    pub from: Networks,
}

impl std::fmt::Display for PortRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PortRule { port, from } = self;
        write!(f, "port {port} from {from}")
    }
}

/// Who may reach which managed port. A port that is absent is open to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FirewallRules(pub BTreeMap<ManagedPort, PortRule>);

impl FirewallRules {
    /// SHA-256 of the rules, so that two hosts, or a table and a file, can be told to be equal at a glance.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&canonical(self))
    }
}
