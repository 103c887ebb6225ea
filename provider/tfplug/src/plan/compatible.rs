//! Core's rules on the state after apply against the plan, and on the second plan against the first.
//!
//! Source: terraform v1.11.4 internal/plans/objchange/compatible.go (the rules, not the code).

use crate::schema::{Attribute, Block, Kind};
use crate::value::{Path, Value};

use super::Violation;

/// Every place where `actual` breaks what `planned` promised: known values are the same, unknown ones
/// became anything within their refinement. Unknowns in `actual` are allowed where the plan had them, so
/// that a second plan can be checked too; after apply [`super::check_wholly_known`] is asked as well.
pub fn check_result(block: &Block, planned: &Value, actual: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    let root = Path::new();
    match (planned.is_null(), actual.is_null()) {
        (true, true) => return found,
        (true, false) => found.push(Violation::new(&root, "was planned absent, but is present")),
        (false, true) => found.push(Violation::new(&root, "was planned present, but is absent")),
        (false, false) => {}
    }
    if !found.is_empty() {
        return found;
    }
    for (name, attribute) in block.attributes() {
        let hidden = holds_secrets(attribute);
        value(planned.attr(name), actual.attr(name), &root.attr(name), hidden, &mut found);
    }
    found
}

fn holds_secrets(attribute: &Attribute) -> bool {
    attribute.is_sensitive()
        || match attribute.kind() {
            Kind::Plain(_) => false,
            Kind::Nested { attributes, .. } => attributes.values().any(holds_secrets),
        }
}

fn show(value: &Value, hidden: bool) -> String {
    if hidden { "(sensitive)".into() } else { format!("`{value}`") }
}

fn value(planned: &Value, actual: &Value, path: &Path, hidden: bool, found: &mut Vec<Violation>) {
    let was_but = |planned: &Value, actual: &Value| {
        Violation::new(path, format!("was {}, but now {}", show(planned, hidden), show(actual, hidden)))
    };
    match (planned, actual) {
        (Value::Unknown(refinement), actual) => {
            if !refinement.admits(actual) {
                let text = format!("is {}, against what its unknown promised", show(actual, hidden));
                found.push(Violation::new(path, text));
            }
        }
        (_, Value::Unknown(_)) => {
            found.push(Violation::new(path, "was known in the plan, but is unknown now"));
        }
        (Value::List(before), Value::List(after)) | (Value::Tuple(before), Value::Tuple(after)) => {
            for (index, planned) in before.iter().enumerate() {
                match after.get(index) {
                    Some(actual) => value(planned, actual, &path.index(index), hidden, found),
                    None => found.push(Violation::new(&path.index(index), "has vanished")),
                }
            }
            for index in before.len()..after.len() {
                found.push(Violation::new(&path.index(index), "has appeared, but was not planned"));
            }
        }
        (Value::Map(before), Value::Map(after)) | (Value::Object(before), Value::Object(after)) => {
            let is_map = matches!(planned, Value::Map(_));
            let here = |name: &str| if is_map { path.key(name) } else { path.attr(name) };
            for (name, planned) in before {
                match after.get(name) {
                    Some(actual) => value(planned, actual, &here(name), hidden, found),
                    None => found.push(Violation::new(&here(name), "has vanished")),
                }
            }
            for name in after.keys().filter(|name| !before.contains_key(*name)) {
                found.push(Violation::new(&here(name), "has appeared, but was not planned"));
            }
        }
        (Value::Set(before), Value::Set(after)) => {
            correlate(before, after, path, ("plan", "result"), found, |planned, actual| {
                let mut inner = Vec::new();
                value(planned, actual, path, hidden, &mut inner);
                inner.is_empty()
            });
            // Elements may fall together once they are known, never multiply.
            if after.len() > before.len() {
                let text = format!("has {} elements, but {} were planned", after.len(), before.len());
                found.push(Violation::new(path, text));
            }
        }
        (Value::Dynamic(before), Value::Dynamic(after)) => {
            if before.0 == after.0 {
                value(&before.1, &after.1, path, hidden, found);
            } else {
                let text = format!("was planned as {}, but is {}", before.0, after.0);
                found.push(Violation::new(path, text));
            }
        }
        (planned, actual) => {
            if planned != actual {
                found.push(was_but(planned, actual));
            }
        }
    }
}

/// Finds elements of one set that nothing in the other can stand for. Elements have no identity, so each
/// side only needs at least one partner. `names` says what the two sides are, for messages.
pub(super) fn correlate(
    left: &[Value],
    right: &[Value],
    path: &Path,
    names: (&str, &str),
    found: &mut Vec<Violation>,
    mut matches: impl FnMut(&Value, &Value) -> bool,
) {
    let mut left_found = vec![false; left.len()];
    let mut right_found = vec![false; right.len()];
    for (a, left_found) in left.iter().zip(&mut left_found) {
        for (b, right_found) in right.iter().zip(&mut right_found) {
            if matches(a, b) {
                *left_found = true;
                *right_found = true;
            }
        }
    }
    let lonely = |found: &[bool]| found.iter().filter(|found| !**found).count();
    for (count, from, to) in
        [(lonely(&left_found), names.0, names.1), (lonely(&right_found), names.1, names.0)]
    {
        if count > 0 {
            let text = format!("has {count} elements in the {from} that match none in the {to}");
            found.push(Violation::new(path, text));
            return;
        }
    }
}
