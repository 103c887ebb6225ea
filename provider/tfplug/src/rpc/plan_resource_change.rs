//! `PlanResourceChange`: the generic plan, refined by the resource, checked as core will check it.
//!
//! The proposed state core sends is looked at only to tell a destroy: see `plan::generic`.

use super::answer::shaped;
use crate::convert::{attribute_path, bug, decode, diagnostics, encode, null};
use crate::engine::{Engine, Entry};
use crate::plan::{Planned, check_plan, check_replace_paths, plan};
use crate::proto::tfplugin6::plan_resource_change::{Request, Response};
use crate::value::Value;
use crate::{DestroyPlanRequest, Diagnostics, PlanRequest, PlanResponse, Resource};

pub(crate) async fn run(engine: &Engine, request: &Request) -> Result<Response, Diagnostics> {
    let Request {
        type_name,
        prior_state,
        proposed_new_state,
        config,
        prior_private,
        provider_meta: _,
        client_capabilities: _,
    } = request;
    let entry = engine.resource(type_name)?;
    let prior = decode(prior_state.as_ref(), &entry.of)?;
    let proposed = decode(proposed_new_state.as_ref(), &entry.of)?;
    let config = decode(config.as_ref(), &entry.of)?;
    let (private, stop) = (prior_private.clone().into(), engine.stop.clone());
    if proposed.is_null() {
        let found = entry.inner.plan_destroy(DestroyPlanRequest { prior, private, stop }).await;
        return Ok(Response {
            planned_state: Some(null()),
            requires_replace: Vec::new(),
            planned_private: prior_private.clone(),
            diagnostics: diagnostics(found),
        });
    }
    let prior = Some(prior).filter(|prior| !prior.is_null());
    let Planned { value: proposed, requires_replace } = plan(entry.block(), prior.as_ref(), &config);
    let mut all_replace = requires_replace.clone();
    let (prior_kept, config_kept) = (prior.clone(), config.clone());
    let answer =
        entry.inner.plan(PlanRequest { prior, proposed, config, private, requires_replace, stop }).await;
    let PlanResponse { planned, requires_replace, private, diagnostics: found } = answer;
    for path in requires_replace {
        if !all_replace.contains(&path) {
            all_replace.push(path);
        }
    }
    if found.has_errors() {
        return Err(found);
    }
    let planned = checked(entry, prior_kept.as_ref(), &config_kept, planned)?;
    let bad_paths = check_replace_paths(entry.block(), prior_kept.as_ref(), &planned, &all_replace);
    if !bad_paths.is_empty() {
        return Err(bug("it asks for replacement where nothing is", &bad_paths).into());
    }
    Ok(Response {
        planned_state: Some(encode(&planned, &entry.of)?),
        requires_replace: all_replace.iter().map(attribute_path).collect(),
        planned_private: private.into_bytes(),
        diagnostics: diagnostics(found),
    })
}

/// The planned state in its exact shape, if it keeps core's rules.
fn checked(
    entry: &Entry<dyn Resource>,
    prior: Option<&Value>,
    config: &Value,
    planned: Value,
) -> Result<Value, Diagnostics> {
    let planned = shaped(entry, planned)?;
    let found = check_plan(entry.block(), prior, config, &planned);
    if found.is_empty() { Ok(planned) } else { Err(bug("its plan breaks Terraform's rules", &found).into()) }
}

pub(crate) fn failed(request: &Request, found: Diagnostics) -> Response {
    Response {
        planned_state: request.prior_state.clone(),
        requires_replace: Vec::new(),
        planned_private: request.prior_private.clone(),
        diagnostics: diagnostics(found),
    }
}
