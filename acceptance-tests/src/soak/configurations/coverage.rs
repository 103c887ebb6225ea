//! Which fields of a model occurred with which values. The fields are those that the model itself shows when it is
//! written as JSON, so that a new field counts by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Fields whose keys are names that a person chose.
const MAPS: [&str; 3] = ["gateway.remotes", "trust.preload", "extra"];
/// Fields that have one value for all that the server can be asked with, each with the reason.
const FIXED: [(&str, &str); 5] = [
    ("client.tls.ca_file", "files must be there"),
    ("cluster.tls.ca_file", "files must be there"),
    ("cluster.tls.verify", "servers always verify each other"),
    ("gateway.tls.ca_file", "files must be there"),
    ("gateway.tls.verify", "servers always verify each other"),
];

/// Values by field.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl Coverage {
    /// Notes every field of `model`.
    pub(super) fn note(&mut self, model: &Value) {
        for (field, value) in fields(model) {
            let seen = self.seen.entry(field).or_default();
            // Two are enough to see that it varies.
            if seen.len() < 2 && !value.is_null() {
                seen.insert(value.to_string());
            }
        }
    }

    /// Takes over what another one saw.
    pub(super) fn absorb(&mut self, other: Coverage) {
        for (field, values) in other.seen {
            self.seen.entry(field).or_default().extend(values);
        }
    }

    /// Every field of the model.
    pub(super) fn all(&self) -> BTreeSet<String> {
        let holds = |field: &str| {
            self.seen.keys().any(|other| other.strip_prefix(field).is_some_and(|rest| rest.starts_with('.')))
        };
        self.seen.keys().filter(|field| !holds(field)).cloned().collect()
    }

    /// Fields that never occurred, or always with the same value.
    pub(super) fn missing(&self) -> Vec<String> {
        let is_fixed = |field: &str| FIXED.iter().any(|(fixed, _)| *fixed == field);
        let enough = |field: &String| {
            let found = self.seen.get(field).map_or(0, BTreeSet::len);
            found >= 2 || (found == 1 && is_fixed(field))
        };
        self.all().into_iter().filter(|field| !enough(field)).collect()
    }
}

/// Every field of a model with its value: what holds no further field of the model.
pub(super) fn fields(model: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk("", model, &mut found);
    found
}

fn walk(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !MAPS.contains(&path) => {
            for (key, value) in map {
                walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found);
            }
        }
        value => found.push((path.to_owned(), value.clone())),
    }
}

/// The value at a dotted path.
pub(super) fn at<'a>(model: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(model, |at, key| at.get_mut(key))
}
