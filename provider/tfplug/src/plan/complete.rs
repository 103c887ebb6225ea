//! Bringing a value a provider made into the exact shape of its type.

use super::Violation;
use crate::value::{Path, Type, Value};

/// `value` as exactly type `of`: object attributes left out become null, and a list given for a set becomes
/// the set.
///
/// # Errors
/// Every place where `value` is not of that type.
pub fn complete(value: Value, of: &Type) -> Result<Value, Vec<Violation>> {
    let mut found = Vec::new();
    let value = shape(value, of, &Path::new(), &mut found);
    if found.is_empty() { Ok(value) } else { Err(found) }
}

fn shape(value: Value, of: &Type, path: &Path, found: &mut Vec<Violation>) -> Value {
    match (of, value) {
        (_, value @ (Value::Null | Value::Unknown(_)))
        | (Type::String, value @ Value::String(_))
        | (Type::Bool, value @ Value::Bool(_))
        | (Type::Number, value @ Value::Number(_)) => value,
        (Type::List(element), Value::List(elements)) => {
            Value::List(sequence(elements, |_| element, path, found))
        }
        (Type::Set(element), Value::List(elements)) => {
            Value::set(sequence(elements, |_| element, path, found))
        }
        (Type::Set(element), Value::Set(elements)) => {
            Value::set(sequence(elements.into_iter().collect(), |_| element, path, found))
        }
        (Type::Tuple(types), Value::Tuple(elements)) if types.len() == elements.len() => {
            Value::Tuple(sequence(elements, |index| &types[index], path, found))
        }
        (Type::Map(element), Value::Map(entries)) => Value::Map(
            entries
                .into_iter()
                .map(|(key, entry)| {
                    let entry = shape(entry, element, &path.key(&key), found);
                    (key, entry)
                })
                .collect(),
        ),
        (Type::Object(types), Value::Object(mut attributes)) => {
            let complete = types
                .iter()
                .map(|(name, of)| {
                    let value = attributes.remove(name).unwrap_or(Value::Null);
                    (name.clone(), shape(value, of, &path.attr(name), found))
                })
                .collect();
            for extra in attributes.keys() {
                found.push(Violation::new(&path.attr(extra), "is not in the schema"));
            }
            Value::Object(complete)
        }
        (Type::Dynamic, Value::Dynamic(inner)) => {
            let (of, value) = *inner;
            let value = shape(value, &of, path, found);
            Value::Dynamic(Box::new((of, value)))
        }
        (of, value) => {
            found.push(Violation::new(
                path,
                format!("is {}, but the schema says {}", value.describe(), of.describe()),
            ));
            value
        }
    }
}

fn sequence<'a>(
    elements: Vec<Value>,
    of: impl Fn(usize) -> &'a Type,
    path: &Path,
    found: &mut Vec<Violation>,
) -> Vec<Value> {
    elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| shape(element, of(index), &path.index(index), found))
        .collect()
}
