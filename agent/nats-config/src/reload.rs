//! What a change of configuration costs: nothing, a reload, or a restart; and how a mixed one is split.
//!
//! A reload is all-or-nothing: one setting that needs a restart makes the server refuse the whole file, so both
//! kinds must be told apart before the file is written. The rules are data, in [`table`].

mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::ServerConfig;

use table::{Cost, Row};
pub use table::{ReloadRule, reload_rules};

/// What it takes to bring a running server from one configuration to another. Settings are dotted paths under
/// NATS's own names, such as `jetstream.max_file_store`.
///
/// A *deferrable* setting is a list of addresses to dial first. The server learns the others from its peers, so
/// the list waits for the next restart. Until then the file on disk keeps the old list (see [`split`]), because
/// the server would refuse to reload a changed gateway list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Both are equal.
    Same,
    /// Only deferrable settings differ: nothing has to be done now.
    Deferrable {
        /// What waits for the next restart.
        settings: BTreeSet<String>,
    },
    /// A reload is enough, with the file of [`split`].
    Reload {
        /// What the reload brings.
        settings: BTreeSet<String>,
        /// What waits for the next restart.
        deferrable: BTreeSet<String>,
    },
    /// A restart is needed.
    Restart {
        /// What needs the restart.
        restart: BTreeSet<String>,
        /// What a reload before it could bring earlier.
        reload: BTreeSet<String>,
        /// What comes along with the restart.
        deferrable: BTreeSet<String>,
    },
}

/// One setting that differs, by its path in the model.
struct Changed {
    path: Vec<String>,
    setting: String,
    class: Class,
}

/// A change's cost once both values are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Reload,
    Restart,
    Deferrable,
}

/// What it takes to bring a server that runs `old` to `new`.
///
/// A setting that the table does not know counts as one that needs a restart.
/// Source: nats-server 2.15.1 server/reload.go, each row tried on the server.
#[must_use]
pub fn reload_class(old: &ServerConfig, new: &ServerConfig) -> Change {
    let changed = changes(old, new);
    let of = |class: Class| -> BTreeSet<String> {
        changed.iter().filter(|one| one.class == class).map(|one| one.setting.clone()).collect()
    };
    let (restart, reload, deferrable) = (of(Class::Restart), of(Class::Reload), of(Class::Deferrable));
    match (restart.is_empty(), reload.is_empty(), deferrable.is_empty()) {
        (false, _, _) => Change::Restart { restart, reload, deferrable },
        (true, false, _) => Change::Reload { settings: reload, deferrable },
        (true, true, false) => Change::Deferrable { settings: deferrable },
        (true, true, true) => Change::Same,
    }
}

/// The configuration on the way from `old` to `new` that holds only what a reload can bring: `old` with the
/// reloadable settings of `new`. Deferrable settings stay those of `old`.
///
/// Where that mixture breaks a rule (a raised `max_payload` whose `max_pending` needs a restart), the settings
/// that break it stay those of `old` too. Absent when a reload would bring nothing, or `old` itself is invalid.
#[must_use]
pub fn split(old: &ServerConfig, new: &ServerConfig) -> Option<ServerConfig> {
    let reloadable: Vec<Changed> =
        changes(old, new).into_iter().filter(|one| one.class == Class::Reload).collect();
    if reloadable.is_empty() || old.validate().is_err() {
        return None;
    }
    let target = model(new);
    let with = |base: &Value, changed: &[Changed]| -> Option<(Value, ServerConfig)> {
        let mut value = base.clone();
        for one in changed {
            replace(&mut value, &one.path, find(&target, &one.path).cloned());
        }
        let config = serde_json::from_value::<ServerConfig>(value.clone()).ok()?;
        config.validate().ok()?;
        Some((value, config))
    };
    let start = model(old);
    if let Some((_, whole)) = with(&start, &reloadable) {
        return Some(whole);
    }
    let mut best: Option<(Value, ServerConfig)> = None;
    for one in reloadable {
        let base = best.as_ref().map_or(&start, |(value, _)| value);
        if let Some(better) = with(base, &[one]) {
            best = Some(better);
        }
    }
    best.map(|(_, config)| config)
}

/// The model as plain data, so that one table can walk it.
fn model(config: &ServerConfig) -> Value {
    serde_json::to_value(config)
        .expect("the model has text keys only and no value that can fail to serialise")
}

fn changes(old: &ServerConfig, new: &ServerConfig) -> Vec<Changed> {
    let mut changed = Vec::new();
    compare(&mut Vec::new(), &model(old), &model(new), &mut changed);
    let rejects = |config: &ServerConfig| config.gateway.as_ref().is_some_and(|one| one.reject_unknown);
    if !rejects(old) && !rejects(new) {
        // An unknown cluster is let in, so a list that lacks one, or has one too many, only says whom to dial.
        for one in changed.iter_mut().filter(|one| one.path.starts_with(&table::remotes_path())) {
            one.class = Class::Deferrable;
        }
    }
    changed
}

/// Walks both models down to the rows of the table and notes what differs.
fn compare(path: &mut Vec<String>, old: &Value, new: &Value, changed: &mut Vec<Changed>) {
    if old == new {
        return;
    }
    let row = table::find_row(path);
    match (row.map(|row| row.cost), old, new) {
        (None | Some(Cost::Section), Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                path.push(key.clone());
                compare(
                    path,
                    left.get(key).unwrap_or(&Value::Null),
                    right.get(key).unwrap_or(&Value::Null),
                    changed,
                );
                path.pop();
            }
        }
        (Some(Cost::Remotes), Value::Object(left), Value::Object(right)) => {
            compare_remotes(path, left, right, changed);
        }
        // A section of extra settings that one side lacks: each setting in it has a rule of its own.
        (None, Value::Object(map), Value::Null) | (None, Value::Null, Value::Object(map))
            if is_extra(path) && !map.is_empty() =>
        {
            let empty = Value::Object(Map::new());
            let (old, new) = if old.is_null() { (&empty, new) } else { (old, &empty) };
            compare(path, old, new, changed);
        }
        (cost, _, _) => {
            let class = cost.map_or(Class::Restart, |cost| class_of(cost, old, new));
            changed.push(Changed { path: path.clone(), setting: setting_name(row, path), class });
        }
    }
}

fn is_extra(path: &[String]) -> bool {
    path.first().is_some_and(|first| first == "extra")
}

fn class_of(cost: Cost, old: &Value, new: &Value) -> Class {
    match cost {
        Cost::Reload => Class::Reload,
        Cost::ReloadUpwards if new.as_u64() > old.as_u64() => Class::Reload,
        Cost::Deferrable => Class::Deferrable,
        Cost::ReloadUpwards | Cost::Restart | Cost::Section | Cost::Remotes => Class::Restart,
    }
}

/// Notes each remote cluster whose addresses differ, and each that one side lacks.
fn compare_remotes(
    path: &[String],
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    changed: &mut Vec<Changed>,
) {
    let names: BTreeMap<&String, Class> = old
        .keys()
        .chain(new.keys())
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            let in_both = old.contains_key(name) && new.contains_key(name);
            (name, if in_both { Class::Deferrable } else { Class::Restart })
        })
        .collect();
    for (name, class) in names {
        let path = path.iter().cloned().chain([name.clone()]).collect();
        changed.push(Changed { path, setting: format!("gateway.gateways.{name}"), class });
    }
}

/// The server's name for what is at `path`.
fn setting_name(row: Option<&Row>, path: &[String]) -> String {
    match row {
        Some(row) if !row.setting.is_empty() => row.setting.to_owned(),
        _ => path.iter().skip_while(|part| *part == "extra").cloned().collect::<Vec<_>>().join("."),
    }
}

fn find<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Puts `new` at `path`, making the objects on the way; or takes away what is there, and with it the sections of
/// extra settings that are left empty.
fn replace(value: &mut Value, path: &[String], new: Option<Value>) {
    let Some((key, rest)) = path.split_first() else { return };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    match (rest.is_empty(), new) {
        (true, Some(new)) => {
            map.insert(key.clone(), new);
        }
        (true, None) => {
            map.remove(key);
        }
        (false, new) => {
            let removes = new.is_none();
            let inner = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            replace(inner, rest, new);
            if removes && key != "extra" && inner.as_object().is_some_and(Map::is_empty) {
                map.remove(key);
            }
        }
    }
}
