//! Between wire messages and our own types; the only place that knows both. Decides nothing.

mod schema;

pub(crate) use schema::{function, schema};

use std::time::SystemTime;

use crate::proto::tfplugin6 as wire;
use crate::value::{self, Path, Step, Type, Value};
use crate::{Diagnostic, Diagnostics, Severity};

/// A value as Terraform sent it; an absent one is null.
pub(crate) fn decode(dynamic: Option<&wire::DynamicValue>, of: &Type) -> Result<Value, Diagnostics> {
    let Some(wire::DynamicValue { msgpack, json }) = dynamic else { return Ok(Value::Null) };
    let unreadable = |error: &dyn std::error::Error| {
        Diagnostics::from(Diagnostic::error(
            "Terraform sent a value that cannot be read",
            format!("{}. This is a bug in the provider or in Terraform.", chain(error)),
        ))
    };
    if !msgpack.is_empty() {
        value::decode(msgpack, of).map_err(|error| unreadable(&error))
    } else if !json.is_empty() {
        value::decode_state(json, of).map_err(|error| unreadable(&error))
    } else {
        Ok(Value::Null)
    }
}

/// A value for Terraform.
pub(crate) fn encode(value: &Value, of: &Type) -> Result<wire::DynamicValue, Diagnostics> {
    match value::encode(value, of) {
        Ok(msgpack) => Ok(wire::DynamicValue { msgpack, json: Vec::new() }),
        Err(error) => Err(bug("an answer cannot be encoded", &[chain(&error)]).into()),
    }
}

/// Null, for a state that does not exist.
pub(crate) fn null() -> wire::DynamicValue {
    wire::DynamicValue { msgpack: vec![0xc0], json: Vec::new() }
}

/// An error that tells the user that it is not their fault. `found` says what is wrong.
pub(crate) fn bug<T: ToString>(what: &str, found: &[T]) -> Diagnostic {
    let found: Vec<String> = found.iter().map(|one| format!("- {}", one.to_string())).collect();
    Diagnostic::error(
        format!("Bug in the provider: {what}"),
        format!(
            "{}\n\nThis is not caused by your configuration. Please report it to the provider's developers.",
            found.join("\n")
        ),
    )
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Diagnostics for Terraform. It shows the line of an attribute, but of a nested one only the line of the
/// block, so the detail names what is nested.
pub(crate) fn diagnostics(all: Diagnostics) -> Vec<wire::Diagnostic> {
    all.into_iter()
        .map(|Diagnostic { severity, summary, detail, path }| wire::Diagnostic {
            severity: match severity {
                Severity::Error => wire::diagnostic::Severity::Error,
                Severity::Warning => wire::diagnostic::Severity::Warning,
            }
            .into(),
            summary,
            detail: if path.steps().len() > 1 { located(detail, &path) } else { detail },
            attribute: (!path.is_empty()).then(|| attribute_path(&path)),
        })
        .collect()
}

fn located(detail: String, path: &Path) -> String {
    let gap = if detail.is_empty() { "" } else { "\n\n" };
    format!("{detail}{gap}This is about `{path}`.")
}

/// A path for Terraform.
pub(crate) fn attribute_path(path: &Path) -> wire::AttributePath {
    use wire::attribute_path::step::Selector;
    let steps = path.steps().iter().map(|step| {
        let selector = match step {
            Step::Attribute(name) => Selector::AttributeName(name.clone()),
            Step::Key(key) => Selector::ElementKeyString(key.clone()),
            Step::Index(index) => Selector::ElementKeyInt(*index),
        };
        wire::attribute_path::Step { selector: Some(selector) }
    });
    wire::AttributePath { steps: steps.collect() }
}

/// A time for Terraform. Times before 1970 become 1970, which to Terraform is "at once" all the same.
pub(crate) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    prost_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).expect("less than a second of nanoseconds fits"),
    }
}

/// What this server can do beyond the base protocol.
pub(crate) fn server_capabilities() -> wire::ServerCapabilities {
    wire::ServerCapabilities {
        plan_destroy: true,
        get_provider_schema_optional: true,
        move_resource_state: true,
    }
}
