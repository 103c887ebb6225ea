//! `CallFunction`: evaluates a function. It answers with a function error, never with diagnostics.

use crate::convert::{bug, decode, encode};
use crate::engine::Engine;
use crate::plan::complete;
use crate::proto::tfplugin6 as wire;
use crate::proto::tfplugin6::call_function::{Request, Response};
use crate::{Diagnostics, FunctionError, Parameter};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { name, arguments } = request;
    let Some((signature, function)) = engine.functions.get(name) else {
        return Ok(refused(FunctionError::new(format!("this provider has no function `{name}`"))));
    };
    let least = signature.parameters.len();
    if arguments.len() < least || (arguments.len() > least && signature.variadic.is_none()) {
        let text = format!("`{name}` takes {least} arguments, not {}", arguments.len());
        return Ok(refused(FunctionError::new(text)));
    }
    let parameters = signature.parameters.iter().chain(signature.variadic.iter().cycle());
    let arguments = arguments
        .iter()
        .zip(parameters)
        .map(|(argument, Parameter { of, .. })| decode(Some(argument), of))
        .collect::<Result<Vec<_>, _>>()?;
    match function.call(&arguments) {
        Err(error) => Ok(refused(error)),
        Ok(result) => {
            let result = complete(result, &signature.returns)
                .map_err(|found| Diagnostics::from(bug("a function's result is of another type", &found)))?;
            Ok(Response { result: Some(encode(&result, &signature.returns)?), error: None })
        }
    }
}

fn refused(FunctionError { text, argument }: FunctionError) -> Response {
    let function_argument = argument.and_then(|position| i64::try_from(position).ok());
    Response { result: None, error: Some(wire::FunctionError { text, function_argument }) }
}

pub(crate) fn failed(_: &Request, found: Diagnostics) -> Response {
    refused(FunctionError::new(found.to_string()))
}
