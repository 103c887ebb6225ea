//! What was counted over all lanes, and what is promised of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::moment::Victim;
use super::operation::Operation;
use crate::soak::proof::Row;

/// Counts of all runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: BTreeMap<(Operation, Victim), u64>,
    /// Resources that were being worked on when something was killed, by type and terraform's word.
    pub(super) in_flight: BTreeMap<(String, &'static str), u64>,
    /// Runs in which nothing was being worked on at that moment.
    pub(super) between: u64,
    /// State files that terraform had emptied and not written yet.
    pub(super) torn: u64,
    pub(super) tainted: u64,
    pub(super) orphans: u64,
    pub(super) recreated: u64,
    pub(super) not_empty: u64,
    /// Made by the killed run, unknown to state, taken over by the next apply.
    pub(super) adopted: u64,
    pub(super) messages_written: u64,
    pub(super) messages_lost: u64,
    pub(super) lingering: u64,
    pub(super) slowest: Option<(Duration, Operation, Victim)>,
}

/// How much is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promised {
    /// Every kind of resource is hit.
    Whole,
    /// Nothing breaks.
    Sample,
}

impl Tally {
    pub(super) fn took(&mut self, elapsed: Duration, operation: Operation, victim: Victim) {
        if self.slowest.is_none_or(|(slowest, _, _)| elapsed > slowest) {
            self.slowest = Some((elapsed, operation, victim));
        }
    }

    pub(super) fn rows(&self, rounds: u64, promised: Promised) -> Vec<Row> {
        let total: u64 = self.runs.values().sum();
        let mut rows = vec![Row::at_least("runs", total, rounds)];
        let mut by_operation: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_victim: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_both: BTreeMap<Operation, u64> = BTreeMap::new();
        for ((operation, victim), count) in &self.runs {
            *by_operation.entry(operation.verb()).or_default() += count;
            *by_victim.entry(victim.text()).or_default() += count;
            *by_both.entry(*operation).or_default() += count;
        }
        rows.extend(by_operation.iter().map(|(verb, count)| Row::told(&format!("runs of {verb}"), count)));
        rows.extend(
            by_victim.iter().map(|(who, count)| Row::told(&format!("runs that killed {who}"), count)),
        );
        rows.extend(by_both.iter().map(|(operation, count)| Row::told(operation.text(), count)));
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for ((kind, verb), count) in &self.in_flight {
            *kinds.entry(kind).or_default() += count;
            rows.push(Row::told(&format!("killed during {verb} of a `{kind}`"), count));
        }
        if promised == Promised::Whole {
            for kind in ["nats_cluster", "nats_gateway", "nats_account", "nats_user", "nats_stream"] {
                let count = kinds.get(kind).copied().unwrap_or_default();
                rows.push(Row::at_least(&format!("kills that met a `{kind}` at work"), count, 1));
            }
            rows.push(Row::at_least("objects that the next apply adopted", self.adopted, 1));
        } else {
            rows.push(Row::told("objects that the next apply adopted", self.adopted));
        }
        let slowest = self.slowest.map_or_else(String::new, |(elapsed, operation, victim)| {
            format!("{:.1} s ({}, {} killed)", elapsed.as_secs_f64(), operation.text(), victim.text())
        });
        rows.extend([
            Row::told("killed between two resources", self.between),
            Row::told("states that terraform left empty, put back from its backup", self.torn),
            Row::exactly("tainted objects", self.tainted, 0),
            Row::exactly("orphans: there, and not declared", self.orphans, 0),
            Row::exactly("replaced, or made again though it was there", self.recreated, 0),
            Row::exactly("plans after the recovery that were not empty", self.not_empty, 0),
            Row::told("messages written", self.messages_written),
            Row::exactly("messages lost", self.messages_lost, 0),
            Row::exactly("providers that outlived their terraform by 20 s", self.lingering, 0),
            Row::told("slowest recovery", slowest),
        ]);
        rows
    }
}
