//! Deep health of a supercluster. `/healthz` says ok in at least five broken states, so we look for ourselves.
//!
//! [`ask`] collects what every server and the meta leader say; [`judge`] (pure) compares that with the topology.
//! The same judgement gates a rollout and fills the `nats_supercluster` data source.

mod ask;
mod judge;
mod seen;

use std::collections::BTreeMap;

use tfplug::Diagnostic;

pub use judge::judge;
pub use seen::{JetStreamUse, MetaGroup, Replica, Seen, ServerSeen, StreamGroup, StreamSeen};

use crate::agents::System;

/// What ought to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTopology {
    /// Cluster of every declared server, by server name; absent nodes left out.
    pub servers: BTreeMap<String, String>,
}

impl ExpectedTopology {
    /// As the agents' ledgers declare it.
    #[must_use]
    pub fn of(system: &System) -> ExpectedTopology {
        let servers = system.hosts.iter().map(|(host, entry)| (host.to_string(), entry.cluster.clone()));
        ExpectedTopology { servers: servers.collect() }
    }

    /// The clusters, each once.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let names: std::collections::BTreeSet<&str> = self.servers.values().map(String::as_str).collect();
        names.into_iter()
    }
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Every declared server and every other one that answered, by name.
    pub servers: BTreeMap<String, ServerHealth>,
    /// Who leads the meta group; absent when nobody does or nobody could say.
    pub meta_leader: Option<String>,
    /// Members of the meta group as its leader counts them; absent without a leader.
    pub meta_peers: Option<u64>,
    /// What is wrong with the whole, each a sentence without full stop.
    pub problems: Vec<String>,
}

impl Health {
    /// Whether nothing is wrong anywhere.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty() && self.servers.values().all(|server| server.problems.is_empty())
    }

    /// Everything that is wrong, the whole first, then each server's by its name.
    #[must_use]
    pub fn all_problems(&self) -> Vec<String> {
        let of_servers = self.servers.iter().flat_map(|(name, server)| {
            server.problems.iter().map(move |problem| format!("`{name}`: {problem}"))
        });
        self.problems.iter().cloned().chain(of_servers).collect()
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its cluster; as declared where it is declared.
    pub cluster: String,
    /// What it said; absent when it did not answer.
    pub seen: Option<ServerSeen>,
    /// What is wrong with it, each a sentence without full stop.
    pub problems: Vec<String>,
}

/// Asks every server and judges.
///
/// # Errors
/// When no host lets us in at all; a server that stays silent is a problem in the answer, not an error.
pub async fn check(system: &System, expected: &ExpectedTopology) -> Result<Health, Diagnostic> {
    let seen = ask::ask(system, expected).await?;
    Ok(judge(expected, &seen))
}
