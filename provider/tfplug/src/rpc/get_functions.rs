//! `GetFunctions`: the signatures of all functions.

use crate::Diagnostics;
use crate::convert::{diagnostics, function};
use crate::engine::Engine;
use crate::proto::tfplugin6::get_functions::{Request, Response};

pub(crate) async fn run(engine: &Engine, _: &Request) -> Result<Response, Diagnostics> {
    let functions = engine.functions.iter().map(|(name, (signature, _))| (name.clone(), function(signature)));
    Ok(Response { functions: functions.collect(), diagnostics: Vec::new() })
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    Response { diagnostics: diagnostics(found), ..Response::default() }
}
