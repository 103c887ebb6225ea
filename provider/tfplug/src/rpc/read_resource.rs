//! `ReadResource`: brings state up to date. Without an answer everything stays as it was.

use super::answer::stored;
use crate::convert::{decode, diagnostics, encode, null};
use crate::engine::Engine;
use crate::proto::tfplugin6::read_resource::{Request, Response};
use crate::{Diagnostics, ReadOutcome, ReadRequest, ReadResponse};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request { type_name, current_state, private, provider_meta: _, client_capabilities: _ } = request;
    let entry = engine.resource(type_name)?;
    let state = decode(current_state.as_ref(), &entry.of)?;
    let before = state.clone();
    let read = ReadRequest { state, private: private.clone().into(), stop: engine.stop.clone() };
    let ReadResponse { outcome, diagnostics: found } = entry.inner.read(read).await;
    let (new_state, private) = match outcome {
        ReadOutcome::Found { state, private } => {
            let state = stored(entry, state, &before)?;
            (Some(encode(&state, &entry.of)?), private.into_bytes())
        }
        ReadOutcome::Gone => (Some(null()), Vec::new()),
        ReadOutcome::Unanswered => (current_state.clone(), private.clone()),
    };
    Ok(Response { new_state, diagnostics: diagnostics(found), private })
}

pub(crate) fn failed(request: &Request, found: Diagnostics) -> Response {
    Response {
        new_state: request.current_state.clone(),
        diagnostics: diagnostics(found),
        private: request.private.clone(),
    }
}
