//! `ImportResourceState`: finds one existing object by its id. Terraform reads it right after.

use super::answer::stored;
use crate::convert::{diagnostics, encode};
use crate::engine::Engine;
use crate::proto::tfplugin6::import_resource_state::{ImportedResource, Request, Response};
use crate::value::Value;
use crate::{Diagnostics, ImportRequest, Imported};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, id, client_capabilities: _ } = request;
    let entry = engine.resource(type_name)?;
    let import = ImportRequest { id: id.clone(), stop: engine.stop.clone() };
    let Imported { state, private, diagnostics: found } =
        entry.inner.import(import).await.map_err(|failure| failure.diagnostics)?;
    let state = stored(entry, state, &Value::Null)?;
    let imported = ImportedResource {
        type_name: type_name.clone(),
        state: Some(encode(&state, &entry.of)?),
        private: private.into_bytes(),
    };
    Ok(Response { imported_resources: vec![imported], diagnostics: diagnostics(found) })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { imported_resources: Vec::new(), diagnostics: diagnostics(found) }
}
