//! Deep health of a supercluster. `/healthz` says ok in at least five broken states, so we look for ourselves.
//!
//! [`ask`] collects what every server, the meta leader and every agent say; [`judge`] (pure) compares that with the
//! topology. The same judgement gates a rollout and fills the `nats_supercluster` data source. What agents tell of their
//! hosts ([`ServerHealth::told`]) does not keep a gate shut: a rollout may be just what removes it.

mod ask;
mod judge;
mod seen;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tfplug::Diagnostic;
use tokio::time::Instant;

pub use judge::judge;
#[cfg(feature = "fuzz")]
pub(crate) use seen::fuzz;
pub use seen::{JetStreamUse, MetaGroup, Replica, Seen, ServerSeen, StreamGroup, StreamSeen};
pub use told::AgentSeen;

use crate::agents::System;

/// What ought to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTopology {
    /// Cluster of every declared server, by server name; absent nodes left out.
    pub servers: BTreeMap<String, String>,
    /// Servers that need not be there: of nodes that are marked absent, or that do not run yet. They keep their seats in
    /// the meta group and in streams until they come back, and that their seats are empty is not held against the others.
    pub absent: BTreeSet<String>,
    /// Servers that are about to be taken down: an empty seat in a group of theirs that would then cost its quorum is a
    /// problem after all.
    pub taking_down: BTreeSet<String>,
}

impl ExpectedTopology {
    /// As the agents' ledgers declare it.
    #[must_use]
    pub fn of(system: &System) -> ExpectedTopology {
        let servers = system.hosts.iter().map(|(host, entry)| (host.to_string(), entry.cluster.clone()));
        let absent = system.absent.iter().map(ToString::to_string).collect();
        ExpectedTopology { servers: servers.collect(), absent, taking_down: BTreeSet::new() }
    }

    /// The clusters, each once.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.servers.values().map(String::as_str).collect();
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
        self.all_problems().is_empty()
    }

    /// Everything that is wrong, the whole first, then each server's by its name.
    #[must_use]
    pub fn all_problems(&self) -> Vec<String> {
        self.told(ServerHealth::all_problems)
    }

    /// What is wrong with the running servers together, in the same order. Empty means that a change of one of them
    /// is safe, whatever its agent tells of the host.
    #[must_use]
    pub fn running_problems(&self) -> Vec<String> {
        self.told(|server| server.problems.iter())
    }

    fn told<'a, I: Iterator<Item = &'a String>>(&'a self, of: impl Fn(&'a ServerHealth) -> I) -> Vec<String> {
        let of_servers = self
            .servers
            .iter()
            .flat_map(|(name, server)| of(server).map(move |problem| format!("`{name}`: {problem}")));
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
    /// What is wrong with it among the others, each a sentence without full stop.
    pub problems: Vec<String>,
    /// What is wrong with its host as the agent tells, or with the agent, in the same form.
    pub told: Vec<String>,
}

impl ServerHealth {
    /// Everything that is wrong with it.
    pub fn all_problems(&self) -> impl Iterator<Item = &String> {
        self.problems.iter().chain(&self.told)
    }
}

/// Asks every server and every agent, all at once and for three seconds at the longest, and judges.
///
/// # Errors
/// When no host lets us in at all; a server or agent that stays silent is a problem in the answer, not an error.
pub async fn check(system: &System, expected: &ExpectedTopology) -> Result<Health, Diagnostic> {
    let (seen, agents) = tokio::join!(ask::ask(system, expected), ask::ask_agents(system, expected));
    Ok(judge(expected, &Seen { agents, ..seen? }))
}

/// How long [`check_patiently`] looks, and its pause between two looks.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);

/// As [`check`], but something wrong is looked at again until it is gone, for three seconds: an account that is being
/// written reaches the servers a moment before their agents, and a server that just started has not probed the others.
///
/// # Errors
/// As [`check`].
pub async fn check_patiently(system: &System, expected: &ExpectedTopology) -> Result<Health, Diagnostic> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = check(system, expected).await?;
        if health.is_healthy() || Instant::now() >= deadline {
            return Ok(health);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who leads the meta group; absent when nobody does or nobody can be asked.
pub async fn meta_leader(system: &System, expected: &ExpectedTopology) -> Option<String> {
    let seen = ask::ask(system, expected).await.ok()?;
    judge(expected, &seen).meta_leader
}
