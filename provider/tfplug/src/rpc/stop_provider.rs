//! `StopProvider`: Terraform was interrupted. Work in flight winds down; the server stays up, because
//! running applies still answer.

use crate::Diagnostics;
use crate::engine::Engine;
use crate::proto::tfplugin6::stop_provider::{Request, Response};

pub(crate) async fn run(engine: &Engine, _: &Request) -> Result<Response, Diagnostics> {
    tracing::debug!("asked to stop");
    engine.stop.trip();
    engine.provider.inner.stop().await;
    Ok(Response { error: String::new() })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { error: found.to_string() }
}
