//! `RenewEphemeralResource`: prolongs a value that asked for it.

use crate::convert::{diagnostics, timestamp};
use crate::engine::Engine;
use crate::proto::tfplugin6::renew_ephemeral_resource::{Request, Response};
use crate::{Diagnostics, RenewRequest, Renewed};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, private } = request;
    let entry = engine.ephemeral_resource(type_name)?;
    let renew =
        RenewRequest { private: private.clone().unwrap_or_default().into(), stop: engine.stop.clone() };
    let Renewed { renew_at, private, diagnostics: found } =
        entry.inner.renew(renew).await.map_err(|failure| failure.diagnostics)?;
    Ok(Response {
        diagnostics: diagnostics(found),
        renew_at: renew_at.map(timestamp),
        private: Some(private.into_bytes()),
    })
}

pub(crate) fn failed(request: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found), renew_at: None, private: request.private.clone() }
}
