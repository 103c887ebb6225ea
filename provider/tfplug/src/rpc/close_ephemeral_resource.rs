//! `CloseEphemeralResource`: ends a value, also after cancellation.

use crate::convert::diagnostics;
use crate::engine::Engine;
use crate::proto::tfplugin6::close_ephemeral_resource::{Request, Response};
use crate::{CloseRequest, Diagnostics};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, private } = request;
    let entry = engine.ephemeral_resource(type_name)?;
    let close =
        CloseRequest { private: private.clone().unwrap_or_default().into(), stop: engine.stop.clone() };
    let found = entry.inner.close(close).await;
    Ok(Response { diagnostics: diagnostics(found) })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found) }
}
