//! Nulling of write-only attributes: the one place where it happens, for every answer that holds a state.
//!
//! Source: terraform v1.11.4: a write-only value in an answer to plan, apply, read, import or upgrade is an
//! error, and after apply it loses the whole object; core itself leaves the value in the proposed state.

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, Kind, Nesting};
use crate::value::Value;

/// `value` with every write-only attribute null. Repeating it changes nothing.
pub fn without_write_only(block: &Block, value: Value) -> Value {
    object(block.attributes(), value)
}

fn object(schema: &BTreeMap<String, Attribute>, value: Value) -> Value {
    let Value::Object(attributes) = value else { return value };
    let kept = |(name, value): (String, Value)| {
        let value = match schema.get(&name) {
            Some(attribute) if attribute.is_write_only() => Value::Null,
            Some(attribute) => nested(attribute, value),
            None => value,
        };
        (name, value)
    };
    Value::Object(attributes.into_iter().map(kept).collect())
}

fn nested(attribute: &Attribute, value: Value) -> Value {
    let Kind::Nested { nesting, attributes } = attribute.kind() else { return value };
    match (nesting, value) {
        (Nesting::Single, value) => object(attributes, value),
        (Nesting::List, Value::List(elements)) => {
            Value::List(elements.into_iter().map(|element| object(attributes, element)).collect())
        }
        (Nesting::Set, Value::Set(elements)) => {
            Value::Set(elements.into_iter().map(|element| object(attributes, element)).collect())
        }
        (Nesting::Map, Value::Map(entries)) => {
            Value::Map(entries.into_iter().map(|(key, entry)| (key, object(attributes, entry))).collect())
        }
        (_, value) => value,
    }
}
