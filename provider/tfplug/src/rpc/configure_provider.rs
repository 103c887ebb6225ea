//! `ConfigureProvider`: hands the `provider` block over.

use crate::convert::{decode, diagnostics};
use crate::engine::Engine;
use crate::proto::tfplugin6::configure_provider::{Request, Response};
use crate::{ConfigureRequest, Diagnostics};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { terraform_version, config, client_capabilities: _ } = request;
    let configure = ConfigureRequest {
        terraform_version: terraform_version.clone(),
        config: decode(config.as_ref(), &engine.provider.of)?,
        stop: engine.stop.clone(),
    };
    let found = engine.provider.inner.configure(configure).await;
    Ok(Response { diagnostics: diagnostics(found) })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found) }
}
