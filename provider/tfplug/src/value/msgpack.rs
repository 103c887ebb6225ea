//! The msgpack form in which values travel between Terraform and a provider.
//!
//! Source: terraform v1.11.4 docs/plugin-protocol/object-wire-format.md: objects carry every attribute,
//! any extension is unknown, extension 0 is a plain unknown and 12 a refined one, dynamic values travel
//! as `[type json, value]`, and numbers that fit no machine number as decimal text.

mod refined;

use std::collections::BTreeMap;

use rmpv::{Utf8StringRef, ValueRef};
use thiserror::Error;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::{MAX_BYTES, MAX_DEPTH, Number, NumberError, Path, Type, TypeError, Value};

/// Extension type of an unknown without refinement.
const EXT_UNKNOWN: i8 = 0;
/// Extension type of a refined unknown.
const EXT_REFINED: i8 = 12;

/// [`MAX_DEPTH`] as rmpv counts: two for each container and three for a string.
const RAW_DEPTH: usize = 2 * MAX_DEPTH + 3;

/// Why bytes are no value of the type asked for. Holds no part of the value.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Longer than [`MAX_BYTES`].
    #[error("value has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// Not msgpack, or nested deeper than [`MAX_DEPTH`].
    #[error("value is not msgpack")]
    Msgpack(#[source] rmpv::decode::Error),
    /// Bytes after the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
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
    /// An object without one of its attributes.
    #[error("`{0}` is missing")]
    Missing(Path),
    /// An object with an attribute its type does not have.
    #[error("`{0}` is not expected here")]
    Unexpected(Path),
    /// A number that is none, or too long.
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

/// Why a value cannot be encoded as the type asked for: always a bug of the provider that made it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
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
    /// An object with an attribute its type does not have.
    #[error("`{0}` is not in the schema")]
    Unexpected(Path),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("value nests deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Reads the msgpack form of a value of type `of`.
///
/// # Errors
/// When `bytes` are not exactly one such value. Never panics; depth and size are bounded.
pub fn decode(bytes: &[u8], of: &Type) -> Result<Value, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let mut rest = bytes;
    let raw =
        rmpv::decode::read_value_ref_with_max_depth(&mut rest, RAW_DEPTH).map_err(DecodeError::Msgpack)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing(rest.len()));
    }
    read(&raw, of, &Path::new(), 0)
}

/// `text` in the form cty compares strings in.
pub(super) fn normalised(text: &str) -> String {
    if is_nfc(text) { text.to_owned() } else { text.nfc().collect() }
}

fn read(raw: &ValueRef<'_>, of: &Type, path: &Path, depth: usize) -> Result<Value, DecodeError> {
    let kind = || DecodeError::Kind { path: path.clone(), wanted: of.describe(), found: describe(raw) };
    if depth > MAX_DEPTH {
        return Err(kind());
    }
    match raw {
        ValueRef::Nil => return Ok(Value::Null),
        ValueRef::Ext(EXT_REFINED, payload) => return Ok(Value::Unknown(refined::decode(payload))),
        ValueRef::Ext(..) => return Ok(Value::unknown()),
        _ => {}
    }
    match (of, raw) {
        (Type::String, ValueRef::String(text)) => string(text).map(Value::String).ok_or_else(kind),
        (Type::Bool, ValueRef::Boolean(truth)) => Ok(Value::Bool(*truth)),
        (Type::Number, _) => match number(raw) {
            None => Err(kind()),
            Some(number) => {
                number.map(Value::Number).map_err(|source| DecodeError::Number { path: path.clone(), source })
            }
        },
        (Type::List(element), ValueRef::Array(raws)) => elements(raws, element, path, depth).map(Value::List),
        (Type::Set(element), ValueRef::Array(raws)) => {
            elements(raws, element, path, depth).map(|all| Value::Set(all.into_iter().collect()))
        }
        (Type::Tuple(types), ValueRef::Array(raws)) if types.len() == raws.len() => types
            .iter()
            .zip(raws)
            .enumerate()
            .map(|(index, (of, raw))| read(raw, of, &path.index(index), depth + 1))
            .collect::<Result<_, _>>()
            .map(Value::Tuple),
        (Type::Map(element), ValueRef::Map(raws)) => {
            let mut entries = BTreeMap::new();
            for (key, raw) in raws {
                let key = key_text(key).ok_or_else(kind)?;
                let value = read(raw, element, &path.key(&key), depth + 1)?;
                entries.insert(key, value);
            }
            Ok(Value::Map(entries))
        }
        (Type::Object(types), ValueRef::Map(raws)) => {
            let mut attributes = BTreeMap::new();
            for (key, raw) in raws {
                let name = key_text(key).ok_or_else(kind)?;
                let here = path.attr(&name);
                let of = types.get(&name).ok_or_else(|| DecodeError::Unexpected(here.clone()))?;
                let value = read(raw, of, &here, depth + 1)?;
                attributes.insert(name, value);
            }
            match types.keys().find(|name| !attributes.contains_key(*name)) {
                Some(name) => Err(DecodeError::Missing(path.attr(name))),
                None => Ok(Value::Object(attributes)),
            }
        }
        (Type::Dynamic, ValueRef::Array(pair)) => match pair.as_slice() {
            [ValueRef::Binary(json), raw] => {
                let of = Type::from_json(json)
                    .map_err(|source| DecodeError::Type { path: path.clone(), source })?;
                let value = read(raw, &of, path, depth + 1)?;
                Ok(Value::Dynamic(Box::new((of, value))))
            }
            _ => Err(kind()),
        },
        _ => Err(kind()),
    }
}

fn elements(
    raws: &[ValueRef<'_>],
    element: &Type,
    path: &Path,
    depth: usize,
) -> Result<Vec<Value>, DecodeError> {
    raws.iter().enumerate().map(|(index, raw)| read(raw, element, &path.index(index), depth + 1)).collect()
}

fn string(text: &Utf8StringRef<'_>) -> Option<String> {
    text.as_str().map(normalised)
}

fn key_text(key: &ValueRef<'_>) -> Option<String> {
    match key {
        ValueRef::String(text) => string(text),
        _ => None,
    }
}

fn number(raw: &ValueRef<'_>) -> Option<Result<Number, NumberError>> {
    match raw {
        ValueRef::Integer(whole) => {
            whole.as_i64().map(Number::from).or_else(|| whole.as_u64().map(Number::from)).map(Ok)
        }
        ValueRef::F32(float) => Some(Number::from_f64(f64::from(*float))),
        ValueRef::F64(float) => Some(Number::from_f64(*float)),
        ValueRef::String(text) => text.as_str().map(str::parse),
        _ => None,
    }
}

fn describe(raw: &ValueRef<'_>) -> &'static str {
    match raw {
        ValueRef::Nil => "null",
        ValueRef::Boolean(_) => "bool",
        ValueRef::Integer(_) | ValueRef::F32(_) | ValueRef::F64(_) => "number",
        ValueRef::String(_) => "string",
        ValueRef::Binary(_) => "bytes",
        ValueRef::Array(_) => "an array",
        ValueRef::Map(_) => "a map",
        ValueRef::Ext(..) => "unknown",
    }
}

/// The msgpack form of `value` as type `of`. Object attributes left out are written as null.
///
/// # Errors
/// When `value` is not of that type.
pub fn encode(value: &Value, of: &Type) -> Result<Vec<u8>, EncodeError> {
    let raw = raw(value, of, &Path::new(), 0)?;
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &raw).expect("writing to memory does not fail");
    Ok(bytes)
}

fn raw(value: &Value, of: &Type, path: &Path, depth: usize) -> Result<rmpv::Value, EncodeError> {
    use rmpv::Value as Raw;
    if depth > MAX_DEPTH {
        return Err(EncodeError::TooDeep);
    }
    let all = |elements: &[Value], of: &Type| {
        elements
            .iter()
            .enumerate()
            .map(|(index, element)| raw(element, of, &path.index(index), depth + 1))
            .collect::<Result<Vec<_>, _>>()
            .map(Raw::Array)
    };
    match (of, value) {
        (_, Value::Null) => Ok(Raw::Nil),
        (_, Value::Unknown(refinement)) => Ok(refined::encode(refinement)),
        (Type::String, Value::String(text)) => Ok(Raw::from(normalised(text))),
        (Type::Bool, Value::Bool(truth)) => Ok(Raw::Boolean(*truth)),
        (Type::Number, Value::Number(number)) => Ok(raw_number(number)),
        (Type::List(element), Value::List(elements)) => all(elements, element),
        (Type::Set(element), Value::Set(elements)) => all(elements, element),
        (Type::Tuple(types), Value::Tuple(elements)) if types.len() == elements.len() => types
            .iter()
            .zip(elements)
            .enumerate()
            .map(|(index, (of, element))| raw(element, of, &path.index(index), depth + 1))
            .collect::<Result<Vec<_>, _>>()
            .map(Raw::Array),
        (Type::Map(element), Value::Map(entries)) => entries
            .iter()
            .map(|(key, value)| {
                Ok((Raw::from(normalised(key)), raw(value, element, &path.key(key), depth + 1)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Raw::Map),
        (Type::Object(types), Value::Object(attributes)) => {
            if let Some(extra) = attributes.keys().find(|name| !types.contains_key(*name)) {
                return Err(EncodeError::Unexpected(path.attr(extra)));
            }
            types
                .iter()
                .map(|(name, of)| {
                    let value = value.attr(name);
                    Ok((Raw::from(name.as_str()), raw(value, of, &path.attr(name), depth + 1)?))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Raw::Map)
        }
        (Type::Dynamic, Value::Dynamic(inner)) => {
            let value = raw(&inner.1, &inner.0, path, depth + 1)?;
            Ok(Raw::Array(vec![Raw::Binary(inner.0.to_json()), value]))
        }
        _ => Err(EncodeError::Kind { path: path.clone(), wanted: of.describe(), found: value.describe() }),
    }
}

/// As cty writes numbers: integer, else exact float, else text.
fn raw_number(number: &Number) -> rmpv::Value {
    if let Some(whole) = number.to_i64() {
        return whole.into();
    }
    match number.to_exact_f64() {
        Some(float) => float.into(),
        None => number.to_string().into(),
    }
}
