//! Costs of changes, and what a split leaves.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{Change, ServerConfig, reload_class, reload_rules, split};

use super::configs;

fn restart_settings(change: &Change) -> BTreeSet<String> {
    match change {
        Change::Restart { restart, .. } => restart.clone(),
        Change::Same | Change::Deferrable { .. } | Change::Reload { .. } => BTreeSet::new(),
    }
}

fn reload_settings(change: &Change) -> BTreeSet<String> {
    match change {
        Change::Restart { reload, .. } => reload.clone(),
        Change::Reload { settings, .. } => settings.clone(),
        Change::Same | Change::Deferrable { .. } => BTreeSet::new(),
    }
}

proptest! {
    #[test]
    fn nothing_changed_costs_nothing(config in configs()) {
        prop_assert_eq!(reload_class(&config, &config), Change::Same);
        prop_assert_eq!(split(&config, &config), None);
    }

    #[test]
    fn a_change_is_the_same_only_for_equal_configurations(old in configs(), new in configs()) {
        prop_assert_eq!(reload_class(&old, &new) == Change::Same, old == new);
    }

    #[test]
    fn a_split_reloads_from_the_old_and_leaves_only_restarts(old in configs(), mut new in configs(), keep in any::<bool>()) {
        if keep {
            // Nearer configurations: more of them differ in a few settings only.
            new = ServerConfig { limits: new.limits, tags: new.tags, logging: new.logging, ..old.clone() };
            new.jetstream = new.jetstream.map(|mut jetstream| {
                jetstream.max_storage = crate::ByteSize::from_bytes(jetstream.max_storage.bytes() + 1).unwrap();
                jetstream
            });
        }
        let change = reload_class(&old, &new);
        match split(&old, &new) {
            // A reloadable setting that breaks a rule beside an old one waits for the restart.
            None => prop_assert!(reload_settings(&change).is_empty() || !restart_settings(&change).is_empty()),
            Some(between) => {
                prop_assert_eq!(between.validate(), Ok(()));
                if matches!(&change, Change::Reload { deferrable, .. } if deferrable.is_empty()) {
                    prop_assert_eq!(&between, &new);
                }
                let first = reload_class(&old, &between);
                prop_assert!(matches!(&first, Change::Reload { deferrable, .. } if deferrable.is_empty()), "{:?}", first);
                let second = reload_class(&between, &new);
                prop_assert_eq!(restart_settings(&second), restart_settings(&change));
                let left = reload_settings(&second);
                prop_assert!(left.is_subset(&reload_settings(&change)) && left.is_disjoint(&reload_settings(&first)));
                prop_assert!(left.is_empty() || !restart_settings(&second).is_empty(), "{:?}", second);
            }
        }
    }
}

fn sample() -> ServerConfig {
    serde_json::from_str(include_str!("../../tests/golden/02-supercluster-member.model.json")).unwrap()
}

#[test]
fn a_mixed_change_names_each_half() {
    let old = sample();
    let mut new = old.clone();
    new.tags.insert("disk:nvme".to_owned());
    new.jetstream.as_mut().unwrap().domain = Some("hub".to_owned());
    let routes = &mut new.cluster.as_mut().unwrap().routes;
    routes.insert("10.20.0.14:5222".parse().unwrap());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        reload_class(&old, &new),
        Change::Restart {
            restart: names(&["jetstream.domain"]),
            reload: names(&["server_tags"]),
            deferrable: names(&["cluster.routes"]),
        }
    );
    let between = split(&old, &new).unwrap();
    assert_eq!(between, ServerConfig { tags: new.tags.clone(), ..old });
}

#[test]
fn stores_grow_by_reload_and_shrink_by_restart() {
    let old = sample();
    let mut new = old.clone();
    new.jetstream.as_mut().unwrap().max_storage = "300GB".parse().unwrap();
    let settings = BTreeSet::from(["jetstream.max_file_store".to_owned()]);
    assert_eq!(
        reload_class(&old, &new),
        Change::Reload { settings: settings.clone(), deferrable: BTreeSet::new() }
    );
    assert_eq!(
        reload_class(&new, &old),
        Change::Restart { restart: settings, reload: BTreeSet::new(), deferrable: BTreeSet::new() }
    );
}

#[test]
fn another_cluster_needs_a_restart_only_where_unknown_ones_are_rejected() {
    let mut old = sample();
    let mut new = old.clone();
    let addresses = BTreeSet::from(["10.30.0.1:7222".parse().unwrap()]);
    new.gateway.as_mut().unwrap().remotes.insert("south".parse().unwrap(), addresses);
    let settings = BTreeSet::from(["gateway.gateways.south".to_owned()]);
    let (none, gateways) = (BTreeSet::new(), settings);
    assert_eq!(
        reload_class(&old, &new),
        Change::Restart { restart: gateways.clone(), reload: none.clone(), deferrable: none }
    );
    for config in [&mut old, &mut new] {
        config.gateway.as_mut().unwrap().reject_unknown = false;
    }
    assert_eq!(reload_class(&old, &new), Change::Deferrable { settings: gateways });
    assert_eq!(split(&old, &new), None);
}

#[test]
fn an_extra_setting_costs_a_restart_unless_the_table_knows_better() {
    let old = sample();
    let mut new = old.clone();
    new.extra.insert("cluster".to_owned(), serde_json::json!({ "pool_size": 5 }));
    new.extra.insert("feature_flags".to_owned(), serde_json::json!({ "js_ack_fc_v2": true }));
    assert_eq!(
        reload_class(&old, &new),
        Change::Restart {
            restart: BTreeSet::from(["feature_flags.js_ack_fc_v2".to_owned()]),
            reload: BTreeSet::from(["cluster.pool_size".to_owned()]),
            deferrable: BTreeSet::new(),
        }
    );
    let between = split(&old, &new).unwrap();
    let expected = serde_json::json!({
        "cluster": { "pool_size": 5 },
        "server_metadata": old.extra["server_metadata"],
    });
    assert_eq!(serde_json::Value::Object(between.extra), expected);
}

#[test]
fn a_reloadable_setting_that_needs_a_restart_beside_it_waits() {
    let old = sample();
    let mut new = old.clone();
    new.limits.max_payload = Some("128MB".parse().unwrap());
    new.limits.max_pending = Some("256MB".parse().unwrap());
    new.tags.insert("disk:nvme".to_owned());
    let between = split(&old, &new).unwrap();
    assert_eq!(between, ServerConfig { tags: new.tags.clone(), ..old });
}

#[test]
fn every_field_of_the_model_has_a_rule() {
    fn walk(path: &str, value: &serde_json::Value, rows: &BTreeSet<&str>, missing: &mut Vec<String>) {
        let leaf = !value.is_object()
            || ["gateway.remotes", "trust.preload", "jetstream.sync", "monitor"].contains(&path);
        match value {
            serde_json::Value::Object(map) if !leaf => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, rows, missing);
                }
            }
            _ if !rows.contains(path) => missing.push(path.to_owned()),
            _ => {}
        }
    }
    let rows = reload_rules().map(|rule| rule.model).collect();
    let mut model = serde_json::to_value(sample()).unwrap();
    model.as_object_mut().unwrap().remove("extra");
    let mut missing = Vec::new();
    walk("", &model, &rows, &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    assert_eq!(rows.len(), reload_rules().count(), "a row stands twice");
}
