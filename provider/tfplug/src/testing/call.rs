//! Reading answers the way Terraform does.

use crate::convert::decode;
use crate::plan::Violation;
use crate::proto::tfplugin6 as wire;
use crate::value::{Path, Step, Type, Value};
use crate::{Diagnostic, Diagnostics, PrivateState, Severity};

/// The diagnostics of an answer.
pub(super) fn from_wire(all: Vec<wire::Diagnostic>) -> Diagnostics {
    all.into_iter()
        .map(|one| {
            let path = one.attribute.as_ref().map(path_from_wire).unwrap_or_default();
            let severity = match one.severity() {
                wire::diagnostic::Severity::Warning => Severity::Warning,
                wire::diagnostic::Severity::Error | wire::diagnostic::Severity::Invalid => Severity::Error,
            };
            let wire::Diagnostic { severity: _, summary, detail, attribute: _ } = one;
            Diagnostic { severity, summary, detail, path }
        })
        .collect()
}

/// The warnings of an answer; all of it when there is an error.
pub(super) fn findings(all: Vec<wire::Diagnostic>) -> Result<Diagnostics, Diagnostics> {
    let found = from_wire(all);
    if found.has_errors() { Err(found) } else { Ok(found) }
}

pub(super) fn path_from_wire(path: &wire::AttributePath) -> Path {
    use wire::attribute_path::step::Selector;
    path.steps
        .iter()
        .filter_map(|step| step.selector.clone())
        .map(|selector| match selector {
            Selector::AttributeName(name) => Step::Attribute(name),
            Selector::ElementKeyString(key) => Step::Key(key),
            Selector::ElementKeyInt(index) => Step::Index(index),
        })
        .collect()
}

/// The value of an answer.
pub(super) fn value(dynamic: Option<&wire::DynamicValue>, of: &Type) -> Result<Value, Diagnostics> {
    decode(dynamic, of)
}

/// Private bytes of a request.
pub(super) fn bytes(private: Option<&PrivateState>) -> Vec<u8> {
    private.map(|private| private.as_bytes().to_vec()).unwrap_or_default()
}

/// Core's error about broken rules, if there are any.
pub(super) fn refuse(summary: &str, broken: &[Violation]) -> Result<(), Diagnostics> {
    if broken.is_empty() {
        return Ok(());
    }
    Err(broken.iter().map(|one| Diagnostic::error(summary, &one.text).at(one.path.clone())).collect())
}
