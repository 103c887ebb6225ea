//! One rule of core that an answer breaks, and the rules that need no second value to compare with.

use std::fmt;

use crate::schema::{Attribute, Block, Kind, Nesting};
use crate::value::{Path, Value};

/// One rule of core that a value breaks. Its text holds no sensitive value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: Path,
    /// Which rule, without full stop.
    pub text: String,
}

impl Violation {
    pub(super) fn new(path: &Path, text: impl Into<String>) -> Self {
        Self { path: path.clone(), text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.text)
        } else {
            write!(formatter, "{}: {}", self.path, self.text)
        }
    }
}

/// Every place in `value` that is unknown.
pub fn check_wholly_known(value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    walk_unknown(value, &Path::new(), &mut found);
    found
}

fn walk_unknown(value: &Value, path: &Path, found: &mut Vec<Violation>) {
    match value {
        Value::Unknown(_) => found.push(Violation::new(path, "is unknown where all must be known")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::List(elements) | Value::Tuple(elements) => {
            for (index, element) in elements.iter().enumerate() {
                walk_unknown(element, &path.index(index), found);
            }
        }
        Value::Set(elements) => {
            for element in elements {
                walk_unknown(element, path, found);
            }
        }
        Value::Map(entries) => {
            for (key, entry) in entries {
                walk_unknown(entry, &path.key(key), found);
            }
        }
        Value::Object(attributes) => {
            for (name, attribute) in attributes {
                walk_unknown(attribute, &path.attr(name), found);
            }
        }
        Value::Dynamic(inner) => walk_unknown(&inner.1, path, found),
    }
}

/// Every write-only attribute of `value` that is not null.
pub fn check_write_only(block: &Block, value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    walk_write_only(block.attributes().values(), value, &Path::new(), &mut found);
    found
}

fn walk_write_only<'a>(
    attributes: impl IntoIterator<Item = &'a Attribute>,
    object: &Value,
    path: &Path,
    found: &mut Vec<Violation>,
) {
    for attribute in attributes {
        let value = object.attr(attribute.name());
        let path = path.attr(attribute.name());
        if attribute.is_write_only() {
            if !value.is_null() {
                found.push(Violation::new(&path, "is write-only and must be null"));
            }
            continue;
        }
        let Kind::Nested { nesting, attributes } = attribute.kind() else { continue };
        match (nesting, value) {
            (Nesting::Single, Value::Object(_)) => {
                walk_write_only(attributes.values(), value, &path, found);
            }
            (Nesting::List, Value::List(elements)) => {
                for (index, element) in elements.iter().enumerate() {
                    walk_write_only(attributes.values(), element, &path.index(index), found);
                }
            }
            (Nesting::Map, Value::Map(entries)) => {
                for (key, entry) in entries {
                    walk_write_only(attributes.values(), entry, &path.key(key), found);
                }
            }
            // A set cannot hold write-only attributes; the schema check refuses it.
            _ => {}
        }
    }
}
