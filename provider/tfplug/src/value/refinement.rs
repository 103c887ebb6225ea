//! What is known of a value that is not known.

use super::{Number, Value};

/// What is known of an unknown value. Whatever a plan promises here, apply must keep.
///
/// Most unknowns promise nothing, so promises are behind a box: values stay small.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refinement(Option<Box<Promises>>);

/// Each promise; the default of each is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Promises {
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

impl From<Promises> for Refinement {
    fn from(promises: Promises) -> Self {
        Self((promises != Promises::default()).then(|| Box::new(promises)))
    }
}

impl Refinement {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Promises that it is not null.
    #[must_use]
    pub fn not_null(self) -> Self {
        Promises { not_null: true, ..self.into_promises() }.into()
    }

    /// Promises that it is a string that starts with `prefix`.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Promises { prefix: prefix.into(), ..self.into_promises() }.into()
    }

    /// Promises between how many and how many elements (both included) the collection has.
    #[must_use]
    pub fn length(self, least: u64, most: Option<u64>) -> Self {
        Promises { min_length: Some(least), max_length: most, ..self.into_promises() }.into()
    }

    /// Whether nothing is promised.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The promises, where there are any.
    pub(super) fn promises(&self) -> Option<&Promises> {
        self.0.as_deref()
    }

    fn into_promises(self) -> Promises {
        self.0.map(|promises| *promises).unwrap_or_default()
    }

    /// Whether `value` keeps every promise. An unknown does when it promises nothing that contradicts.
    pub fn admits(&self, value: &Value) -> bool {
        self.promises().is_none_or(|promises| promises.admit(value))
    }
}

impl Promises {
    fn admit(&self, value: &Value) -> bool {
        match value {
            Value::Null => !self.not_null,
            Value::Unknown(_) | Value::Bool(_) | Value::Object(_) => true,
            Value::Dynamic(inner) => self.admit(&inner.1),
            Value::String(text) => text.starts_with(&self.prefix),
            Value::Number(number) => {
                let above = |(bound, equal): &(Number, bool)| number > bound || (*equal && number == bound);
                let below = |(bound, equal): &(Number, bool)| number < bound || (*equal && number == bound);
                self.lower.as_ref().is_none_or(above) && self.upper.as_ref().is_none_or(below)
            }
            Value::List(elements) | Value::Tuple(elements) => self.admit_length(elements.len()),
            Value::Set(elements) => self.admit_length(elements.len()),
            Value::Map(entries) => self.admit_length(entries.len()),
        }
    }

    fn admit_length(&self, length: usize) -> bool {
        let length = length as u64;
        self.min_length.is_none_or(|least| length >= least)
            && self.max_length.is_none_or(|most| length <= most)
    }
}
