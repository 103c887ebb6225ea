//! Which servers run while a system is rolled, and what a gate may expect of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use host_state::report::{Report, RunStatus};
use identity::HostName;

use crate::health::ExpectedTopology;

/// The servers of a system by what their agents say. Who is in neither map was never started, or is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Those that run, by name with their cluster.
    running: BTreeMap<String, String>,
    /// Members of the meta group that were released and are down.
    down: BTreeMap<String, String>,
}

impl Roster {
    /// What a host of `cluster` says of its server. One that says nothing is expected to run.
    pub fn note(&mut self, host: &HostName, cluster: &str, said: Option<&Report>) {
        let (name, cluster) = (host.to_string(), cluster.to_owned());
        self.running.remove(&name);
        self.down.remove(&name);
        match said.map(|report| (report.run, report.formed)) {
            None | Some((RunStatus::Running, _)) => _ = self.running.insert(name, cluster),
            Some((RunStatus::Stopped, true)) => _ = self.down.insert(name, cluster),
            // One that never was a member has nothing that the others could miss, and starts after them.
            Some((RunStatus::Empty | RunStatus::Held, _) | (RunStatus::Stopped, false)) => {}
        }
    }

    /// Those that run, by name with their cluster.
    #[must_use]
    pub fn running(&self) -> &BTreeMap<String, String> {
        &self.running
    }

    /// What is waited for before and after anything but a restart: those that run. Of `declared` hosts nobody else is
    /// missed, so that two clusters with a dead server each do not keep each other from bringing theirs back.
    #[must_use]
    pub fn expected<'a>(
        &self,
        declared: impl IntoIterator<Item = &'a HostName>,
        absent: &'a BTreeSet<HostName>,
    ) -> ExpectedTopology {
        let others = declared.into_iter().chain(absent).map(HostName::to_string);
        // Who comes back is absent in what the others were told before, and has a seat before it runs.
        let absent = others.filter(|host| !self.running.contains_key(host)).collect();
        ExpectedTopology { servers: self.running.clone(), absent, taking_down: BTreeSet::new() }
    }

    /// As [`Roster::expected`], around a restart of `taking_down`: a member that is down and not marked absent is missed
    /// like one that runs and does not answer.
    #[must_use]
    pub fn expected_to_spare<'a>(
        &self,
        taking_down: &BTreeSet<HostName>,
        declared: impl IntoIterator<Item = &'a HostName>,
        absent: &'a BTreeSet<HostName>,
    ) -> ExpectedTopology {
        let mut expected = self.expected(declared, absent);
        let marked: BTreeSet<&str> = absent.iter().map(HostName::as_str).collect();
        for (name, cluster) in self.down.iter().filter(|(name, _)| !marked.contains(name.as_str())) {
            expected.absent.remove(name);
            expected.servers.insert(name.clone(), cluster.clone());
        }
        expected.taking_down = taking_down.iter().map(HostName::to_string).collect();
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<HostName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn report(run: &str, formed: bool) -> Report {
        serde_json::from_value(serde_json::json!({
            "agent_version": "1", "claim": null, "sections": {}, "rendition": null, "run": run, "meta_lineage": null,
            "formed": formed, "server": null, "drift": [], "findings": [], "mesh": null, "certificates": {},
            "audit": null, "observed_at": 0,
        }))
        .unwrap()
    }

    fn told(expected: &ExpectedTopology) -> (Vec<&str>, Vec<&str>) {
        (
            expected.servers.keys().map(String::as_str).collect(),
            expected.absent.iter().map(String::as_str).collect(),
        )
    }

    #[test]
    fn a_restart_forgives_who_was_never_started_and_who_is_absent_but_no_dead_member() {
        let mut roster = Roster::default();
        let said = [
            ("a-1", Some(report("running", true))),
            ("a-2", Some(report("stopped", true))),
            ("a-3", Some(report("stopped", false))),
            ("a-4", Some(report("held", true))),
            ("b-1", None),
            ("b-2", Some(report("stopped", true))),
            ("b-3", Some(report("empty", false))),
        ];
        for (host, said) in &said {
            roster.note(&host.parse().unwrap(), &host[..1], said.as_ref());
        }
        let declared = names(&["a-1", "a-2", "a-3", "a-4", "b-1", "b-3"]);
        // `b-2` was declared absent, `c-1` long ago.
        let absent = names(&["b-2", "c-1"]);
        let starting = roster.expected(&declared, &absent);
        assert_eq!(told(&starting), (vec!["a-1", "b-1"], vec!["a-2", "a-3", "a-4", "b-2", "b-3", "c-1"]));
        assert!(starting.taking_down.is_empty());
        let restarting = roster.expected_to_spare(&names(&["a-1"]), &declared, &absent);
        assert_eq!(told(&restarting), (vec!["a-1", "a-2", "b-1"], vec!["a-3", "a-4", "b-2", "b-3", "c-1"]));
        assert_eq!(restarting.taking_down, BTreeSet::from(["a-1".to_owned()]));
        // Once it runs again it is as good as the others, and once it is held nobody misses it.
        roster.note(&"a-2".parse().unwrap(), "a", Some(&report("running", true)));
        assert_eq!(roster.running().keys().map(String::as_str).collect::<Vec<_>>(), ["a-1", "a-2", "b-1"]);
        roster.note(&"a-2".parse().unwrap(), "a", Some(&report("held", true)));
        let again = roster.expected_to_spare(&names(&[]), &declared, &absent);
        assert_eq!(told(&again), (vec!["a-1", "b-1"], vec!["a-2", "a-3", "a-4", "b-2", "b-3", "c-1"]));
    }
}
