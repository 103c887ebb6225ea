//! The nftables table of a rule set, as a value: chains, rules, sets. The same value is read back from the kernel.
//!
//! ```text
//! input      base chain, before every other table's: loopback returns, TCP on trial goes to `candidate`, the rest to
//!            `confirmed`
//! confirmed  what holds once no trial does
//! candidate  what is on trial; there only while one is
//! trial      set with an element that the kernel itself removes when the trial's time is over
//! ```
//!
//! So nothing has to run for a trial to end: without the element the kernel takes the other chain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{FirewallRules, Networks, PortRule};

/// Family of our table: IPv4 and IPv6 in one.
pub const TABLE_FAMILY: &str = "inet";
/// Name of our table.
pub const TABLE: &str = "nats_agent";
/// Where our base chain stands: before `filter`, so that what others accept is denied all the same.
const PRIORITY: i64 = -10;
const INPUT: &str = "input";
const CONFIRMED: &str = "confirmed";
const CANDIDATE: &str = "candidate";
const GATE: &str = "trial";

/// A table of nftables, without what the kernel counts and numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Flags of the table, like `dormant`; ours has none.
    pub flags: Option<String>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// Sets by name.
    pub sets: BTreeMap<String, Set>,
    /// Whatever else lies in it, as text; ours holds nothing else.
    pub others: BTreeSet<String>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chain {
    /// Where a base chain is hooked in; absent for one that is only gone to.
    pub hook: Option<Hook>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// Where a base chain is hooked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Like `filter`.
    pub kind: String,
    /// Like `input`.
    pub hook: String,
    /// Lower ones come first.
    pub priority: i64,
    /// What becomes of packets that no rule decides.
    pub policy: String,
}

/// A rule: expressions as `nft -j` lists them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Expressions, in order.
    pub expressions: Vec<Value>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A named set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// Type of its elements, like `ipv4_addr`.
    pub kind: String,
    /// Like `interval`, `timeout`.
    pub flags: BTreeSet<String>,
    /// Elements that are addresses.
    pub networks: Networks,
    /// Elements that are anything else, as text.
    pub others: BTreeSet<String>,
    /// How long elements added with the set live; absent: for ever. Not read back: the kernel counts it down.
    pub lifetime: Option<Duration>,
}

impl Table {
    /// The table in which `confirmed` holds (nothing is denied where it is absent) and, for `trial`'s time, its rules.
    #[must_use]
    pub fn of(confirmed: Option<&FirewallRules>, trial: Option<(&FirewallRules, Duration)>) -> Table {
        let mut table = Table::default();
        let mut input = vec![Rule {
            expressions: vec![matching("==", meta("iif"), json!("lo")), json!({ "return": null })],
            comment: None,
        }];
        table.add_rules(CONFIRMED, confirmed);
        if let Some((rules, lifetime)) = trial {
            table.add_rules(CANDIDATE, Some(rules));
            let gate = Set {
                kind: "inet_proto".to_owned(),
                flags: BTreeSet::from(["timeout".to_owned()]),
                others: BTreeSet::from(["tcp".to_owned()]),
                lifetime: Some(lifetime),
                networks: Networks::nobody(),
            };
            table.sets.insert(GATE.to_owned(), gate);
            input.push(Rule {
                expressions: vec![
                    matching("==", meta("l4proto"), json!(format!("@{GATE}"))),
                    json!({ "goto": { "target": CANDIDATE } }),
                ],
                comment: Some(mark(Some(rules))),
            });
        }
        input.push(Rule {
            expressions: vec![json!({ "goto": { "target": CONFIRMED } })],
            comment: Some(mark(confirmed)),
        });
        let hook = Hook {
            kind: "filter".to_owned(),
            hook: "input".to_owned(),
            priority: PRIORITY,
            policy: "accept".to_owned(),
        };
        table.chains.insert(INPUT.to_owned(), Chain { hook: Some(hook), rules: input });
        table
    }

    fn add_rules(&mut self, chain: &str, rules: Option<&FirewallRules>) {
        let mut drops = Vec::new();
        for (name, rule) in rules.iter().flat_map(|rules| &rules.0) {
            let PortRule { port, from } = rule;
            let comment = Some(name.to_string());
            let v4 = (!from.is_all_v4()).then(|| Networks::of(from.v4().iter().copied().map(Into::into)));
            let v6 = (!from.is_all_v6()).then(|| Networks::of(from.v6().iter().copied().map(Into::into)));
            let families = [("ip", "ipv4", "ipv4_addr", '4', v4), ("ip6", "ipv6", "ipv6_addr", '6', v6)];
            for (protocol, family, kind, digit, networks) in families {
                let Some(networks) = networks else { continue };
                let is_not_allowed = if networks.is_empty() {
                    matching("==", meta("nfproto"), json!(family))
                } else {
                    let set = format!("{chain}_{name}{digit}");
                    let expression = matching("!=", payload(protocol, "saddr"), json!(format!("@{set}")));
                    let flags = BTreeSet::from(["interval".to_owned()]);
                    let kind = kind.to_owned();
                    self.sets.insert(set, Set { kind, flags, networks, ..Set::default() });
                    expression
                };
                let expressions = vec![
                    is_not_allowed,
                    matching("==", payload("tcp", "dport"), json!(port)),
                    json!({ "drop": null }),
                ];
                drops.push(Rule { expressions, comment: comment.clone() });
            }
        }
        self.chains.insert(chain.to_owned(), Chain { hook: None, rules: drops });
    }
}

/// What tells people which rules a chain holds.
/// The table itself cannot carry it: nft 1.0.6 neither reads nor lists a table's comment in JSON (tried).
fn mark(rules: Option<&FirewallRules>) -> String {
    rules.map_or("nothing is denied yet".to_owned(), |rules| format!("sha256={}", rules.hash()))
}

fn matching(op: &str, left: Value, right: Value) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right } })
}

fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}
