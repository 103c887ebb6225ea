//! Core's rules on a planned state, as it checks them after every plan.
//!
//! Source: terraform v1.11.4 internal/plans/objchange/plan_valid.go (the rules, not the code).

use std::collections::BTreeMap;

use super::Violation;
use super::compatible::correlate;
use crate::schema::{Attribute, Block, Kind, Nesting};
use crate::value::{Path, Value};

/// Every rule that `planned` breaks, given the prior state (`None` for a create) and the configuration.
/// Neither `config` nor `planned` is null: a destroy is not checked here.
pub fn check_plan(block: &Block, prior: Option<&Value>, config: &Value, planned: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    if planned.is_null() {
        found.push(Violation::new(&Path::new(), "is planned absent, but the configuration wants it"));
        return found;
    }
    if !planned.is_known() {
        found.push(Violation::new(&Path::new(), "is planned unknown as a whole"));
        return found;
    }
    object(
        block.attributes(),
        prior,
        config,
        planned,
        &Place { path: Path::new(), hidden: false },
        &mut found,
    );
    found
}

/// Where we are, and whether values may be shown.
struct Place {
    path: Path,
    hidden: bool,
}

impl Place {
    fn show(&self, value: &Value) -> String {
        if self.hidden { "(sensitive)".into() } else { format!("`{value}`") }
    }

    fn at(&self, path: Path) -> Self {
        Self { path, hidden: self.hidden }
    }
}

fn object(
    schema: &BTreeMap<String, Attribute>,
    prior: Option<&Value>,
    config: &Value,
    planned: &Value,
    place: &Place,
    found: &mut Vec<Violation>,
) {
    for (name, schema) in schema {
        let hidden = place.hidden || schema.is_sensitive() || schema.is_write_only();
        let place = Place { path: place.path.attr(name), hidden };
        let prior = prior.map(|object| object.attr(name)).filter(|value| !value.is_null());
        attribute(schema, prior, config.attr(name), planned.attr(name), &place, found);
    }
}

fn attribute(
    schema: &Attribute,
    prior: Option<&Value>,
    config: &Value,
    planned: &Value,
    place: &Place,
    found: &mut Vec<Violation>,
) {
    if schema.is_write_only() {
        if !planned.is_null() {
            found.push(Violation::new(&place.path, "is write-only and must be planned null"));
        }
        return;
    }
    // As configured; or kept, because it means the same; or left to the provider.
    if planned == config
        || (!config.is_null() && prior == Some(planned))
        || (config.is_null() && schema.is_computed())
    {
        return;
    }
    if config.is_null() {
        let text = format!("is not computed, so it must be planned null, not {}", place.show(planned));
        found.push(Violation::new(&place.path, text));
        return;
    }
    if let Kind::Nested { nesting, attributes } = schema.kind() {
        nested(*nesting, attributes, prior, config, planned, place, found);
        return;
    }
    let text = match prior {
        None => format!("is planned {}, but configured {}", place.show(planned), place.show(config)),
        Some(prior) => format!(
            "is planned {}, which is neither the configured {} nor the prior {}",
            place.show(planned),
            place.show(config),
            place.show(prior)
        ),
    };
    found.push(Violation::new(&place.path, text));
}

fn nested(
    nesting: Nesting,
    schema: &BTreeMap<String, Attribute>,
    prior: Option<&Value>,
    config: &Value,
    planned: &Value,
    place: &Place,
    found: &mut Vec<Violation>,
) {
    if planned.is_null() {
        found.push(Violation::new(&place.path, "is planned absent, but the configuration wants it"));
        return;
    }
    if !planned.is_known() || !config.is_known() {
        found.push(Violation::new(
            &place.path,
            "must be unknown exactly when the configuration is; plan its attributes unknown instead",
        ));
        return;
    }
    match nesting {
        Nesting::Single => object(schema, prior, config, planned, place, found),
        Nesting::List => {
            let (wanted, planned) = (slice(config), slice(planned));
            if !same_count(wanted.len(), planned.len(), place, found) {
                return;
            }
            let before = prior.map(slice).unwrap_or_default();
            for (index, (config, planned)) in wanted.iter().zip(planned).enumerate() {
                let place = place.at(place.path.index(index));
                element(schema, before.get(index), config, planned, &place, found);
            }
        }
        Nesting::Map => {
            for (key, config) in config.entries() {
                let place = place.at(place.path.key(key));
                match planned.as_map().and_then(|entries| entries.get(key)) {
                    None => found.push(Violation::new(&place.path, "is configured, but missing in the plan")),
                    Some(planned) => {
                        let prior = prior.map(|map| map.attr(key)).filter(|value| !value.is_null());
                        element(schema, prior, config, planned, &place, found);
                    }
                }
            }
            for (key, _) in planned.entries() {
                if config.as_map().is_some_and(|entries| !entries.contains_key(key)) {
                    found.push(Violation::new(&place.path.key(key), "is planned, but not configured"));
                }
            }
        }
        Nesting::Set => {
            let (wanted, elements) = (slice(config), slice(planned));
            if !same_count(wanted.len(), elements.len(), place, found) {
                return;
            }
            correlate(elements, wanted, &place.path, ("plan", "configuration"), found, |planned, config| {
                let mut inner = Vec::new();
                element(schema, None, config, planned, place, &mut inner);
                inner.is_empty()
            });
        }
    }
}

fn element(
    schema: &BTreeMap<String, Attribute>,
    prior: Option<&Value>,
    config: &Value,
    planned: &Value,
    place: &Place,
    found: &mut Vec<Violation>,
) {
    if planned == config {
        return;
    }
    if !planned.is_known() {
        found.push(Violation::new(&place.path, "must not be unknown itself; plan its attributes unknown"));
        return;
    }
    object(schema, prior, config, planned, place, found);
}

fn slice(value: &Value) -> &[Value] {
    value.as_slice().unwrap_or_default()
}

fn same_count(wanted: usize, planned: usize, place: &Place, found: &mut Vec<Violation>) -> bool {
    if wanted != planned {
        let text = format!("has {planned} elements in the plan, but {wanted} in the configuration");
        found.push(Violation::new(&place.path, text));
    }
    wanted == planned
}
