//! Where two configuration files say different things, for people to read.
//!
//! Values that may be secret are hidden: a file that a person edited can hold a password.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::digest::Sha256Hex;

/// Longest value shown in full, in characters; JWTs are longer and are shown by their sum.
const SHOWN_LENGTH_MAX: usize = 96;

/// Parts of a setting's name that make its value a possible secret.
const SECRET_WORDS: [&str; 7] = ["pass", "token", "secret", "seed", "nkey", "credentials", "encryption_key"];

/// Settings of JetStream that are secret although their name has no such word.
/// Source: nats-server 2.15.1 server/opts.go (`parseJetStream`: `key`, `ek`, `prev_key`, `prev_ek`).
const SECRET_NAMES: [&str; 4] = ["key", "ek", "prev_key", "prev_ek"];

/// One setting that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingDifference {
    /// Dotted path under NATS's own names, such as `jetstream.max_file_store`.
    pub setting: String,
    /// The value as it should be, as compact JSON, strings without quotes; absent when it should not be set.
    /// Long values are shortened, possible secrets read `(hidden)`.
    pub desired: Option<String>,
    /// The value found, in the same form; absent when it is not set.
    pub found: Option<String>,
}

/// Every setting in which `found` differs from `desired`, sorted by name; empty when they mean the same.
///
/// Objects are compared key by key; arrays as a whole. Numbers that are equal as integers or decimals are equal.
#[must_use]
pub fn setting_differences(desired: &Value, found: &Value) -> Vec<SettingDifference> {
    let mut differences = Vec::new();
    collect("", Some(desired), Some(found), &mut differences);
    differences
}

fn collect(path: &str, desired: Option<&Value>, found: Option<&Value>, into: &mut Vec<SettingDifference>) {
    if desired == found {
        return;
    }
    match (desired, found) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                collect(&join(path, key), left.get(key), right.get(key), into);
            }
        }
        // A whole section that one side lacks is told setting by setting.
        (Some(Value::Object(map)), None) if !map.is_empty() => {
            map_sorted(map).for_each(|(key, value)| collect(&join(path, key), Some(value), None, into));
        }
        (None, Some(Value::Object(map))) if !map.is_empty() => {
            map_sorted(map).for_each(|(key, value)| collect(&join(path, key), None, Some(value), into));
        }
        _ => into.push(SettingDifference {
            setting: if path.is_empty() { "(whole file)".to_owned() } else { path.to_owned() },
            desired: desired.map(|value| shown(path, value)),
            found: found.map(|value| shown(path, value)),
        }),
    }
}

fn map_sorted(map: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_bytes());
    entries.into_iter()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A value as a person may see it.
pub(crate) fn shown(path: &str, value: &Value) -> String {
    if may_be_secret(path, value) {
        return "(hidden)".to_owned();
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    shortened(&text)
}

/// `text`, or its start and its sum where it is long, so that two long ones are told apart.
#[must_use]
pub fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= SHOWN_LENGTH_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(24).collect();
    let sum = Sha256Hex::of(text.as_bytes());
    format!("{start}... ({length} characters, sha256 {})", &sum.as_str()[..12])
}

/// Whether the name of a setting, or a name inside its value, belongs to a secret, or an URL in it carries one.
fn may_be_secret(path: &str, value: &Value) -> bool {
    let secret_name = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_NAMES.contains(&name.as_str()) || SECRET_WORDS.iter().any(|word| name.contains(word))
    };
    let inside = match value {
        Value::Object(map) => map.iter().any(|(key, value)| may_be_secret(key, value)),
        Value::Array(items) => items.iter().any(|item| may_be_secret("", item)),
        Value::String(text) => {
            text.split_once("://").is_some_and(|(_, rest)| {
                rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
            }) || text.contains("-----BEGIN")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    inside || path.split('.').any(secret_name)
}
