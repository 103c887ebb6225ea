//! A replacement against a table as the kernel would keep it: after each transaction packets go by the old rules or the
//! new.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::tests::{loaded, rules};
use super::super::{FirewallRules, Rule, compare, parse};
use super::*;

/// What becomes of `table` by one batch; panics where the kernel would refuse it.
fn taken(mut table: Table, batch: &Value) -> Table {
    for command in batch["nftables"].as_array().unwrap() {
        let (verb, object) = command.as_object().unwrap().iter().next().unwrap();
        let (kind, body) = object.as_object().unwrap().iter().next().unwrap();
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        match (verb.as_str(), kind.as_str()) {
            ("create", "set") => {
                assert_eq!(body.get("elem"), None, "nft leaves them out: {command}");
                assert!(table.sets.insert(name.clone(), set(object, &name)).is_none(), "{command}");
            }
            ("add", "element") => {
                let listed = set(&json!({ "set": body }), &name);
                let found = table.sets.get_mut(&name).unwrap();
                (found.networks, found.others) = (listed.networks, listed.others);
            }
            ("create", "chain") => {
                assert!(table.chains.insert(name, Chain::default()).is_none(), "{command}")
            }
            ("add", "rule") => {
                let expressions = body["expr"].as_array().unwrap().clone();
                let comment = body["comment"].as_str().map(str::to_owned);
                let chain = table.chains.get_mut(body["chain"].as_str().unwrap()).unwrap();
                chain.rules.push(Rule { expressions, comment });
            }
            ("flush", "chain") => table.chains.get_mut(&name).unwrap().rules.clear(),
            ("delete", "chain") => assert!(table.chains.remove(&name).unwrap().rules.is_empty(), "{command}"),
            ("delete", "set") => assert!(table.sets.remove(&name).is_some(), "{command}"),
            _ => panic!("{command}"),
        }
        let names: BTreeSet<String> =
            table.chains.values().flat_map(|chain| &chain.rules).flat_map(named).collect();
        for name in names {
            assert!(
                table.chains.contains_key(&name) || table.sets.contains_key(&name),
                "{name} after {command}"
            );
        }
    }
    table
}

/// A set as it is listed.
fn set(object: &Value, name: &str) -> Set {
    let listing = json!({ "nftables": [object] }).to_string();
    parse(listing.as_bytes()).unwrap().unwrap().sets.remove(name).unwrap()
}

/// Chains and sets that a rule names.
fn named(rule: &Rule) -> Vec<String> {
    let of = |expression: &Value| {
        let target = expression["goto"]["target"].as_str();
        let set = expression["match"]["right"].as_str().and_then(|right| right.strip_prefix('@'));
        target.or(set).map(str::to_owned)
    };
    rule.expressions.iter().filter_map(of).collect()
}

/// Everything that a packet goes by: the base chain's rules, with chains and sets that they lead to.
fn gone_by(table: &Table) -> String {
    let mut names = vec![INPUT.to_owned()];
    let mut text = String::new();
    while let Some(name) = names.pop() {
        if let Some(chain) = table.chains.get(&name) {
            names.extend(chain.rules.iter().flat_map(named));
            text.push_str(&format!("{name} {:?} {:?}\n", chain.hook, chain.rules));
        } else {
            let Set { networks, others, .. } = &table.sets[&name];
            text.push_str(&format!("{name} {networks:?} {others:?}\n"));
        }
    }
    text
}

fn state() -> impl Strategy<Value = (Option<FirewallRules>, Option<FirewallRules>, bool)> {
    (proptest::option::of(rules()), proptest::option::of(rules()), any::<bool>())
}

proptest! {
    #[test]
    fn every_transaction_leaves_the_old_rules_or_the_new_ones(before in state(), after in state()) {
        let table = |(confirmed, trial, is_first): &(Option<FirewallRules>, Option<FirewallRules>, bool)| {
            loaded(confirmed.as_ref(), trial.as_ref(), if *is_first { "01" } else { "02" })
        };
        let (found, desired) = (table(&before), table(&after));
        let Replacement { load, clear } = replacement(Some(&desired), Some(&found));
        let (old, new) = (gone_by(&found), gone_by(&desired));
        let mut now = found.clone();
        for batch in &load {
            now = taken(now, batch);
            prop_assert!(gone_by(&now) == old || gone_by(&now) == new);
        }
        prop_assert_eq!(gone_by(&now), new.clone());
        prop_assert_eq!(is_left_behind(&desired, &now), clear.is_some());
        if let Some(clear) = &clear {
            now = taken(now, clear);
            prop_assert_eq!(gone_by(&now), new);
        }
        prop_assert_eq!(compare(&desired, Some(&now)), Vec::new());
        prop_assert_eq!(replacement(Some(&desired), Some(&now)), Replacement::default());
    }
}

#[test]
fn what_others_changed_is_replaced_whole() {
    let rules = FirewallRules([].into());
    let desired = loaded(Some(&rules), Some(&rules), "01");
    let whole = |change: fn(&mut Table)| {
        let mut found = desired.clone();
        change(&mut found);
        assert!(!is_left_behind(&desired, &found));
        replacement(Some(&desired), Some(&found)).load == [replace_commands(&desired)]
    };
    assert!(whole(|found| found.flags = Some("dormant".to_owned())));
    assert!(whole(|found| found.others = BTreeSet::from(["map mine".to_owned()])));
    assert!(whole(|found| found.chains.clear()));
    assert!(whole(|found| found.chains.get_mut(INPUT).unwrap().hook = None));
    assert!(
        whole(|found| found.sets.values_mut().for_each(|set| set.others.clear())),
        "a trial that is over"
    );
    assert!(!whole(|found| found.chains.get_mut(INPUT).unwrap().rules.clear()));
    assert_eq!(replacement(Some(&desired), None).load, [replace_commands(&desired)]);
    assert_eq!(replacement(None, None), Replacement::default());
    assert_eq!(replacement(None, Some(&desired)).load, [delete_commands()]);
}

#[test]
fn what_is_of_others_is_not_what_was_left_behind() {
    let desired = loaded(None, None, "01");
    let with = |name: &str, chain: Chain| {
        let mut found = desired.clone();
        found.chains.insert(name.to_owned(), chain);
        is_left_behind(&desired, &found)
    };
    assert!(with("rules_07", Chain::default()));
    assert!(!with("mine", Chain::default()));
    assert!(!with("rules_07", desired.chains[INPUT].clone()));
    assert!(!is_left_behind(&desired, &desired));
}
