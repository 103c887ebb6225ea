//! The nftables table of a rule set, as a value: chains, rules, sets. The same value is read back from the kernel.
//!
//! ```text
//! input         base chain, before every other table's: loopback returns, TCP on trial goes to the rules on trial, the
//!               rest to the confirmed ones
//! rules_HASH    a chain of rules, by their hash; its sets are `rules_HASH_client4` and so on
//! trial_ID      set with an element that the kernel itself removes when the trial's time is over; there only while one
//!               is
//! ```
//!
//! So nothing has to run for a trial to end: without the element the kernel takes the other chain. And because other rules
//! have other names, one table can be put in another's place without touching what packets go by meanwhile
//! ([`super::replacement`]).

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
pub(super) const INPUT: &str = "input";
/// What names of chains of rules, and of their sets, begin with.
pub(super) const RULES: &str = "rules_";
/// What the name of a trial's set begins with.
pub(super) const GATE: &str = "trial_";
/// Type of sets that hold protocols. Source: nft 1.0.6, `nft describe inet_proto`.
pub(super) const PROTOCOLS: &str = "inet_proto";
/// The one protocol in a trial's set.
pub(super) const TCP: &str = "tcp";
/// How much of a hash or an id a name holds, in characters: names of sets were limited to 31 once.
const NAME_DIGITS: usize = 16;

/// Rules on trial.
#[derive(Debug, Clone, Copy)]
pub struct OnTrial<'a> {
    /// The trial's id, hex digits.
    pub id: &'a str,
    /// The rules.
    pub rules: &'a FirewallRules,
    /// How long the kernel keeps them up; whole seconds.
    pub lifetime: Duration,
}

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
    /// The table in which `confirmed` holds (nothing is denied where it is absent) and, for its time, `trial`.
    #[must_use]
    pub fn of(confirmed: Option<&FirewallRules>, trial: Option<OnTrial<'_>>) -> Table {
        let mut table = Table::default();
        let mut input = vec![Rule {
            expressions: vec![matching("==", meta("iif"), json!("lo")), json!({ "return": null })],
            comment: None,
        }];
        if let Some(OnTrial { id, rules, lifetime }) = trial {
            let name = format!("{GATE}{}", id.chars().take(NAME_DIGITS).collect::<String>());
            let candidate = table.add_rules(Some(rules));
            input.push(Rule {
                expressions: vec![
                    matching("==", meta("l4proto"), json!(format!("@{name}"))),
                    json!({ "goto": { "target": candidate } }),
                ],
                comment: Some(mark(Some(rules))),
            });
            let gate = Set {
                kind: PROTOCOLS.to_owned(),
                flags: BTreeSet::from(["timeout".to_owned()]),
                others: BTreeSet::from([TCP.to_owned()]),
                lifetime: Some(lifetime),
                networks: Networks::nobody(),
            };
            table.sets.insert(name, gate);
        }
        input.push(Rule {
            expressions: vec![json!({ "goto": { "target": table.add_rules(confirmed) } })],
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

    /// Adds the chain of `rules` with its sets; returns its name.
    fn add_rules(&mut self, rules: Option<&FirewallRules>) -> String {
        let digits = rules.map_or("none".to_owned(), |rules| rules.hash().as_str()[..NAME_DIGITS].to_owned());
        let chain = format!("{RULES}{digits}");
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
        self.chains.insert(chain.clone(), Chain { hook: None, rules: drops });
        chain
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
