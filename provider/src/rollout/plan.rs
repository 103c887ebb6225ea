//! The order of a change over many hosts. Pure: same input, same waves.
//!
//! First what costs nothing, then reloads behind one canary, then members that are down start again, then stops, then
//! restarts one at a time with the meta leader last, then fresh servers start. Growth follows from it: the old servers
//! learn the new ones' pins (a reload) before the new ones start.
//!
//! One exception: where pins may change while a host is absent, or is let in again, all reload at once. Its server may run,
//! and until all know that it is out, or in, what clusters say to each other may go through it and be lost, which no canary
//! can wait for.

use std::collections::{BTreeMap, BTreeSet};

use host_state::plan::Impact;
use host_state::report::Report;
use host_state::{Drift, Plan};
use identity::HostName;

/// What the conductor knows of one host before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostChange {
    /// The cluster it belongs to.
    pub cluster: String,
    /// What its server goes through.
    pub impact: Impact,
    /// Whether it was never a member of the meta group: it starts last, when the others know it.
    pub is_fresh: bool,
    /// Whether it leads the meta group now.
    pub is_meta_leader: bool,
    /// How many Raft groups it leads; those with fewer go first. 0 when that is not known.
    pub leaderships: u64,
    /// Whether it may let in other servers than before, as [`may_change_pins`] tells.
    pub changes_pins: bool,
}

/// End of the names of the settings that say which servers are let in.
const PINS: &str = "tls.pinned_certs";

/// Whether `plan` names a setting that says which servers are let in.
#[must_use]
pub fn names_pins(plan: &Plan) -> bool {
    plan.settings.iter().any(|setting| setting.ends_with(PINS))
}

/// Whether `plan` changes who is let in, by what the host says of itself. A server that runs something else than its
/// rendition, as a run that was killed between writing and reloading leaves it, may take pins in with whatever reload
/// comes next: no plan names them any more.
#[must_use]
pub fn may_change_pins(plan: &Plan, report: &Report) -> bool {
    let runs_other = report.drift.iter().any(Drift::is_of_running_configuration);
    runs_other || names_pins(plan)
}

/// Hosts that are changed at once. The next wave begins when this one is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// What their servers go through.
    pub impact: Impact,
    /// Who; never empty.
    pub hosts: BTreeSet<HostName>,
    /// Whether the meta leader is among them and hands over first.
    pub steps_down: bool,
}

/// Waves in order; together they hold each host of `changes` exactly once.
///
/// `max_unavailable` bounds how many servers of one cluster restart at once; servers of two clusters never do. 0
/// counts as 1.
///
/// `is_one_away`: some declared host is absent, or its server is back and not let in by all yet.
pub fn waves(changes: &BTreeMap<HostName, HostChange>, max_unavailable: u32, is_one_away: bool) -> Vec<Wave> {
    let of = |impact: Impact| -> BTreeSet<HostName> {
        changes.iter().filter(|(_, change)| change.impact == impact).map(|(host, _)| host.clone()).collect()
    };
    let (fresh, down): (BTreeSet<_>, BTreeSet<_>) =
        of(Impact::Start).into_iter().partition(|host| changes[host].is_fresh);
    let mut waves = Vec::new();
    waves.extend(wave(Impact::None, of(Impact::None)));
    let mut reloads = of(Impact::Reload);
    let canary = reloads.iter().find(|host| !changes[*host].is_meta_leader).or(reloads.first()).cloned();
    if is_one_away && reloads.iter().any(|host| changes[host].changes_pins) {
        waves.extend(wave(Impact::Reload, reloads));
    } else if let Some(canary) = canary {
        reloads.remove(&canary);
        waves.extend(wave(Impact::Reload, BTreeSet::from([canary])));
        waves.extend(wave(Impact::Reload, reloads));
    }
    waves.extend(wave(Impact::Start, down));
    waves.extend(wave(Impact::Stop, of(Impact::Stop)));
    waves.extend(restarts(changes, max_unavailable));
    waves.extend(wave(Impact::Start, fresh));
    waves
}

fn wave(impact: Impact, hosts: BTreeSet<HostName>) -> Option<Wave> {
    (!hosts.is_empty()).then_some(Wave { impact, hosts, steps_down: false })
}

/// Clusters without the meta leader first; within a cluster those that lead the least first.
fn restarts(changes: &BTreeMap<HostName, HostChange>, max_unavailable: u32) -> Vec<Wave> {
    let mut clusters: BTreeMap<&str, Vec<(&HostName, &HostChange)>> = BTreeMap::new();
    for (host, change) in changes.iter().filter(|(_, change)| change.impact == Impact::Restart) {
        clusters.entry(&change.cluster).or_default().push((host, change));
    }
    let mut clusters: Vec<_> = clusters.into_values().collect();
    let leads = |hosts: &[(&HostName, &HostChange)]| hosts.iter().any(|(_, change)| change.is_meta_leader);
    clusters.sort_by_key(|hosts| leads(hosts));
    let size = usize::try_from(max_unavailable).unwrap_or(usize::MAX).max(1);
    let mut waves = Vec::new();
    for mut hosts in clusters {
        hosts.sort_by_key(|(host, change)| (change.is_meta_leader, change.leaderships, (*host).clone()));
        let (leader, others): (Vec<_>, Vec<_>) =
            hosts.into_iter().partition(|(_, change)| change.is_meta_leader);
        for group in others.chunks(size) {
            waves.extend(wave(Impact::Restart, group.iter().map(|(host, _)| (*host).clone()).collect()));
        }
        // The leader goes alone, after it handed over.
        waves.extend(leader.into_iter().map(|(host, _)| Wave {
            impact: Impact::Restart,
            hosts: BTreeSet::from([host.clone()]),
            steps_down: true,
        }));
    }
    waves
}

/// What is to be done with a system's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// Nobody ever ran: all start at once, with a lineage yet to be made.
    Form,
    /// Some were released with this lineage and have not all met: all are released with it again, at once.
    Resume {
        /// The lineage they have.
        lineage: String,
    },
    /// A meta group lives: hosts change in waves, fresh ones join it.
    Roll {
        /// The lineage of the group.
        lineage: String,
    },
}

/// What a host's store says of its past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its meta lineage; absent while never released.
    pub lineage: Option<String>,
    /// Whether it ever saw a meta leader in that lineage.
    pub formed: bool,
}

impl Past {
    /// What a host of `cluster` reported.
    #[must_use]
    pub fn of(report: &Report, cluster: &str) -> Past {
        let Report { meta_lineage, formed, .. } = report;
        Past { cluster: cluster.to_owned(), lineage: meta_lineage.clone(), formed: *formed }
    }
}

/// Why servers cannot run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CourseError {
    /// Two meta groups: joined, they would delete each other's streams.
    #[error(
        "{} are formed systems of their own; formed systems are never merged, because each deletes the other's streams",
        both.join(" and ")
    )]
    TwoFormed {
        /// One line for each group: which hosts of which clusters.
        both: Vec<String>,
    },
}

/// What to do with hosts of these pasts.
///
/// # Errors
/// When more than one formed lineage is among them.
pub fn course(pasts: &BTreeMap<HostName, Past>) -> Result<Course, CourseError> {
    let mut formed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut released: BTreeSet<&str> = BTreeSet::new();
    for (host, past) in pasts {
        let Some(lineage) = &past.lineage else { continue };
        released.insert(lineage);
        if past.formed {
            formed.entry(lineage).or_default().insert(format!("`{host}` of cluster `{}`", past.cluster));
        }
    }
    let mut groups = formed.iter();
    match (groups.next(), groups.next()) {
        (Some((lineage, _)), None) => Ok(Course::Roll { lineage: (*lineage).to_owned() }),
        (Some(_), Some(_)) => {
            let told = |hosts: &BTreeSet<String>| hosts.iter().cloned().collect::<Vec<_>>().join(", ");
            Err(CourseError::TwoFormed { both: formed.values().map(told).collect() })
        }
        (None, _) => Ok(match released.first() {
            Some(lineage) => Course::Resume { lineage: (*lineage).to_owned() },
            None => Course::Form,
        }),
    }
}

#[cfg(test)]
mod tests;
