//! `UpgradeResourceState`: stored state into the current schema; called for every instance on every run.

use super::answer::stored;
use crate::convert::{diagnostics, encode};
use crate::engine::Engine;
use crate::proto::tfplugin6::RawState;
use crate::proto::tfplugin6::upgrade_resource_state::{Request, Response};
use crate::value::Value;
use crate::{Diagnostic, Diagnostics, UpgradeRequest};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, version, raw_state } = request;
    let entry = engine.resource(type_name)?;
    let json = raw_json(raw_state.as_ref())?;
    let upgrade = UpgradeRequest { version: *version, json };
    let state = entry.inner.upgrade_state(upgrade).await.map_err(|failure| failure.diagnostics)?;
    let state = stored(entry, state, &Value::Null)?;
    Ok(Response { upgraded_state: Some(encode(&state, &entry.of)?), diagnostics: Vec::new() })
}

/// The JSON of a stored state. The form from before Terraform 0.12 is refused.
pub(super) fn raw_json(raw: Option<&RawState>) -> Result<Vec<u8>, Diagnostics> {
    match raw {
        Some(RawState { json, .. }) if !json.is_empty() => Ok(json.clone()),
        _ => Err(Diagnostic::error(
            "State cannot be read",
            "It was stored by Terraform before 0.12, or is empty. Import the object instead.",
        )
        .into()),
    }
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { upgraded_state: None, diagnostics: diagnostics(found) }
}
