//! Tables as `nft -j` takes and lists them.
//!
//! Commands are one batch, which the kernel takes whole or not at all. A listing is read tolerantly, because others may
//! have put anything into our table: what is not understood is kept as text and so becomes a difference, never an error.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Map, Value, json};

use super::Networks;
use super::compare::shown;
use super::table::{Chain, Hook, PROTOCOLS, Rule, Set, TABLE, TABLE_FAMILY, TCP, Table};

/// How a protocol is listed where the host has no `/etc/protocols` that names it, as without Debian's package `netbase`.
/// Source: nft 1.0.6 (tried: the number, without quotes); IANA's protocol numbers.
const TCP_NUMBER: u64 = 6;

/// Longest listing that is looked at, in bytes: a table of 100,000 networks needs about 6 MiB.
pub const MAX_LISTING_BYTES: usize = 64 * 1024 * 1024;

/// Why a listing says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// Longer than [`MAX_LISTING_BYTES`].
    #[error("the listing has {found} bytes, at most {MAX_LISTING_BYTES} are read")]
    TooLarge {
        /// Its size in bytes.
        found: usize,
    },
    /// No JSON.
    #[error("the listing is no JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of something else.
    #[error("the listing has no list `nftables`")]
    Form,
}

/// One object of a listing.
pub(super) struct Object {
    /// Its one key: `table`, `chain`, `rule`, ...
    pub(super) kind: String,
    /// What stands under it.
    pub(super) body: Map<String, Value>,
}

/// Objects of a listing, in order.
pub(super) fn objects(listing: &[u8]) -> Result<Vec<Object>, ListingError> {
    if listing.len() > MAX_LISTING_BYTES {
        return Err(ListingError::TooLarge { found: listing.len() });
    }
    let value: Value = serde_json::from_slice(listing).map_err(ListingError::Json)?;
    let Some(list) = value.get("nftables").and_then(Value::as_array) else { return Err(ListingError::Form) };
    let single = |object: &Value| {
        let (kind, body) = object.as_object()?.iter().next()?;
        Some(Object { kind: kind.clone(), body: body.as_object()?.clone() })
    };
    Ok(list.iter().filter_map(single).collect())
}

/// Our table in a listing; `None` when it is not in it. Objects of other tables are passed over.
///
/// # Errors
/// [`ListingError`].
pub fn parse(listing: &[u8]) -> Result<Option<Table>, ListingError> {
    let mut found = None;
    for Object { kind, body } in objects(listing)? {
        let is_ours = text(&body, "family") == TABLE_FAMILY
            && (text(&body, "table") == TABLE || (kind == "table" && text(&body, "name") == TABLE));
        if is_ours {
            add(found.get_or_insert_with(Table::default), &kind, &body);
        }
    }
    Ok(found)
}

fn add(table: &mut Table, kind: &str, body: &Map<String, Value>) {
    let name = text(body, "name");
    match kind {
        // nft 1.0.6 prints the flag `dormant` as the family's name (tried), so that there are flags is all that counts.
        "table" => table.flags = body.get("flags").map(shown),
        "chain" => table.chains.entry(name.to_owned()).or_default().hook = hook(body),
        "rule" => {
            let expressions = body.get("expr").and_then(Value::as_array);
            let rule = Rule {
                expressions: expressions.into_iter().flatten().map(uncounted).collect(),
                comment: body.get("comment").and_then(Value::as_str).map(str::to_owned),
            };
            table.chains.entry(text(body, "chain").to_owned()).or_default().rules.push(rule);
        }
        "set" => {
            table.sets.insert(name.to_owned(), set(body));
        }
        "element" => {}
        other => {
            table.others.insert(format!("{other} {name}"));
        }
    }
}

fn hook(body: &Map<String, Value>) -> Option<Hook> {
    let hook = body.get("hook")?.as_str()?.to_owned();
    Some(Hook {
        kind: text(body, "type").to_owned(),
        hook,
        priority: body.get("prio").and_then(Value::as_i64).unwrap_or(i64::MAX),
        policy: text(body, "policy").to_owned(),
    })
}

/// An expression without what the kernel counts in it.
fn uncounted(expression: &Value) -> Value {
    if expression.get("counter").is_some() { json!({ "counter": null }) } else { expression.clone() }
}

fn set(body: &Map<String, Value>) -> Set {
    let flags = match body.get("flags") {
        Some(Value::Array(flags)) => flags.iter().map(shown).collect(),
        Some(flag) => BTreeSet::from([shown(flag)]),
        None => BTreeSet::new(),
    };
    let kind = body.get("type").map(shown).unwrap_or_default();
    let (mut networks, mut others) = (Vec::new(), BTreeSet::new());
    for element in body.get("elem").and_then(Value::as_array).into_iter().flatten() {
        let value = element.get("elem").and_then(|element| element.get("val")).unwrap_or(element);
        match addresses(value) {
            Some(found) => networks.extend(found),
            None if kind == PROTOCOLS && *value == TCP_NUMBER => {
                others.insert(TCP.to_owned());
            }
            None => {
                others.insert(shown(value));
            }
        }
    }
    Set { kind, flags, networks: Networks::of(networks), others, lifetime: None }
}

/// The networks of an element; `None` when it holds anything else.
pub(super) fn addresses(value: &Value) -> Option<Vec<IpNet>> {
    if let Some(text) = value.as_str() {
        return text.parse::<IpAddr>().ok().map(|address| vec![address.into()]);
    }
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return IpNet::new(address(prefix.get("addr")?)?, length).ok().map(|network| vec![network]);
    }
    match value.get("range")?.as_array()?.as_slice() {
        [from, to] => match (address(from)?, address(to)?) {
            (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
                Some(Ipv4Subnets::new(from, to, 0).map(IpNet::V4).collect())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
                Some(Ipv6Subnets::new(from, to, 0).map(IpNet::V6).collect())
            }
            _ => None,
        },
        _ => None,
    }
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// One batch that puts `table` in the place of whatever our table held. Adding it first lets the removal succeed where
/// there is none.
///
/// For a moment of it the kernel knows no element of a set, so single packets of who is allowed are dropped (measured,
/// Linux 6.18); never is one of who is denied let through. [`super::replacement`] has the way without.
#[must_use]
pub fn replace_commands(table: &Table) -> Value {
    let Table { flags: _, chains, sets, others: _ } = table;
    let own = || json!({ "table": { "family": TABLE_FAMILY, "name": TABLE } });
    let mut commands = vec![json!({ "add": own() }), json!({ "delete": own() }), json!({ "add": own() })];
    commands.extend(sets.iter().map(|(name, set)| json!({ "add": { "set": set_body(name, set) } })));
    commands.extend(new_chains("add", chains.iter()));
    json!({ "nftables": commands })
}

/// Commands that make chains by `verb`, with their rules.
pub(super) fn new_chains<'a>(
    verb: &str,
    chains: impl Iterator<Item = (&'a String, &'a Chain)> + Clone,
) -> Vec<Value> {
    // Every chain before the first rule, because rules name chains.
    let made = chains.clone().map(|(name, chain)| json!({ verb: { "chain": chain_body(name, chain) } }));
    made.chain(chains.flat_map(|(name, chain)| new_rules(name, &chain.rules))).collect()
}

/// Commands that make a set which is not there, and what is in it: with `create` nft 1.0.6 leaves out elements that
/// stand in the set itself (tried).
pub(super) fn create_set(name: &str, set: &Set) -> impl Iterator<Item = Value> {
    let mut body = set_body(name, set);
    let elements = body.as_object_mut().and_then(|body| body.remove("elem"));
    let element = |elem: Value| json!({ "add": { "element": { "family": TABLE_FAMILY, "table": TABLE, "name": name, "elem": elem } } });
    [Some(json!({ "create": { "set": body } })), elements.map(element)].into_iter().flatten()
}

/// Commands that put `rules` at the end of a chain.
pub(super) fn new_rules<'a>(chain: &'a str, rules: &'a [Rule]) -> impl Iterator<Item = Value> + 'a {
    rules.iter().map(move |rule| json!({ "add": { "rule": rule_body(chain, rule) } }))
}

/// A command about a chain or set as a whole.
pub(super) fn about(verb: &str, kind: &str, name: &str) -> Value {
    json!({ verb: { kind: { "family": TABLE_FAMILY, "table": TABLE, "name": name } } })
}

/// One batch that takes our table away, be it there or not.
#[must_use]
pub(super) fn delete_commands() -> Value {
    let own = || json!({ "table": { "family": TABLE_FAMILY, "name": TABLE } });
    json!({ "nftables": [{ "add": own() }, { "delete": own() }] })
}

fn set_body(name: &str, set: &Set) -> Value {
    let Set { kind, flags, networks, others, lifetime } = set;
    let network = |network: IpNet| {
        if network.prefix_len() == network.max_prefix_len() {
            json!(network.addr())
        } else {
            json!({ "prefix": { "addr": network.network(), "len": network.prefix_len() } })
        }
    };
    let other = |value: &String| match lifetime {
        Some(lifetime) => json!({ "elem": { "val": value, "timeout": lifetime.as_secs() } }),
        None => json!(value),
    };
    let elements: Vec<Value> = networks.iter().map(network).chain(others.iter().map(other)).collect();
    let mut body = json!({
        "family": TABLE_FAMILY, "table": TABLE, "name": name, "type": kind, "flags": flags,
    });
    if !elements.is_empty() {
        body["elem"] = json!(elements);
    }
    body
}

fn chain_body(name: &str, chain: &Chain) -> Value {
    let mut body = json!({ "family": TABLE_FAMILY, "table": TABLE, "name": name });
    if let Some(Hook { kind, hook, priority, policy }) = &chain.hook {
        body["type"] = json!(kind);
        body["hook"] = json!(hook);
        body["prio"] = json!(priority);
        body["policy"] = json!(policy);
    }
    body
}

fn rule_body(chain: &str, rule: &Rule) -> Value {
    let Rule { expressions, comment } = rule;
    let mut body = json!({ "family": TABLE_FAMILY, "table": TABLE, "chain": chain, "expr": expressions });
    if let Some(comment) = comment {
        body["comment"] = json!(comment);
    }
    body
}
