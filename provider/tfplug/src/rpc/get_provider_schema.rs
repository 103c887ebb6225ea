//! `GetProviderSchema`: all schemas and functions. A schema that Terraform would choke on is refused here,
//! with all its problems.

use std::collections::HashMap;

use crate::Diagnostics;
use crate::convert::{bug, diagnostics, function, schema, server_capabilities};
use crate::engine::{Engine, Entry};
use crate::proto::tfplugin6 as wire;
use crate::proto::tfplugin6::get_provider_schema::{Request, Response};

pub(crate) async fn run(engine: &Engine, _: &Request) -> Result<Response, Diagnostics> {
    if !engine.problems.is_empty() {
        return Err(bug("its schema breaks Terraform's rules", &engine.problems).into());
    }
    let functions = engine.functions.iter().map(|(name, (signature, _))| (name.clone(), function(signature)));
    Ok(Response {
        provider: Some(schema(&engine.provider.schema)),
        resource_schemas: schemas(&engine.resources),
        data_source_schemas: schemas(&engine.data_sources),
        diagnostics: Vec::new(),
        provider_meta: None,
        server_capabilities: Some(server_capabilities()),
        functions: functions.collect(),
        ephemeral_resource_schemas: schemas(&engine.ephemeral_resources),
    })
}

fn schemas<'a, T: ?Sized + 'a>(
    entries: impl IntoIterator<Item = (&'a String, &'a Entry<T>)>,
) -> HashMap<String, wire::Schema> {
    entries.into_iter().map(|(name, entry)| (name.clone(), schema(&entry.schema))).collect()
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response {
        diagnostics: diagnostics(found),
        server_capabilities: Some(server_capabilities()),
        ..Response::default()
    }
}
