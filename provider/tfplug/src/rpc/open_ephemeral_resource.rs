//! `OpenEphemeralResource`: makes a value for this run.

use super::answer::stored;
use crate::convert::{decode, diagnostics, encode, timestamp};
use crate::engine::Engine;
use crate::proto::tfplugin6::open_ephemeral_resource::{Request, Response};
use crate::value::Value;
use crate::{Diagnostics, OpenRequest, Opened};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, config, client_capabilities: _ } = request;
    let entry = engine.ephemeral_resource(type_name)?;
    let config = decode(config.as_ref(), &entry.of)?;
    let open = OpenRequest { config, stop: engine.stop.clone() };
    let Opened { result, renew_at, private, diagnostics: found } =
        entry.inner.open(open).await.map_err(|failure| failure.diagnostics)?;
    let result = stored(entry, result, &Value::Null)?;
    Ok(Response {
        diagnostics: diagnostics(found),
        renew_at: renew_at.map(timestamp),
        result: Some(encode(&result, &entry.of)?),
        private: Some(private.into_bytes()),
    })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found), ..Response::default() }
}
