//! Two tables compared item by item, each difference in the words of `nft`.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Networks;
use super::table::{Chain, Hook, Rule, Set, TABLE, TABLE_FAMILY, Table};

/// Most differences that are told one by one; who turned a whole table over need not read each line of it.
pub const MAX_DIFFERENCES: usize = 40;
/// Longest text of one thing, in characters.
const MAX_SHOWN: usize = 200;

/// One place where the loaded table is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDifference {
    /// Where, like `chain input` or `set rules_0123456789abcdef_client4`.
    pub place: String,
    /// What should be there; absent when nothing should.
    pub desired: Option<String>,
    /// What is there; absent when nothing is.
    pub found: Option<String>,
}

/// Every difference between the table as it should be and as it was listed (`None`: it is not loaded at all), at most
/// [`MAX_DIFFERENCES`]. How long an element still lives is not compared.
#[must_use]
pub fn compare(desired: &Table, found: Option<&Table>) -> Vec<TableDifference> {
    let mut all = Vec::new();
    let Some(found) = found else {
        tell(&mut all, &format!("table {TABLE_FAMILY} {TABLE}"), Some("loaded".to_owned()), None);
        return all;
    };
    let Table { flags, chains, sets, others } = desired;
    if *flags != found.flags {
        tell(&mut all, "table flags", flags.clone(), found.flags.clone());
    }
    for name in names(chains.keys(), found.chains.keys()) {
        chain(&mut all, &name, chains.get(&name), found.chains.get(&name));
    }
    for name in names(sets.keys(), found.sets.keys()) {
        set(&mut all, &name, sets.get(&name), found.sets.get(&name));
    }
    for name in names(others.iter(), found.others.iter()) {
        let (is_desired, is_found) = (others.contains(&name), found.others.contains(&name));
        if is_desired != is_found {
            tell(&mut all, "table", is_desired.then(|| name.clone()), is_found.then(|| name.clone()));
        }
    }
    if all.len() > MAX_DIFFERENCES {
        let more = all.len() - (MAX_DIFFERENCES - 1);
        all.truncate(MAX_DIFFERENCES - 1);
        tell(&mut all, "table", None, Some(format!("{more} more differences")));
    }
    all
}

fn names<'a>(
    one: impl Iterator<Item = &'a String>,
    other: impl Iterator<Item = &'a String>,
) -> BTreeSet<String> {
    one.chain(other).cloned().collect()
}

fn tell(all: &mut Vec<TableDifference>, place: &str, desired: Option<String>, found: Option<String>) {
    let bounded = |text: String| text.chars().take(MAX_SHOWN).collect::<String>();
    let place = bounded(place.to_owned());
    all.push(TableDifference { place, desired: desired.map(bounded), found: found.map(bounded) });
}

fn chain(all: &mut Vec<TableDifference>, name: &str, desired: Option<&Chain>, found: Option<&Chain>) {
    let place = format!("chain {name}");
    let (desired, found) = match (desired, found) {
        (Some(desired), Some(found)) => (desired, found),
        (desired, found) => {
            let rules = |chain: &Chain| format!("a chain of {} rules", chain.rules.len());
            return tell(all, &place, desired.map(rules), found.map(rules));
        }
    };
    if desired.hook != found.hook {
        let hook = |chain: &Chain| chain.hook.as_ref().map(Hook::to_string);
        tell(all, &place, hook(desired), hook(found));
    }
    if desired.rules == found.rules {
        return;
    }
    let (missing, extra) = apart(&desired.rules, &found.rules);
    if missing.is_empty() && extra.is_empty() {
        let order = |word: &str| Some(format!("its {} rules in {word} order", desired.rules.len()));
        tell(all, &place, order("this"), order("another"));
    }
    pairs(all, &place, missing.into_iter().map(Rule::to_string), extra.into_iter().map(Rule::to_string));
}

/// What only the one has and what only the other has, each as often as it has it more.
fn apart<'a>(desired: &'a [Rule], found: &'a [Rule]) -> (Vec<&'a Rule>, Vec<&'a Rule>) {
    let mut extra: Vec<&Rule> = found.iter().collect();
    let mut missing = Vec::new();
    for rule in desired {
        match extra.iter().position(|other| *other == rule) {
            Some(at) => {
                extra.swap_remove(at);
            }
            None => missing.push(rule),
        }
    }
    (missing, extra)
}

/// One missing and one more are an edit; otherwise each stands for itself.
fn pairs(
    all: &mut Vec<TableDifference>,
    place: &str,
    missing: impl ExactSizeIterator<Item = String>,
    extra: impl ExactSizeIterator<Item = String>,
) {
    if missing.len() == 1 && extra.len() == 1 {
        for (desired, found) in missing.zip(extra) {
            tell(all, place, Some(desired), Some(found));
        }
        return;
    }
    for desired in missing {
        tell(all, place, Some(desired), None);
    }
    for found in extra {
        tell(all, place, None, Some(found));
    }
}

fn set(all: &mut Vec<TableDifference>, name: &str, desired: Option<&Set>, found: Option<&Set>) {
    let place = format!("set {name}");
    let (desired, found) = match (desired, found) {
        (Some(desired), Some(found)) => (desired, found),
        (desired, found) => {
            let text = |set: &Set| format!("a set of {}", set.kind);
            return tell(all, &place, desired.map(text), found.map(text));
        }
    };
    let form = |set: &Set| {
        let flags: Vec<&str> = set.flags.iter().map(String::as_str).collect();
        format!("{} {}", set.kind, flags.join(","))
    };
    if form(desired) != form(found) {
        tell(all, &place, Some(form(desired)), Some(form(found)));
    }
    let text = |one: &Networks, other: &Networks| -> Vec<String> {
        let others: BTreeSet<IpNet> = other.iter().collect();
        one.iter().filter(|network| !others.contains(network)).map(|network| network.to_string()).collect()
    };
    let (mut missing, mut extra) =
        (text(&desired.networks, &found.networks), text(&found.networks, &desired.networks));
    missing.extend(desired.others.difference(&found.others).cloned());
    extra.extend(found.others.difference(&desired.others).cloned());
    pairs(all, &place, missing.into_iter(), extra.into_iter());
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Hook { kind, hook, priority, policy } = self;
        write!(f, "type {kind} hook {hook} priority {priority} policy {policy}")
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rule { expressions, comment } = self;
        let words: Vec<String> = expressions.iter().map(expression).collect();
        f.write_str(&words.join(" "))?;
        match comment {
            Some(comment) => write!(f, " comment {comment:?}"),
            None => Ok(()),
        }
    }
}

/// An expression in the words of `nft` where it is one that people write, else its JSON.
fn expression(value: &Value) -> String {
    let words = || {
        let (kind, body) = value.as_object()?.iter().next()?;
        Some(match kind.as_str() {
            "accept" | "drop" | "return" | "continue" | "counter" | "log" | "reject" => kind.clone(),
            "goto" | "jump" => format!("{kind} {}", body.get("target")?.as_str()?),
            "match" => {
                let op = match body.get("op").and_then(Value::as_str).unwrap_or("==") {
                    "==" | "in" => String::new(),
                    other => format!("{other} "),
                };
                format!("{} {op}{}", operand(body.get("left")?)?, shown(body.get("right")?))
            }
            _ => return None,
        })
    };
    words().unwrap_or_else(|| shown(value))
}

fn operand(value: &Value) -> Option<String> {
    if let Some(meta) = value.get("meta") {
        return Some(format!("meta {}", meta.get("key")?.as_str()?));
    }
    let payload = value.get("payload")?;
    Some(format!("{} {}", payload.get("protocol")?.as_str()?, payload.get("field")?.as_str()?))
}

/// A value as text, shortened; words without quotes.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(MAX_SHOWN).collect()
}
