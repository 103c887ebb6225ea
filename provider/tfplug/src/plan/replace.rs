//! Core's rule on the attributes that ask for replacement.
//!
//! Source: terraform v1.11.4 internal/terraform/node_resource_abstract_instance.go: each path must exist in
//! the prior or the planned state.

use super::Violation;
use crate::schema::{Block, Kind};
use crate::value::{Path, Step, Value};

/// Every path of `requires_replace` that is neither in the prior (`None` for a create) nor in the planned
/// state.
pub fn check_replace_paths(
    block: &Block,
    prior: Option<&Value>,
    planned: &Value,
    requires_replace: &[Path],
) -> Vec<Violation> {
    requires_replace
        .iter()
        .filter(|path| planned.at(path).is_none() && prior.is_none_or(|prior| prior.at(path).is_none()))
        .map(|path| {
            let known = matches!(path.steps().first(), Some(Step::Attribute(name))
                if block.attributes().contains_key(name));
            let through_set = passes_set(block, path);
            let text = match (known, through_set) {
                (false, _) => "asks for replacement, but is no attribute",
                (true, true) => "asks for replacement inside a set; name the set itself",
                (true, false) => "asks for replacement, but is in neither the prior nor the planned state",
            };
            Violation::new(path, text)
        })
        .collect()
}

fn passes_set(block: &Block, path: &Path) -> bool {
    let mut attributes = block.attributes();
    let mut steps = path.steps().iter().peekable();
    while let Some(step) = steps.next() {
        let Step::Attribute(name) = step else { continue };
        let Some(attribute) = attributes.get(name) else { return false };
        let is_set = matches!(attribute.implied_type(), crate::value::Type::Set(_));
        if is_set && steps.peek().is_some() {
            return true;
        }
        let Kind::Nested { attributes: inner, .. } = attribute.kind() else { return false };
        attributes = inner;
    }
    false
}
