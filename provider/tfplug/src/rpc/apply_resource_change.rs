//! `ApplyResourceChange`: creates, updates or deletes.
//!
//! A failed create answers with no state (core would taint it and destroy it at the next apply); a failed
//! update or delete with the prior state, or the one the failure brings.

use super::answer::stored;
use crate::convert::{bug, decode, diagnostics, encode, null};
use crate::engine::{Engine, Entry};
use crate::plan::check_result;
use crate::proto::tfplugin6::apply_resource_change::{Request, Response};
use crate::value::Value;
use crate::{
    CreateRequest, Created, DeleteRequest, Deleted, Diagnostics, Failure, PrivateState, Resource,
    UpdateRequest, Updated,
};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, prior_state, planned_state, config, planned_private, provider_meta: _ } =
        request;
    let entry = engine.resource(type_name)?;
    let prior = decode(prior_state.as_ref(), &entry.of)?;
    let planned = decode(planned_state.as_ref(), &entry.of)?;
    let config = decode(config.as_ref(), &entry.of)?;
    let (private, stop) = (PrivateState::from(planned_private.clone()), engine.stop.clone());
    if planned.is_null() {
        return match entry.inner.delete(DeleteRequest { prior: prior.clone(), private, stop }).await {
            Ok(Deleted { diagnostics: found }) => {
                Ok(Response { new_state: Some(null()), private: Vec::new(), diagnostics: diagnostics(found) })
            }
            Err(failure) => after_failure(entry, request, &prior, failure),
        };
    }
    if prior.is_null() {
        let create = CreateRequest { planned: planned.clone(), config, private, stop };
        let Created { state, private, diagnostics: found } =
            entry.inner.create(create).await.map_err(|failure| failure.diagnostics)?;
        return after_success(entry, &planned, state, private, found);
    }
    let update = UpdateRequest { prior: prior.clone(), planned: planned.clone(), config, private, stop };
    match entry.inner.update(update).await {
        Ok(Updated { state, private, diagnostics: found }) => {
            after_success(entry, &planned, state, private, found)
        }
        Err(failure) => after_failure(entry, request, &prior, failure),
    }
}

fn after_success(
    entry: &Entry<dyn Resource>,
    planned: &Value,
    state: Value,
    private: PrivateState,
    found: Diagnostics,
) -> Result<Response, Diagnostics> {
    let state = stored(entry, state, planned)?;
    let broken = check_result(entry.block(), planned, &state);
    if !broken.is_empty() {
        return Err(bug("the result of apply is not what was planned", &broken).into());
    }
    Ok(Response {
        new_state: Some(encode(&state, &entry.of)?),
        private: private.into_bytes(),
        diagnostics: diagnostics(found),
    })
}

/// The answer to a failed update or delete.
fn after_failure(
    entry: &Entry<dyn Resource>,
    request: &Request,
    prior: &Value,
    failure: Failure,
) -> Result<Response, Diagnostics> {
    let Failure { diagnostics: mut found, state, private } = failure;
    let mut answer = failed(request, Diagnostics::new());
    if let Some(private) = private {
        answer.private = private.into_bytes();
    }
    match state.map(|state| stored(entry, state, prior)).transpose() {
        Ok(Some(state)) => answer.new_state = Some(encode(&state, &entry.of)?),
        Ok(None) => {}
        Err(broken) => found.extend(broken),
    }
    if !found.has_errors() {
        found.push(bug("a failure names no error", &["the operation failed without saying why"]));
    }
    answer.diagnostics = diagnostics(found);
    Ok(answer)
}

pub(crate) fn failed(request: &Request, mut found: Diagnostics) -> Response {
    if !found.is_empty() && !found.has_errors() {
        found.push(bug("a failure names no error", &["the operation failed without saying why"]));
    }
    Response {
        new_state: Some(request.prior_state.clone().unwrap_or_else(null)),
        private: request.planned_private.clone(),
        diagnostics: diagnostics(found),
    }
}
