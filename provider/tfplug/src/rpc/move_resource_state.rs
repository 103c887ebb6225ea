//! `MoveResourceState`: takes over the state of another resource type for a `moved` block.

use super::answer::stored;
use super::upgrade_resource_state::raw_json;
use crate::convert::{diagnostics, encode};
use crate::engine::Engine;
use crate::proto::tfplugin6::move_resource_state::{Request, Response};
use crate::value::Value;
use crate::{Diagnostics, MoveRequest, Moved};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request {
        source_provider_address,
        source_type_name,
        source_schema_version,
        source_state,
        target_type_name,
        source_private,
    } = request;
    let entry = engine.resource(target_type_name)?;
    let moving = MoveRequest {
        source_provider: source_provider_address.clone(),
        source_type: source_type_name.clone(),
        source_version: *source_schema_version,
        source_json: raw_json(source_state.as_ref())?,
        source_private: source_private.clone().into(),
        stop: engine.stop.clone(),
    };
    let Moved { state, private, diagnostics: found } =
        entry.inner.move_state(moving).await.map_err(|failure| failure.diagnostics)?;
    let state = stored(entry, state, &Value::Null)?;
    Ok(Response {
        target_state: Some(encode(&state, &entry.of)?),
        diagnostics: diagnostics(found),
        target_private: private.into_bytes(),
    })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found), ..Response::default() }
}
