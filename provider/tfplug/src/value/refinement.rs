//! What is known of a value that is not known.

use super::{Number, Value};

/// What is known of an unknown value. Whatever a plan promises here, apply must keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refinement {
    /// It will not be null.
    pub(super) not_null: bool,
    /// The string will start with this; empty promises nothing.
    pub(super) prefix: String,
    /// The number will be at least this; the bool says whether this itself is allowed.
    pub(super) lower: Option<(Number, bool)>,
    /// The number will be at most this; the bool says whether this itself is allowed.
    pub(super) upper: Option<(Number, bool)>,
    /// The collection will have at least so many elements.
    pub(super) min_length: Option<u64>,
    /// The collection will have at most so many elements.
    pub(super) max_length: Option<u64>,
}

impl Refinement {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Promises that it is not null.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.not_null = true;
        self
    }

    /// Promises that it is a string that starts with `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Promises between how many and how many elements (both included) the collection has.
    #[must_use]
    pub fn length(mut self, least: u64, most: Option<u64>) -> Self {
        self.min_length = Some(least);
        self.max_length = most;
        self
    }

    /// Whether nothing is promised.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `value` keeps every promise. An unknown does when it promises nothing that contradicts.
    pub fn admits(&self, value: &Value) -> bool {
        match value {
            Value::Null => !self.not_null,
            Value::Unknown(_) => true,
            Value::Dynamic(inner) => self.admits(&inner.1),
            Value::String(text) => text.starts_with(&self.prefix),
            Value::Number(number) => {
                self.lower.as_ref().is_none_or(|(bound, equal)| number > bound || (*equal && number == bound))
                    && self
                        .upper
                        .as_ref()
                        .is_none_or(|(bound, equal)| number < bound || (*equal && number == bound))
            }
            Value::List(elements) | Value::Tuple(elements) => self.admits_length(elements.len()),
            Value::Set(elements) => self.admits_length(elements.len()),
            Value::Map(entries) => self.admits_length(entries.len()),
            Value::Bool(_) | Value::Object(_) => true,
        }
    }

    fn admits_length(&self, length: usize) -> bool {
        let length = length as u64;
        self.min_length.is_none_or(|least| length >= least)
            && self.max_length.is_none_or(|most| length <= most)
    }
}
