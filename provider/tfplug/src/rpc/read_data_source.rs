//! `ReadDataSource`: reads a data source.

use super::answer::stored;
use crate::convert::{decode, diagnostics, encode};
use crate::engine::Engine;
use crate::proto::tfplugin6::read_data_source::{Request, Response};
use crate::value::Value;
use crate::{DataRead, DataSourceRequest, Diagnostics};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, config, provider_meta: _, client_capabilities: _ } = request;
    let entry = engine.data_source(type_name)?;
    let config = decode(config.as_ref(), &entry.of)?;
    let read = DataSourceRequest { config, stop: engine.stop.clone() };
    let DataRead { state, diagnostics: found } =
        entry.inner.read(read).await.map_err(|failure| failure.diagnostics)?;
    let state = stored(entry, state, &Value::Null)?;
    Ok(Response { state: Some(encode(&state, &entry.of)?), diagnostics: diagnostics(found) })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { state: None, diagnostics: diagnostics(found) }
}
