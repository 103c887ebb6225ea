//! The types of values and their JSON form, as schemas and dynamic values carry it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value as Json, json};
use thiserror::Error;

use super::{MAX_DEPTH, Value};

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// A string.
    String,
    /// A number.
    Number,
    /// A bool.
    Bool,
    /// Any type, told with the value.
    Dynamic,
    /// Elements of one type, in order.
    List(Box<Type>),
    /// Elements of one type, without order or repetition.
    Set(Box<Type>),
    /// Values of one type by key.
    Map(Box<Type>),
    /// Elements of a type each, in order.
    Tuple(Vec<Type>),
    /// Values of a type each by attribute name.
    Object(BTreeMap<String, Type>),
}

/// Why a JSON text is no [`Type`].
#[derive(Debug, Error)]
pub enum TypeError {
    /// Not JSON at all.
    #[error("type is not json")]
    Json(#[source] serde_json::Error),
    /// JSON, but no type.
    #[error("`{0}` is not a type")]
    Shape(String),
    /// Nested too deep.
    #[error("type nests deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Self {
        Self::List(Box::new(element))
    }

    /// A set of `element`.
    pub fn set(element: Type) -> Self {
        Self::Set(Box::new(element))
    }

    /// A map of `element`.
    pub fn map(element: Type) -> Self {
        Self::Map(Box::new(element))
    }

    /// An object of these attributes.
    pub fn object<K: Into<String>>(attributes: impl IntoIterator<Item = (K, Type)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, of)| (name.into(), of)).collect())
    }

    /// Whether a value of any type may stand somewhere in it.
    pub fn has_dynamic(&self) -> bool {
        match self {
            Self::Dynamic => true,
            Self::String | Self::Number | Self::Bool => false,
            Self::List(element) | Self::Set(element) | Self::Map(element) => element.has_dynamic(),
            Self::Tuple(elements) => elements.iter().any(Self::has_dynamic),
            Self::Object(attributes) => attributes.values().any(Self::has_dynamic),
        }
    }

    /// The JSON form, e.g. `["list","string"]`.
    pub fn to_json(&self) -> Vec<u8> {
        self.json().to_string().into_bytes()
    }

    fn json(&self) -> Json {
        match self {
            Self::String => json!("string"),
            Self::Number => json!("number"),
            Self::Bool => json!("bool"),
            Self::Dynamic => json!("dynamic"),
            Self::List(element) => json!(["list", element.json()]),
            Self::Set(element) => json!(["set", element.json()]),
            Self::Map(element) => json!(["map", element.json()]),
            Self::Tuple(elements) => json!(["tuple", elements.iter().map(Self::json).collect::<Vec<_>>()]),
            Self::Object(attributes) => {
                let attributes: serde_json::Map<String, Json> =
                    attributes.iter().map(|(name, of)| (name.clone(), of.json())).collect();
                json!(["object", attributes])
            }
        }
    }

    /// Reads the JSON form. The list of optional attributes an object type may carry is ignored.
    ///
    /// # Errors
    /// When `bytes` are no type, or one that nests too deep.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TypeError> {
        // serde_json itself refuses more than 128 levels; each of ours takes two.
        let json: Json = serde_json::from_slice(bytes).map_err(TypeError::Json)?;
        Self::read(&json, 0)
    }

    fn read(json: &Json, depth: usize) -> Result<Self, TypeError> {
        if depth > MAX_DEPTH {
            return Err(TypeError::TooDeep);
        }
        let shape = || TypeError::Shape(json.to_string().chars().take(60).collect());
        match json {
            Json::String(name) => match name.as_str() {
                "string" => Ok(Self::String),
                "number" => Ok(Self::Number),
                "bool" => Ok(Self::Bool),
                "dynamic" => Ok(Self::Dynamic),
                _ => Err(shape()),
            },
            Json::Array(parts) => {
                match (parts.first().and_then(Json::as_str), parts.get(1..).unwrap_or_default()) {
                    (Some("list"), [element]) => Ok(Self::list(Self::read(element, depth + 1)?)),
                    (Some("set"), [element]) => Ok(Self::set(Self::read(element, depth + 1)?)),
                    (Some("map"), [element]) => Ok(Self::map(Self::read(element, depth + 1)?)),
                    (Some("tuple"), [Json::Array(elements)]) => elements
                        .iter()
                        .map(|element| Self::read(element, depth + 1))
                        .collect::<Result<_, _>>()
                        .map(Self::Tuple),
                    (
                        Some("object"),
                        [Json::Object(attributes)] | [Json::Object(attributes), Json::Array(_)],
                    ) => attributes
                        .iter()
                        .map(|(name, of)| Ok((name.clone(), Self::read(of, depth + 1)?)))
                        .collect::<Result<_, _>>()
                        .map(Self::Object),
                    _ => Err(shape()),
                }
            }
            _ => Err(shape()),
        }
    }

    /// What kind of thing it is, for messages: `string`, `list of number`, ...
    pub fn describe(&self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Number => "number".into(),
            Self::Bool => "bool".into(),
            Self::Dynamic => "any".into(),
            Self::List(element) => format!("list of {}", element.describe()),
            Self::Set(element) => format!("set of {}", element.describe()),
            Self::Map(element) => format!("map of {}", element.describe()),
            Self::Tuple(_) => "tuple".into(),
            Self::Object(_) => "object".into(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.describe())
    }
}

impl Value {
    /// What kind of value it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unknown(_) => "unknown",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Map(_) => "map",
            Self::Object(_) => "object",
            Self::Tuple(_) => "tuple",
            Self::Dynamic(_) => "dynamic",
        }
    }
}
