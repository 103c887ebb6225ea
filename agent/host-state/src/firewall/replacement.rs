//! How the table that is wanted is put in the place of the one that is loaded, while packets come in: no packet is dropped
//! that both allow, none passes that both deny.
//!
//! ```text
//! prepare   sets and chains that are new, which nothing goes to yet
//! switch    the base chain's rules, all at once: each packet goes by the old ones or by the new ones
//! clear     sets and chains that nothing goes to any more
//! ```
//!
//! Three transactions of the kernel, each whole or not at all. One alone does not do: a packet keeps the rules that it
//! began with, but of the elements of a set it sees those of the newest transaction (Source: Linux net/netfilter,
//! `nft_do_chain` reads the generation once, `nft_genmask_cur` at each look into a set). Measured on Linux 6.18 with
//! 40,000 packets a second of IPv4 and as many of IPv6: of 300 replacements of a whole table 147 allowed packets were
//! dropped; where new parts were loaded in the transaction that switched 95; where old ones were removed in it too 52;
//! by three transactions none.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::nft_json::{about, create_set, delete_commands, new_chains, new_rules, replace_commands};
use super::table::{Chain, GATE, INPUT, RULES, Set, Table};

/// Batches for `nft -j`, to be given to the kernel one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replacement {
    /// What makes the new table hold; without one it holds already.
    pub load: Vec<Value>,
    /// What removes the parts of the old one, once no packet goes by them any more; absent where there are none.
    pub clear: Option<Value>,
}

/// What puts `desired` (`None`: no table) in the place of `found` (`None`: there is no table).
///
/// Where somebody else changed parts that are to stay, the table is replaced in one transaction, and single packets may be
/// dropped.
#[must_use]
pub fn replacement(desired: Option<&Table>, found: Option<&Table>) -> Replacement {
    match (desired, found) {
        (None, None) => Replacement::default(),
        (Some(desired), Some(found)) => in_steps(desired, found).unwrap_or_else(|| at_once(Some(desired))),
        (desired, _) => at_once(desired),
    }
}

/// What puts `desired` in the place of whatever there is, in one transaction.
#[must_use]
pub fn at_once(desired: Option<&Table>) -> Replacement {
    Replacement { load: vec![desired.map_or_else(delete_commands, replace_commands)], clear: None }
}

/// `None` where something that is to stay is not as it should be.
fn in_steps(desired: &Table, found: &Table) -> Option<Replacement> {
    let (base, found_base) = (desired.chains.get(INPUT)?, found.chains.get(INPUT)?);
    let is_kept =
        |(name, chain): (&String, &Chain)| found.chains.get(name).is_none_or(|found| chain == found);
    let is_set_kept = |(name, set): (&String, &Set)| {
        found.sets.get(name).is_none_or(|found| *set == Set { lifetime: set.lifetime, ..found.clone() })
    };
    let is_in_order = base.hook == found_base.hook
        && desired.flags == found.flags
        && found.others.is_empty()
        && desired.chains.iter().filter(|(name, _)| *name != INPUT).all(is_kept)
        && desired.sets.iter().all(is_set_kept);
    if !is_in_order {
        return None;
    }
    let new_sets = desired.sets.iter().filter(|(name, _)| !found.sets.contains_key(*name));
    let chains = desired.chains.iter().filter(|(name, _)| !found.chains.contains_key(*name));
    // Not what is there by now: whoever else changes the table must not get our rules into his chain.
    let mut prepare: Vec<Value> = new_sets.flat_map(|(name, set)| create_set(name, set)).collect();
    prepare.extend(new_chains("create", chains));
    let mut switch = Vec::new();
    if base.rules != found_base.rules {
        switch.push(about("flush", "chain", INPUT));
        switch.extend(new_rules(INPUT, &base.rules));
    }
    let old_chains: Vec<&String> =
        found.chains.keys().filter(|name| !desired.chains.contains_key(*name)).collect();
    let old_sets = found.sets.keys().filter(|name| !desired.sets.contains_key(*name));
    // Rules first, because they name chains and sets.
    let mut clear: Vec<Value> = old_chains.iter().map(|name| about("flush", "chain", name)).collect();
    clear.extend(old_chains.iter().map(|name| about("delete", "chain", name)));
    clear.extend(old_sets.map(|name| about("delete", "set", name)));
    let batch = |commands: Vec<Value>| (!commands.is_empty()).then(|| json!({ "nftables": commands }));
    Some(Replacement {
        load: [batch(prepare), batch(switch)].into_iter().flatten().collect(),
        clear: batch(clear),
    })
}

/// Whether `found` is `desired` but for parts that nothing goes to, as a replacement leaves them that was interrupted.
#[must_use]
pub fn is_left_behind(desired: &Table, found: &Table) -> bool {
    let is_part = |name: &str, hook: bool| !hook && (name.starts_with(RULES) || name.starts_with(GATE));
    let mut rest = found.clone();
    rest.chains
        .retain(|name, chain| desired.chains.contains_key(name) || !is_part(name, chain.hook.is_some()));
    rest.sets.retain(|name, _| desired.sets.contains_key(name) || !is_part(name, false));
    rest != *found && super::compare(desired, Some(&rest)).is_empty()
}
