//! Keeping the form of values that mean the same: `"16GB"` as written, not `"16384MB"` as reported.

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, Kind, Nesting};
use crate::value::Value;

/// `value` with each attribute in the form `reference` has it wherever the attribute's own rule says that
/// the two mean the same. Used after a read against the prior state, and after apply against the plan.
pub fn keep_meaning(block: &Block, value: Value, reference: &Value) -> Value {
    object(block.attributes(), value, reference)
}

fn object(schema: &BTreeMap<String, Attribute>, value: Value, reference: &Value) -> Value {
    let Value::Object(attributes) = value else { return value };
    let kept = attributes.into_iter().map(|(name, value)| {
        let value = match schema.get(&name) {
            Some(schema) => attribute(schema, value, reference.attr(&name)),
            None => value,
        };
        (name, value)
    });
    Value::Object(kept.collect())
}

fn attribute(schema: &Attribute, value: Value, reference: &Value) -> Value {
    if schema.means_the_same(&value, reference) {
        return reference.clone();
    }
    let Kind::Nested { nesting, attributes } = schema.kind() else { return value };
    match (nesting, value) {
        (Nesting::Single, value) => object(attributes, value, reference),
        (Nesting::List, Value::List(elements)) => {
            let before = reference.as_slice().unwrap_or_default();
            let kept = elements.into_iter().enumerate().map(|(index, element)| match before.get(index) {
                Some(reference) => object(attributes, element, reference),
                None => element,
            });
            Value::List(kept.collect())
        }
        (Nesting::Map, Value::Map(entries)) => {
            let kept = entries.into_iter().map(|(key, entry)| {
                let entry = object(attributes, entry, reference.attr(&key));
                (key, entry)
            });
            Value::Map(kept.collect())
        }
        (Nesting::Set, Value::Set(elements)) => {
            let before = reference.as_slice().unwrap_or_default();
            let kept = elements.into_iter().map(|element| {
                let same = before
                    .iter()
                    .find(|reference| object(attributes, element.clone(), reference) == **reference);
                same.cloned().unwrap_or(element)
            });
            Value::set(kept)
        }
        (_, value) => value,
    }
}
