//! Whether a table that others changed lets everybody in to a port: what cannot wait until somebody decides on repairs.
//!
//! Said of the tables themselves, not of what is told of them: what is told is shortened. Whoever lets in one address by
//! hand makes a difference, no hole; whom several rules let past together counts as one. A rule that is not understood
//! counts as one that lets everybody past, and so does one about an interface: everybody may come by it.

use ipnet::IpNet;
use serde_json::Value;

use super::Networks;
use super::nft_json::addresses;
use super::table::{Chain, Rule, Set, Table};

/// Parts of a rule that lets nobody past what stands behind it.
const LETTING_NOBODY_PAST: &[&str] = &["match", "counter", "log", "limit", "drop", "reject", "continue"];

/// Whether `found` (`None`: no table is loaded at all) lets everybody, by IPv4 or by IPv6, past a rule of `desired`, or has
/// a base chain that is hooked in otherwise.
#[must_use]
pub fn opens(desired: &Table, found: Option<&Table>) -> bool {
    let Some(found) = found else { return true };
    let Table { flags, chains, sets, others: _ } = desired;
    let is_chain_open = |(name, chain): (&String, &Chain)| {
        found.chains.get(name).is_none_or(|found| chain.hook != found.hook || lets_past(chain, found))
    };
    let is_set_open =
        |(name, set): (&String, &Set)| found.sets.get(name).is_none_or(|found| holds_everybody(set, found));
    *flags != found.flags || chains.iter().any(is_chain_open) || sets.iter().any(is_set_open)
}

/// Whether a rule of `desired` is not there, or behind others that let everybody past it.
fn lets_past(desired: &Chain, found: &Chain) -> bool {
    let is_ours = |rule: &Rule| desired.rules.iter().any(|one| one.expressions == rule.expressions);
    let mut missing: Vec<&Rule> = desired.rules.iter().collect();
    let mut past = Vec::new();
    for rule in &found.rules {
        match missing.iter().position(|one| one.expressions == rule.expressions) {
            Some(at) => {
                missing.swap_remove(at);
            }
            None if missing.is_empty() || is_ours(rule) || lets_nobody_past(rule) => {}
            None => match sources(rule) {
                Some(some) => past.extend(some),
                None => return true,
            },
        }
    }
    let past = Networks::of(past);
    !missing.is_empty() || past.is_all_v4() || past.is_all_v6()
}

fn lets_nobody_past(rule: &Rule) -> bool {
    let is_known = |part: &Value| {
        let kinds = part.as_object().map(|object| object.keys());
        kinds.is_some_and(|mut kinds| kinds.all(|kind| LETTING_NOBODY_PAST.contains(&kind.as_str())))
    };
    rule.expressions.iter().all(is_known)
}

/// The addresses that a rule is about; `None` where it is about packets from anywhere, or from a set whose content changes.
fn sources(rule: &Rule) -> Option<Vec<IpNet>> {
    let source = |expression: &Value| {
        let parts = expression.get("match")?;
        let is_equal = matches!(parts.get("op")?.as_str(), Some("==" | "in"));
        let field = parts.get("left")?.get("payload")?.get("field")?.as_str()?;
        let right = parts.get("right")?;
        if !is_equal || field != "saddr" {
            return None;
        }
        match right.get("set").and_then(Value::as_array) {
            Some(set) => Some(set.iter().map(addresses).collect::<Option<Vec<_>>>()?.concat()),
            None => addresses(right),
        }
    };
    rule.expressions.iter().find_map(source)
}

/// Whether a set took in everybody, or something that is not understood.
fn holds_everybody(desired: &Set, found: &Set) -> bool {
    (found.networks.is_all_v4() && !desired.networks.is_all_v4())
        || (found.networks.is_all_v6() && !desired.networks.is_all_v6())
        || !found.others.is_subset(&desired.others)
}
