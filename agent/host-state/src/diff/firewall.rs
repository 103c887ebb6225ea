//! The firewall: rules against what was confirmed, the loaded table against both, and tables of others.

use std::collections::BTreeSet;

use super::{Difference, PortChange};
use crate::firewall::{FirewallRules, ManagedPort};
use crate::observed::{FirewallObserved, FirewallSeen};

pub(super) fn firewall(desired: Option<&FirewallRules>, observed: &FirewallObserved) -> Vec<Difference> {
    let (desired, seen) = match (desired, observed) {
        (None, _) | (Some(_), FirewallObserved::Off) => return Vec::new(),
        (Some(_), FirewallObserved::Unreadable { reason }) => {
            return vec![Difference::FirewallUnreadable { reason: reason.clone() }];
        }
        (Some(desired), FirewallObserved::Seen(seen)) => (desired, seen),
    };
    let FirewallSeen { confirmed, trial, table, foreign } = seen.as_ref();
    let mut differences = Vec::new();
    if !table.is_empty() {
        differences.push(Difference::FirewallTable { items: table.clone() });
    }
    let is_on_trial = trial.as_ref().is_some_and(|trial| trial.rules == *desired);
    if !is_on_trial && confirmed.as_ref() != Some(desired) {
        differences.push(Difference::FirewallOutdated { ports: changes(desired, confirmed.as_ref()) });
    }
    differences.extend(foreign.iter().cloned().map(Difference::FirewallForeign));
    differences
}

fn changes(desired: &FirewallRules, found: Option<&FirewallRules>) -> Vec<PortChange> {
    let rule = |rules: Option<&FirewallRules>, port: &ManagedPort| {
        rules.and_then(|rules| rules.0.get(port)).map(ToString::to_string)
    };
    let ports: BTreeSet<&ManagedPort> =
        desired.0.keys().chain(found.into_iter().flat_map(|rules| rules.0.keys())).collect();
    let change = |port: &ManagedPort| PortChange {
        port: port.to_string(),
        desired: rule(Some(desired), port),
        found: rule(found, port),
    };
    let is_same = |port: &ManagedPort| found.is_some_and(|found| found.0.get(port) == desired.0.get(port));
    ports.into_iter().filter(|port| !is_same(port)).map(change).collect()
}
