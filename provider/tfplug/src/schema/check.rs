//! The rules a schema itself must keep, so that Terraform never has to refuse or crash on it.
//!
//! Source: terraform v1.11.4 internal/configs/configschema/internal_validate.go.

use std::collections::BTreeMap;

use super::{Attribute, Block, Kind, Mode, Nesting};
use crate::plan::complete;
use crate::value::{Path, Type, Value};

/// Where a schema is used; only resources may have write-only attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A managed resource.
    Resource,
    /// Anything else.
    Other,
}

/// All problems of a block's schema, each with the attribute it is about. Always bugs of the provider.
pub fn check_schema(block: &Block, used_for: Use) -> Vec<String> {
    let mut problems = Vec::new();
    attributes(block.attributes(), &Path::new(), used_for, false, &mut problems);
    problems
}

fn attributes(
    all: &BTreeMap<String, Attribute>,
    path: &Path,
    used_for: Use,
    in_set: bool,
    problems: &mut Vec<String>,
) {
    for (name, attribute) in all {
        let path = path.attr(name);
        let mut problem = |text: &str| problems.push(format!("`{path}` {text}"));
        if !is_name(name) {
            problem("is no name: lower-case letters, digits and `_`, not starting with a digit");
        }
        if attribute.required && (attribute.optional || attribute.computed) {
            problem("is required, so it can be neither optional nor computed");
        }
        if attribute.write_only {
            if attribute.computed {
                problem("is write-only, so nothing may compute it");
            }
            if attribute.requires_replace || attribute.equivalent.is_some() {
                problem("is write-only, so no change of it can be seen");
            }
            if used_for == Use::Other {
                problem("is write-only outside of a resource");
            }
            if in_set {
                problem("is write-only inside a set");
            }
        }
        if attribute.mode() == Mode::Computed && attribute.requires_replace {
            problem("is only computed, so no configuration can change it");
        }
        let of_its_type = |default: &Value| {
            default.is_wholly_known() && complete(default.clone(), &attribute.implied_type()).is_ok()
        };
        if attribute.default.as_ref().is_some_and(|default| !of_its_type(default)) {
            problem("has a default that is not of its type");
        }
        match &attribute.kind {
            Kind::Plain(of) => {
                if set_holds_dynamic(of) || (in_set && of.has_dynamic()) {
                    problem("holds values of any type in a set");
                }
            }
            Kind::Nested { nesting, attributes: inner } => {
                if inner.is_empty() {
                    problem("has no attributes");
                }
                attributes(inner, &path, used_for, in_set || *nesting == Nesting::Set, problems);
            }
        }
    }
}

fn set_holds_dynamic(of: &Type) -> bool {
    match of {
        Type::String | Type::Number | Type::Bool | Type::Dynamic => false,
        Type::Set(element) => element.has_dynamic(),
        Type::List(element) | Type::Map(element) => set_holds_dynamic(element),
        Type::Tuple(elements) => elements.iter().any(set_holds_dynamic),
        Type::Object(attributes) => attributes.values().any(set_holds_dynamic),
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
