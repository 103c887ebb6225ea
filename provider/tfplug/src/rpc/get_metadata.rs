//! `GetMetadata`: the names of all the provider offers.

use crate::Diagnostics;
use crate::convert::{diagnostics, server_capabilities};
use crate::engine::Engine;
use crate::proto::tfplugin6::get_metadata::{
    DataSourceMetadata, EphemeralMetadata, FunctionMetadata, Request, ResourceMetadata, Response,
};

pub(crate) async fn run(engine: &Engine, _: &Request) -> Result<Response, Diagnostics> {
    let data_sources = engine.data_sources.keys().cloned();
    let resources = engine.resources.keys().cloned();
    let functions = engine.functions.keys().cloned();
    let ephemeral_resources = engine.ephemeral_resources.keys().cloned();
    Ok(Response {
        server_capabilities: Some(server_capabilities()),
        diagnostics: Vec::new(),
        data_sources: data_sources.map(|type_name| DataSourceMetadata { type_name }).collect(),
        resources: resources.map(|type_name| ResourceMetadata { type_name }).collect(),
        functions: functions.map(|name| FunctionMetadata { name }).collect(),
        ephemeral_resources: ephemeral_resources.map(|type_name| EphemeralMetadata { type_name }).collect(),
    })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found), ..Response::default() }
}
