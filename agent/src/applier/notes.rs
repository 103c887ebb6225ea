//! What happened since the last apply and has to be told: edits undone, a rollback at start, a firewall table loaded again.

use std::collections::{BTreeMap, BTreeSet};

use host_state::Finding;

/// Notes, each told in every report until the next apply.
#[derive(Debug, Default)]
pub(super) struct Notes {
    all: BTreeSet<Finding>,
    /// Of what may happen any number of times, by kind: the newest, and how often it was.
    newest: BTreeMap<&'static str, (Finding, u64)>,
}

impl Notes {
    /// Adds one; the same twice is told once.
    pub(super) fn add(&mut self, finding: Finding) {
        self.all.insert(finding);
    }

    /// Adds one that takes the place of the last of its kind.
    pub(super) fn add_newest(&mut self, kind: &'static str, finding: Finding) {
        let times = self.newest.get(kind).map_or(0, |(_, times)| *times);
        self.newest.insert(kind, (finding, times.saturating_add(1)));
    }

    /// All of them.
    pub(super) fn findings(&self) -> BTreeSet<Finding> {
        let counted = |(finding, times): &(Finding, u64)| match times {
            0 | 1 => finding.clone(),
            _ => Finding {
                problem: format!("{} (the last of {times} times since the last apply)", finding.problem),
                ..finding.clone()
            },
        };
        self.all.iter().cloned().chain(self.newest.values().map(counted)).collect()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Notes::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_once_with_its_number() {
        let finding = |by: u32| Finding {
            item: "firewall".to_owned(),
            problem: format!("taken away by process {by}"),
            remedy: "none".to_owned(),
        };
        let mut notes = Notes::default();
        notes.add(finding(1));
        notes.add(finding(1));
        (2..500).for_each(|by| notes.add_newest("reloaded", finding(by)));
        notes.add_newest("expired", finding(500));
        let told: Vec<String> = notes.findings().into_iter().map(|finding| finding.problem).collect();
        assert_eq!(
            told,
            [
                "taken away by process 1",
                "taken away by process 499 (the last of 498 times since the last apply)",
                "taken away by process 500",
            ]
        );
        notes.clear();
        assert!(notes.findings().is_empty());
    }
}
