//! The JSON form in which state lies in the state file, read by type.
//!
//! Source: terraform v1.11.4 docs/plugin-protocol/object-wire-format.md. A dynamic value is
//! `{"value": ..., "type": ...}`; there are no unknowns.

mod text;

use std::collections::BTreeMap;

use thiserror::Error;

use self::text::Json;
use super::{MAX_BYTES, MAX_DEPTH, NumberError, Path, Type, TypeError, Value};

/// Why a JSON text is no value of the type asked for. Holds no part of the value.
#[derive(Debug, Error)]
pub enum JsonError {
    /// Longer than [`MAX_BYTES`].
    #[error("state has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// Not JSON, or nested deeper than [`MAX_DEPTH`].
    #[error("not json at byte {0}")]
    Syntax(usize),
    /// Another kind of value than the type says.
    #[error("`{path}` is {found}, not {wanted}")]
    Kind {
        /// Where.
        path: Path,
        /// The type asked for.
        wanted: String,
        /// What is there.
        found: &'static str,
    },
    /// A number that is too long.
    #[error("`{path}` is no number")]
    Number {
        /// Where.
        path: Path,
        /// Why.
        #[source]
        source: NumberError,
    },
    /// A dynamic value whose type cannot be read.
    #[error("type of `{path}` cannot be read")]
    Type {
        /// Where.
        path: Path,
        /// Why.
        #[source]
        source: TypeError,
    },
}

/// Reads JSON as a value of type `of`. Attributes an object type does not have are dropped and missing ones
/// are null, so that state of an older schema can be read.
///
/// # Errors
/// When `bytes` are no such value. Never panics; depth and size are bounded.
pub fn decode_state(bytes: &[u8], of: &Type) -> Result<Value, JsonError> {
    if bytes.len() > MAX_BYTES {
        return Err(JsonError::TooLong(bytes.len()));
    }
    let json = text::parse(bytes).map_err(JsonError::Syntax)?;
    read(&json, of, &Path::new(), 0)
}

fn read(json: &Json, of: &Type, path: &Path, depth: usize) -> Result<Value, JsonError> {
    let kind = || JsonError::Kind { path: path.clone(), wanted: of.describe(), found: json.describe() };
    if depth > MAX_DEPTH {
        return Err(kind());
    }
    let all = |elements: &[Json], of: &Type| {
        elements
            .iter()
            .enumerate()
            .map(|(index, element)| read(element, of, &path.index(index), depth + 1))
            .collect::<Result<Vec<_>, _>>()
    };
    match (of, json) {
        (_, Json::Null) => Ok(Value::Null),
        (Type::String, Json::String(text)) => Ok(Value::String(super::msgpack::normalised(text))),
        (Type::Bool, Json::Bool(truth)) => Ok(Value::Bool(*truth)),
        (Type::Number, Json::Number(text) | Json::String(text)) => {
            text.parse().map(Value::Number).map_err(|source| JsonError::Number { path: path.clone(), source })
        }
        (Type::List(element), Json::Array(elements)) => all(elements, element).map(Value::List),
        (Type::Set(element), Json::Array(elements)) => all(elements, element).map(Value::set),
        (Type::Tuple(types), Json::Array(elements)) if types.len() == elements.len() => types
            .iter()
            .zip(elements)
            .enumerate()
            .map(|(index, (of, element))| read(element, of, &path.index(index), depth + 1))
            .collect::<Result<_, _>>()
            .map(Value::Tuple),
        (Type::Map(element), Json::Object(entries)) => entries
            .iter()
            .map(|(key, json)| {
                let key = super::msgpack::normalised(key);
                let value = read(json, element, &path.key(&key), depth + 1)?;
                Ok((key, value))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map(Value::Map),
        (Type::Object(types), Json::Object(entries)) => types
            .iter()
            .map(|(name, of)| {
                let json = entries.get(name).unwrap_or(&Json::Null);
                Ok((name.clone(), read(json, of, &path.attr(name), depth + 1)?))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map(Value::Object),
        (Type::Dynamic, Json::Object(entries)) => {
            let (Some(of), Some(json)) = (entries.get("type"), entries.get("value")) else {
                return Err(kind());
            };
            let of = Type::from_json(of.to_text().as_bytes())
                .map_err(|source| JsonError::Type { path: path.clone(), source })?;
            let value = read(json, &of, path, depth + 1)?;
            Ok(Value::Dynamic(Box::new((of, value))))
        }
        _ => Err(kind()),
    }
}
