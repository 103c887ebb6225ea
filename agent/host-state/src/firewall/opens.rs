//! Whether a table that others changed lets everybody in to a port: what cannot wait until somebody decides on repairs.
//!
//! Said of the tables themselves, not of what is told of them: what is told is shortened. Whoever lets in one address by
//! hand makes a difference, no hole. A rule that is not understood counts as one that lets everybody past.

use std::net::IpAddr;

use serde_json::Value;

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

/// Whether a rule of `desired` is not there, or behind one that lets everybody past it.
fn lets_past(desired: &Chain, found: &Chain) -> bool {
    let is_ours = |rule: &Rule| desired.rules.iter().any(|one| one.expressions == rule.expressions);
    let mut missing: Vec<&Rule> = desired.rules.iter().collect();
    for rule in &found.rules {
        match missing.iter().position(|one| one.expressions == rule.expressions) {
            Some(at) => {
                missing.swap_remove(at);
            }
            None if missing.is_empty() || is_ours(rule) => {}
            None if lets_nobody_past(rule) || is_for_few(rule) => {}
            None => return true,
        }
    }
    !missing.is_empty()
}

fn lets_nobody_past(rule: &Rule) -> bool {
    let is_known = |part: &Value| {
        let kinds = part.as_object().map(|object| object.keys());
        kinds.is_some_and(|mut kinds| kinds.all(|kind| LETTING_NOBODY_PAST.contains(&kind.as_str())))
    };
    rule.expressions.iter().all(is_known)
}

/// Whether a rule is about packets from some addresses or by one interface alone.
fn is_for_few(rule: &Rule) -> bool {
    let narrows = |expression: &Value| {
        let parts = expression.get("match")?;
        let (left, right) = (parts.get("left")?, parts.get("right")?);
        let is_equal = matches!(parts.get("op").and_then(Value::as_str), Some("==" | "in"));
        let is_interface = matches!(named(left, "meta", "key"), Some("iif" | "iifname")) && right.is_string();
        let is_source = named(left, "payload", "field") == Some("saddr") && is_few(right);
        Some(is_equal && (is_interface || is_source))
    };
    rule.expressions.iter().any(|expression| narrows(expression) == Some(true))
}

/// Which meta key or header field a left side is.
fn named<'a>(left: &'a Value, kind: &str, key: &str) -> Option<&'a str> {
    left.get(kind)?.get(key)?.as_str()
}

/// Whether a right side is addresses that can be counted on to be some only; what a named set holds changes.
fn is_few(right: &Value) -> bool {
    if let Some(text) = right.as_str() {
        return text.parse::<IpAddr>().is_ok();
    }
    if let Some(set) = right.get("set").and_then(Value::as_array) {
        return set.iter().all(is_few);
    }
    let length = right.get("prefix").and_then(|prefix| prefix.get("len")).and_then(Value::as_u64);
    length.is_some_and(|length| length > 0)
}

/// Whether a set took in everybody, or something that is not understood.
fn holds_everybody(desired: &Set, found: &Set) -> bool {
    (found.networks.is_all_v4() && !desired.networks.is_all_v4())
        || (found.networks.is_all_v6() && !desired.networks.is_all_v6())
        || !found.others.is_subset(&desired.others)
}
