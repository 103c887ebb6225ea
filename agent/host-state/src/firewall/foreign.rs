//! Other tables that drop packets to our ports: what we allow, they may still deny.
//!
//! Every base chain of the hook has to accept a packet, so a later `drop` beats our silence. We change nothing of theirs;
//! a person is told family, table, chain and what drops. Rules are followed as far as they name ports, protocol and
//! connection state. A drop counts when it is certain or names the port; one of certain addresses only, like a list of
//! banned ones, does not. An accept before it counts in the same way, so who opened the port for some is not told of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::nft_json::{ListingError, Object, objects};
use super::table::{Rule, TABLE, TABLE_FAMILY};
use super::{FirewallRules, ManagedPort, PortRule};

/// A chain of another table that may drop what we allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignDrop {
    /// Family of the table, like `inet`.
    pub family: String,
    /// Name of the table.
    pub table: String,
    /// Name of the chain.
    pub chain: String,
    /// What drops: `policy drop`, or the rule in nft's words.
    pub what: String,
    /// Our ports that it meets, by name, with their numbers.
    pub ports: BTreeMap<ManagedPort, u16>,
}

#[derive(Debug, Default)]
struct ForeignChain {
    is_input: bool,
    policy: String,
    rules: Vec<Vec<Value>>,
}

/// What a packet to one port meets.
enum Met {
    Accept { is_named: bool },
    Drop { what: String, is_named: bool },
    Nothing,
}

/// How a rule meets a packet to one port.
#[derive(Clone, Copy)]
struct Meets {
    /// Whatever else the packet is.
    is_certain: bool,
    /// The rule speaks of the port.
    is_named: bool,
}

impl Meets {
    fn counts(self) -> bool {
        self.is_certain || self.is_named
    }
}

/// Chains of other tables that may drop packets to the ports of `rules` that are open to somebody. `listing` is that of
/// `nft -j list ruleset`; sets in it may be left out.
///
/// # Errors
/// [`ListingError`].
pub fn foreign_drops(listing: &[u8], rules: &FirewallRules) -> Result<Vec<ForeignDrop>, ListingError> {
    let mut chains: BTreeMap<(String, String, String), ForeignChain> = BTreeMap::new();
    for Object { kind, body } in objects(listing)? {
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (family, table) = (text("family"), text("table"));
        if !matches!(family.as_str(), "inet" | "ip" | "ip6") || (family == TABLE_FAMILY && table == TABLE) {
            continue;
        }
        match kind.as_str() {
            "chain" => {
                let chain = chains.entry((family, table, text("name"))).or_default();
                chain.is_input = is_input(&body);
                chain.policy = text("policy");
            }
            "rule" => {
                let expressions = body.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
                chains.entry((family, table, text("chain"))).or_default().rules.push(expressions);
            }
            _ => {}
        }
    }
    let mut drops: Vec<ForeignDrop> = Vec::new();
    for ((family, table, name), chain) in chains.iter().filter(|(_, chain)| chain.is_input) {
        for (port_name, PortRule { port, from }) in &rules.0 {
            if from.is_empty() {
                continue;
            }
            let within = |target: &str| chains.get(&(family.clone(), table.clone(), target.to_owned()));
            let met = match walk(chain, *port, &within, 0) {
                Met::Nothing if chain.policy == "drop" => {
                    Met::Drop { what: "policy drop".to_owned(), is_named: false }
                }
                met => met,
            };
            let Met::Drop { what, is_named: _ } = met else { continue };
            let drop = drops.iter_mut().find(|drop| {
                (&drop.family, &drop.table, &drop.chain, &drop.what) == (family, table, name, &what)
            });
            match drop {
                Some(drop) => {
                    drop.ports.insert(*port_name, *port);
                }
                None => drops.push(ForeignDrop {
                    family: family.clone(),
                    table: table.clone(),
                    chain: name.clone(),
                    what,
                    ports: BTreeMap::from([(*port_name, *port)]),
                }),
            }
        }
    }
    Ok(drops)
}

fn is_input(body: &Map<String, Value>) -> bool {
    let hook = body.get("hook").and_then(Value::as_str).unwrap_or_default();
    matches!(hook, "input" | "prerouting") && body.get("type").and_then(Value::as_str) == Some("filter")
}

/// Deepest jump that is followed; the kernel's own limit is 16.
/// Source: Linux include/net/netfilter/nf_tables.h (`NFT_JUMP_STACK_SIZE`).
const MAX_DEPTH: usize = 16;

fn walk<'a>(
    chain: &'a ForeignChain,
    port: u16,
    within: &impl Fn(&str) -> Option<&'a ForeignChain>,
    depth: usize,
) -> Met {
    for expressions in &chain.rules {
        let Some(meets) = meets(expressions, port) else { continue };
        for (word, body) in expressions.iter().filter_map(Value::as_object).flatten() {
            let Meets { is_certain, is_named } = meets;
            match word.as_str() {
                "accept" if meets.counts() => return Met::Accept { is_named },
                "drop" | "reject" if meets.counts() => {
                    let what = Rule { expressions: expressions.clone(), comment: None }.to_string();
                    return Met::Drop { what, is_named };
                }
                "return" if is_certain => return Met::Nothing,
                "jump" | "goto" if depth < MAX_DEPTH => {
                    let target = body.get("target").and_then(Value::as_str).and_then(within);
                    let met = target.map_or(Met::Nothing, |target| walk(target, port, within, depth + 1));
                    match met {
                        Met::Accept { is_named: inner } if meets.counts() || inner => {
                            return Met::Accept { is_named: is_named || inner };
                        }
                        Met::Drop { what, is_named: inner } if meets.counts() || inner => {
                            return Met::Drop { what, is_named: is_named || inner };
                        }
                        _ if word == "goto" && is_certain => return Met::Nothing,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
    Met::Nothing
}

/// How a new TCP connection to `port` meets these expressions; `None` when it does not.
fn meets(expressions: &[Value], port: u16) -> Option<Meets> {
    let mut meets = Meets { is_certain: true, is_named: false };
    for (kind, body) in expressions.iter().filter_map(Value::as_object).flatten() {
        match kind.as_str() {
            "match" => {
                let is_negated = body.get("op").and_then(Value::as_str) == Some("!=");
                let (left, right) = (body.get("left")?, body.get("right")?);
                let field = |kind: &str, key: &str| {
                    left.get(kind).and_then(|left| left.get(key)).and_then(Value::as_str).unwrap_or_default()
                };
                let is_dport = matches!(
                    (field("payload", "protocol"), field("payload", "field")),
                    ("tcp" | "th", "dport")
                );
                let is_met = match field("payload", "protocol") {
                    _ if is_dport => ports(right, port),
                    "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" => Some(is_negated),
                    _ if field("meta", "key") == "l4proto" => names(right, "tcp", 6),
                    // Packets of connections that are open already are not what is asked about.
                    _ if field("ct", "key") == "state" => names(right, "new", 8),
                    _ => None,
                };
                match is_met.map(|is_met| is_met != is_negated) {
                    Some(false) => return None,
                    Some(true) => meets.is_named |= is_dport && !is_negated,
                    None => meets.is_certain = false,
                }
            }
            "accept" | "drop" | "reject" | "return" | "jump" | "goto" | "counter" | "log" => {}
            // A rate lets some through and some not, and what is not known may match or not.
            _ => meets.is_certain = false,
        }
    }
    Some(meets)
}

/// Whether `port` is among these; `None` when that cannot be told.
fn ports(right: &Value, port: u16) -> Option<bool> {
    if let Some(number) = right.as_u64() {
        return Some(number == u64::from(port));
    }
    if let Some([from, to]) = right.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return Some((from.as_u64()?..=to.as_u64()?).contains(&u64::from(port)));
    }
    let mut is_in = Some(false);
    for element in right.get("set")?.as_array()? {
        match ports(element, port) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => is_in = None,
        }
    }
    is_in
}

/// Whether one of two words is among these; `None` when that cannot be told.
fn names(right: &Value, name: &str, number: u64) -> Option<bool> {
    let is_it = |value: &Value| match value {
        Value::String(text) if text.starts_with('@') => None,
        Value::String(text) => Some(text == name),
        Value::Number(value) => Some(value.as_u64() == Some(number)),
        _ => None,
    };
    let list = right.as_array().or_else(|| right.get("set").and_then(Value::as_array));
    let Some(list) = list else { return is_it(right) };
    let all: Option<Vec<bool>> = list.iter().map(is_it).collect();
    all.map(|all| all.contains(&true))
}
