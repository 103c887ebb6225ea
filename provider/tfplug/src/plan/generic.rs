//! The generic plan: what follows from configuration, prior state and schema alone.
//!
//! It is computed from configuration and prior state, not from the proposed state core sends along: that
//! one still holds write-only values and knows neither defaults nor what means the same.

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, Kind, Nesting, WhenUnset};
use crate::value::{Path, Value};

/// What the generic rules plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The planned state.
    pub value: Value,
    /// Attributes marked `requires_replace` whose value the configuration changes, each once. Inside a set
    /// the path is that of the set.
    pub requires_replace: Vec<Path>,
}

/// The planned state of a create (`prior` is `None`) or update.
///
/// - What the configuration sets is planned, or the prior value where that means the same.
/// - What it leaves out is the default, or null, or, for a computed attribute, the prior value; as soon as
///   anything else changes, computed attributes are unknown unless they say `use_state_for_unknown`.
/// - Write-only attributes are null.
///
/// Planning what was just applied changes nothing.
pub fn plan(block: &Block, prior: Option<&Value>, config: &Value) -> Planned {
    if let Some(prior) = prior {
        let mut settled = Pass { changes: false, requires_replace: Vec::new() };
        let value = settled.object(block.attributes(), Some(prior), config, &Path::new());
        if value == *prior {
            return Planned { value, requires_replace: Vec::new() };
        }
    }
    let mut pass = Pass { changes: true, requires_replace: Vec::new() };
    let value = pass.object(block.attributes(), prior, config, &Path::new());
    pass.requires_replace.dedup();
    Planned { value, requires_replace: pass.requires_replace }
}

struct Pass {
    /// Whether something of the resource is known to change.
    changes: bool,
    requires_replace: Vec<Path>,
}

impl Pass {
    /// An object, new when `prior` is `None`.
    fn object(
        &mut self,
        schema: &BTreeMap<String, Attribute>,
        prior: Option<&Value>,
        config: &Value,
        path: &Path,
    ) -> Value {
        Value::object(schema.iter().map(|(name, attribute)| {
            let prior = prior.map(|object| object.attr(name));
            (name.clone(), self.attribute(attribute, prior, config.attr(name), &path.attr(name)))
        }))
    }

    /// An attribute; `prior` is `None` when the object it is in is new.
    fn attribute(
        &mut self,
        attribute: &Attribute,
        prior: Option<&Value>,
        config: &Value,
        path: &Path,
    ) -> Value {
        if attribute.is_write_only() {
            return Value::Null;
        }
        if config.is_null() && attribute.is_computed() && attribute.default_value().is_none() {
            return self.unset(attribute, prior);
        }
        let value = match attribute.default_value() {
            Some(default) if config.is_null() => default.clone(),
            _ => self.configured(attribute, prior, config, path),
        };
        // A default that means the same as the prior value keeps it, like a configured value.
        let value = match prior {
            Some(prior) if attribute.means_the_same(&value, prior) => prior.clone(),
            _ => value,
        };
        if attribute.replaces() && prior.is_some_and(|prior| *prior != value) {
            self.requires_replace.push(path.clone());
        }
        value
    }

    /// A computed attribute that the configuration leaves out.
    fn unset(&self, attribute: &Attribute, prior: Option<&Value>) -> Value {
        match prior {
            Some(prior) if !self.changes => prior.clone(),
            Some(prior) if attribute.when_unset() == WhenUnset::Prior && !prior.is_null() => prior.clone(),
            _ => Value::unknown(),
        }
    }

    /// An attribute by its configuration, which may be null or unknown.
    fn configured(
        &mut self,
        attribute: &Attribute,
        prior: Option<&Value>,
        config: &Value,
        path: &Path,
    ) -> Value {
        let Kind::Nested { nesting, attributes } = attribute.kind() else { return config.clone() };
        let prior = prior.filter(|prior| !prior.is_null() && prior.is_known());
        match (nesting, config) {
            (Nesting::Single, Value::Object(_)) => self.object(attributes, prior, config, path),
            (Nesting::List, Value::List(elements)) => {
                let before = prior.and_then(Value::as_slice).unwrap_or_default();
                let planned = elements.iter().enumerate().map(|(index, element)| {
                    self.element(attributes, before.get(index), element, &path.index(index))
                });
                Value::List(planned.collect())
            }
            (Nesting::Map, Value::Map(entries)) => {
                let before = prior.and_then(Value::as_map);
                Value::map(entries.iter().map(|(key, entry)| {
                    let prior = before.and_then(|before| before.get(key));
                    (key.clone(), self.element(attributes, prior, entry, &path.key(key)))
                }))
            }
            (Nesting::Set, Value::Set(elements)) => {
                let before = prior.and_then(Value::as_slice).unwrap_or_default();
                let planned: Vec<Value> = elements
                    .iter()
                    .map(|element| {
                        let prior = before.iter().find(|prior| could_be(attributes, prior, element));
                        let mut inner = Self { changes: self.changes, requires_replace: Vec::new() };
                        inner.element(attributes, prior, element, path)
                    })
                    .collect();
                let planned = Value::set(planned);
                let replaces = attributes.values().any(Attribute::replaces);
                if replaces && prior.is_some_and(|prior| *prior != planned) {
                    self.requires_replace.push(path.clone());
                }
                planned
            }
            // Null or unknown.
            _ => config.clone(),
        }
    }

    /// An element of a nested collection: an object, or unknown or null as written.
    fn element(
        &mut self,
        schema: &BTreeMap<String, Attribute>,
        prior: Option<&Value>,
        config: &Value,
        path: &Path,
    ) -> Value {
        match config {
            Value::Object(_) => self.object(schema, prior.filter(|prior| !prior.is_null()), config, path),
            _ => config.clone(),
        }
    }
}

/// Whether the set element `prior` may have come from `config`: they agree in all the configuration sets.
fn could_be(schema: &BTreeMap<String, Attribute>, prior: &Value, config: &Value) -> bool {
    schema.iter().all(|(name, attribute)| {
        let (before, wanted) = (prior.attr(name), config.attr(name));
        if wanted.is_null() {
            return attribute.is_computed() || before.is_null();
        }
        before == wanted || attribute.means_the_same(before, wanted)
    })
}
