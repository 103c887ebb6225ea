//! `ValidateEphemeralResourceConfig`: checks an `ephemeral` block before anything is planned. The configuration may
//! hold unknowns.

use crate::Diagnostics;
use crate::convert::{decode, diagnostics};
use crate::engine::Engine;
use crate::proto::tfplugin6::validate_ephemeral_resource_config::{Request, Response};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let entry = engine.ephemeral_resource(&request.type_name)?;
    let config = decode(request.config.as_ref(), &entry.of)?;
    let found = entry.inner.validate(&config).await;
    Ok(Response { diagnostics: diagnostics(found) })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found) }
}
