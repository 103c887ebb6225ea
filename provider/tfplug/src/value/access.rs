//! Short ways into a value, for resource code.

use super::{Number, Path, Refinement, Step, Value};

/// What a missing attribute reads as.
static NULL: Value = Value::Null;

impl Value {
    /// An unknown of which nothing is known.
    pub fn unknown() -> Self {
        Self::Unknown(Refinement::new())
    }

    /// An object of these attributes.
    pub fn object<K: Into<String>>(attributes: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A map of these entries.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// A list of these elements.
    pub fn list(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::List(elements.into_iter().collect())
    }

    /// A set of these elements.
    pub fn set(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::Set(elements.into_iter().collect())
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Dynamic(inner) => inner.1.is_null(),
            _ => false,
        }
    }

    /// Whether it is not unknown itself; parts of it may be.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Dynamic(inner) => inner.1.is_known(),
            _ => true,
        }
    }

    /// Whether nothing in it is unknown.
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::List(elements) | Self::Tuple(elements) => elements.iter().all(Self::is_wholly_known),
            Self::Set(elements) => elements.iter().all(Self::is_wholly_known),
            Self::Map(entries) | Self::Object(entries) => entries.values().all(Self::is_wholly_known),
            Self::Dynamic(inner) => inner.1.is_wholly_known(),
        }
    }

    /// The attribute `name` of an object or the entry `name` of a map. Null when there is none or when the
    /// value is null; unknown when the value is unknown.
    pub fn attr(&self, name: &str) -> &Value {
        match self {
            Self::Object(entries) | Self::Map(entries) => entries.get(name).unwrap_or(&NULL),
            Self::Unknown(_) => self,
            Self::Dynamic(inner) => inner.1.attr(name),
            _ => &NULL,
        }
    }

    /// The value at `path`; `None` when there is no such place.
    pub fn at(&self, path: &Path) -> Option<&Value> {
        let mut here = self;
        for step in path.steps() {
            here = match (here, step) {
                (Self::Object(entries), Step::Attribute(name)) => entries.get(name)?,
                (Self::Map(entries), Step::Key(key)) => entries.get(key)?,
                (Self::List(elements) | Self::Tuple(elements), Step::Index(index)) => {
                    elements.get(usize::try_from(*index).ok()?)?
                }
                _ => return None,
            };
        }
        Some(here)
    }

    /// The same object with attribute `name` set. Any other kind of value becomes an object.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// Sets attribute `name` of an object. Any other kind of value becomes an object.
    pub fn set_attr(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        if let Self::Object(attributes) = self {
            attributes.insert(name.into(), value.into());
        } else {
            *self = Self::object([(name.into(), value.into())]);
        }
    }

    /// The string; `None` for anything else, also null and unknown.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Dynamic(inner) => inner.1.as_str(),
            _ => None,
        }
    }

    /// The bool; `None` for anything else, also null and unknown.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::Dynamic(inner) => inner.1.as_bool(),
            _ => None,
        }
    }

    /// The number; `None` for anything else, also null and unknown.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            Self::Dynamic(inner) => inner.1.as_number(),
            _ => None,
        }
    }

    /// The whole number; `None` for anything else, also fractions and what does not fit.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::to_i64)
    }

    /// The whole number that is not negative; `None` for anything else.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number().and_then(Number::to_u64)
    }

    /// The elements of a list, tuple or set; `None` for anything else, also null and unknown.
    pub fn as_slice(&self) -> Option<&[Value]> {
        match self {
            Self::List(elements) | Self::Tuple(elements) => Some(elements),
            Self::Set(elements) => Some(elements),
            Self::Dynamic(inner) => inner.1.as_slice(),
            _ => None,
        }
    }

    /// The entries of a map or object; `None` for anything else, also null and unknown.
    pub fn as_map(&self) -> Option<&std::collections::BTreeMap<String, Value>> {
        match self {
            Self::Map(entries) | Self::Object(entries) => Some(entries),
            Self::Dynamic(inner) => inner.1.as_map(),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set; none for null, unknown and anything else.
    pub fn elements(&self) -> impl Iterator<Item = &Value> {
        self.as_slice().unwrap_or_default().iter()
    }

    /// The entries of a map or object in key order; none for null, unknown and anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.as_map().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}
