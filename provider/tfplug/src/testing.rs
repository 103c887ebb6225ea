//! Drives a provider in-process the way Terraform's core does, for tests: no binary, no socket, but every
//! value through the real encoding, and core's own checks on every answer.

mod block;
mod call;

use std::sync::Arc;

use crate::convert::{encode, null};
use crate::engine::{Engine, Entry};
use crate::plan::{check_plan, check_replace_paths, check_result, check_wholly_known, check_write_only};
use crate::proto::tfplugin6 as wire;
use crate::rpc::Service;
use crate::value::{Path, Value};
use crate::{Diagnostic, Diagnostics, PrivateState, Provider, Resource};

use self::call::{bytes, findings, from_wire, path_from_wire, value};

/// A provider under test.
#[derive(Clone)]
pub struct Harness {
    service: Service,
}

/// One object as state holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its state, wholly known.
    pub state: Value,
    /// Its private bytes.
    pub private: PrivateState,
}

/// What a plan would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    NoOp,
    /// Make it.
    Create,
    /// Change it in place.
    Update,
    /// Destroy it and make it anew.
    Replace,
}

/// A plan that core accepts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it would do.
    pub action: Action,
    /// The planned state; of a replacement, the second plan's.
    pub planned: Value,
    /// Why it replaces.
    pub requires_replace: Vec<Path>,
    /// Handed to apply.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// An apply that did not succeed.
#[derive(Clone, Debug)]
pub struct ApplyError {
    /// What state holds now; `None` when nothing.
    pub left: Option<Instance>,
    /// Why.
    pub diagnostics: Diagnostics,
}

impl Harness {
    /// For `provider`, not yet configured.
    ///
    /// # Errors
    /// When its schemas break Terraform's rules.
    pub async fn new(provider: impl Provider) -> Result<Self, Diagnostics> {
        let service = Service { engine: Arc::new(Engine::new(Arc::new(provider))) };
        let answer = service.get_provider_schema(wire::get_provider_schema::Request {}).await;
        findings(answer.diagnostics).map(|_| Self { service })
    }

    /// Validates and configures the provider with a `provider` block; attributes left out are null.
    ///
    /// # Errors
    /// What the provider says, or what core would say about the block.
    pub async fn configure(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        let entry = &self.service.engine.provider;
        let config = Some(block::config(entry, config)?);
        let request = wire::validate_provider_config::Request { config: config.clone() };
        let mut found = findings(self.service.validate_provider_config(request).await.diagnostics)?;
        let request = wire::configure_provider::Request {
            terraform_version: "1.11.4".into(),
            config,
            client_capabilities: None,
        };
        found.extend(findings(self.service.configure_provider(request).await.diagnostics)?);
        Ok(found)
    }

    /// Validates a `resource` block.
    ///
    /// # Errors
    /// What the provider says, or what core would say about the block.
    pub async fn validate(&self, type_name: &str, config: Value) -> Result<Diagnostics, Diagnostics> {
        let entry = self.service.engine.resource(type_name)?;
        let request = wire::validate_resource_config::Request {
            type_name: type_name.to_owned(),
            config: Some(block::config(entry, config)?),
            client_capabilities: None,
        };
        findings(self.service.validate_resource_config(request).await.diagnostics)
    }

    /// Validates and plans a `resource` block against `prior` (`None` for a new one).
    ///
    /// # Errors
    /// What the provider says, or what core would say about block or plan.
    pub async fn plan(
        &self,
        type_name: &str,
        prior: Option<&Instance>,
        config: Value,
    ) -> Result<Plan, Diagnostics> {
        self.validate(type_name, config.clone()).await?;
        let entry = self.service.engine.resource(type_name)?;
        let config = block::complete_config(entry, config)?;
        let mut plan = self.plan_once(entry, prior, &config).await?;
        let Some(prior) = prior else { return Ok(plan) };
        let replaces = plan.requires_replace.iter().any(|path| prior.state.at(path) != plan.planned.at(path));
        if replaces {
            let again = self.plan_once(entry, None, &config).await?;
            plan = Plan { action: Action::Replace, planned: again.planned, private: again.private, ..plan };
        } else if plan.planned == prior.state {
            plan.action = Action::NoOp;
        }
        Ok(plan)
    }

    /// One call of `PlanResourceChange`, checked.
    async fn plan_once(
        &self,
        entry: &Entry<dyn Resource>,
        prior: Option<&Instance>,
        config: &Value,
    ) -> Result<Plan, Diagnostics> {
        let prior_state = match prior {
            Some(prior) => encode(&prior.state, &entry.of)?,
            None => null(),
        };
        let request = wire::plan_resource_change::Request {
            type_name: entry.inner.type_name().to_owned(),
            prior_state: Some(prior_state),
            proposed_new_state: Some(encode(config, &entry.of)?),
            config: Some(encode(config, &entry.of)?),
            prior_private: bytes(prior.map(|prior| &prior.private)),
            provider_meta: None,
            client_capabilities: None,
        };
        let answer = self.service.plan_resource_change(request).await;
        let diagnostics = findings(answer.diagnostics)?;
        let planned = value(answer.planned_state.as_ref(), &entry.of)?;
        let requires_replace: Vec<Path> = answer.requires_replace.iter().map(path_from_wire).collect();
        let state = prior.map(|prior| &prior.state);
        let mut broken = check_plan(entry.block(), state, config, &planned);
        broken.extend(check_replace_paths(entry.block(), state, &planned, &requires_replace));
        call::refuse("Provider produced invalid plan", &broken)?;
        let action = if prior.is_some() { Action::Update } else { Action::Create };
        Ok(Plan { action, planned, requires_replace, private: answer.planned_private.into(), diagnostics })
    }

    /// Plans and applies a `resource` block: plans a second time as core does, destroys before a
    /// replacement, and does nothing when there is nothing to do.
    ///
    /// # Errors
    /// What the provider says, or what core would say about block, plan or result; and what state holds
    /// then.
    pub async fn apply(
        &self,
        type_name: &str,
        prior: Option<&Instance>,
        config: Value,
    ) -> Result<Instance, ApplyError> {
        self.apply_and_hear(type_name, prior, config).await.map(|(instance, _)| instance)
    }

    /// As [`Harness::apply`], with the warnings of the apply itself.
    ///
    /// # Errors
    /// As [`Harness::apply`].
    pub async fn apply_and_hear(
        &self,
        type_name: &str,
        prior: Option<&Instance>,
        config: Value,
    ) -> Result<(Instance, Diagnostics), ApplyError> {
        let keep = |diagnostics| ApplyError { left: prior.cloned(), diagnostics };
        let first = self.plan(type_name, prior, config.clone()).await.map_err(keep)?;
        let entry = self.service.engine.resource(type_name).map_err(keep)?;
        let config = block::complete_config(entry, config).map_err(keep)?;
        let prior = match (first.action, prior) {
            (Action::NoOp, Some(prior)) => return Ok((prior.clone(), Diagnostics::new())),
            (Action::Replace, Some(old)) => {
                self.destroy(type_name, old).await?;
                None
            }
            (_, prior) => prior,
        };
        let keep = |diagnostics| ApplyError { left: prior.cloned(), diagnostics };
        let second = self.plan_once(entry, prior, &config).await.map_err(keep)?;
        let broken = check_result(entry.block(), &first.planned, &second.planned);
        call::refuse("Provider produced inconsistent final plan", &broken).map_err(keep)?;
        self.apply_planned(entry, prior, &config, &second).await
    }

    /// One call of `ApplyResourceChange` for a create or update, checked.
    async fn apply_planned(
        &self,
        entry: &Entry<dyn Resource>,
        prior: Option<&Instance>,
        config: &Value,
        plan: &Plan,
    ) -> Result<(Instance, Diagnostics), ApplyError> {
        let keep = |diagnostics| ApplyError { left: prior.cloned(), diagnostics };
        let request = wire::apply_resource_change::Request {
            type_name: entry.inner.type_name().to_owned(),
            prior_state: Some(match prior {
                Some(prior) => encode(&prior.state, &entry.of).map_err(keep)?,
                None => null(),
            }),
            planned_state: Some(encode(&plan.planned, &entry.of).map_err(keep)?),
            config: Some(encode(config, &entry.of).map_err(keep)?),
            planned_private: plan.private.as_bytes().to_vec(),
            provider_meta: None,
        };
        let answer = self.service.apply_resource_change(request).await;
        let state = value(answer.new_state.as_ref(), &entry.of).map_err(keep)?;
        let left = (!state.is_null()).then(|| Instance { state, private: answer.private.into() });
        let found = from_wire(answer.diagnostics);
        if found.has_errors() {
            return Err(ApplyError { left, diagnostics: found });
        }
        let state = left.as_ref().map_or(&Value::Null, |instance| &instance.state);
        let mut broken = check_result(entry.block(), &plan.planned, state);
        broken.extend(check_wholly_known(state));
        broken.extend(check_write_only(entry.block(), state));
        if let Err(diagnostics) = call::refuse("Provider produced inconsistent result after apply", &broken) {
            return Err(ApplyError { left, diagnostics });
        }
        let none = || keep(Diagnostic::error("Provider returned no object after apply", "").into());
        left.map(|instance| (instance, found)).ok_or_else(none)
    }

    /// Plans and does the destruction of an object.
    ///
    /// # Errors
    /// What the provider says; and what state holds then.
    pub async fn destroy(&self, type_name: &str, instance: &Instance) -> Result<(), ApplyError> {
        let keep = |diagnostics| ApplyError { left: Some(instance.clone()), diagnostics };
        let entry = self.service.engine.resource(type_name).map_err(keep)?;
        let prior_state = Some(encode(&instance.state, &entry.of).map_err(keep)?);
        let request = wire::plan_resource_change::Request {
            type_name: type_name.to_owned(),
            prior_state: prior_state.clone(),
            proposed_new_state: Some(null()),
            config: Some(null()),
            prior_private: instance.private.as_bytes().to_vec(),
            provider_meta: None,
            client_capabilities: None,
        };
        let plan = self.service.plan_resource_change(request).await;
        findings(plan.diagnostics).map_err(keep)?;
        let request = wire::apply_resource_change::Request {
            type_name: type_name.to_owned(),
            prior_state,
            planned_state: Some(null()),
            config: Some(null()),
            planned_private: plan.planned_private,
            provider_meta: None,
        };
        let answer = self.service.apply_resource_change(request).await;
        let state = value(answer.new_state.as_ref(), &entry.of).map_err(keep)?;
        let left = (!state.is_null()).then(|| Instance { state, private: answer.private.into() });
        let diagnostics = from_wire(answer.diagnostics);
        match left {
            None if !diagnostics.has_errors() => Ok(()),
            left => Err(ApplyError { left, diagnostics }),
        }
    }

    /// Refreshes an object; `None` when it is gone. Warnings come along.
    ///
    /// # Errors
    /// What the provider says, or what core would say about the answer.
    pub async fn read(
        &self,
        type_name: &str,
        instance: &Instance,
    ) -> Result<(Option<Instance>, Diagnostics), Diagnostics> {
        let entry = self.service.engine.resource(type_name)?;
        let request = wire::read_resource::Request {
            type_name: type_name.to_owned(),
            current_state: Some(encode(&instance.state, &entry.of)?),
            private: instance.private.as_bytes().to_vec(),
            provider_meta: None,
            client_capabilities: None,
        };
        let answer = self.service.read_resource(request).await;
        let found = findings(answer.diagnostics)?;
        let state = value(answer.new_state.as_ref(), &entry.of)?;
        let mut broken = check_wholly_known(&state);
        broken.extend(check_write_only(entry.block(), &state));
        call::refuse("Provider produced invalid object", &broken)?;
        let read = (!state.is_null()).then(|| Instance { state, private: answer.private.into() });
        Ok((read, found))
    }

    /// Imports an object by id and reads it, as core does.
    ///
    /// # Errors
    /// What the provider says, or that there is no such object.
    pub async fn import(&self, type_name: &str, id: &str) -> Result<Instance, Diagnostics> {
        let entry = self.service.engine.resource(type_name)?;
        let request = wire::import_resource_state::Request {
            type_name: type_name.to_owned(),
            id: id.to_owned(),
            client_capabilities: None,
        };
        let answer = self.service.import_resource_state(request).await;
        findings(answer.diagnostics)?;
        let [imported] = answer.imported_resources.as_slice() else {
            return Err(Diagnostic::error("Import returned not one object", "").into());
        };
        let state = value(imported.state.as_ref(), &entry.of)?;
        let instance = Instance { state, private: imported.private.clone().into() };
        let (found, _) = self.read(type_name, &instance).await?;
        found.ok_or_else(|| Diagnostic::error("Cannot import non-existent remote object", "").into())
    }

    /// Brings stored state, JSON of schema `version`, to the current schema.
    ///
    /// # Errors
    /// What the provider says.
    pub async fn upgrade(&self, type_name: &str, version: i64, json: &str) -> Result<Value, Diagnostics> {
        let entry = self.service.engine.resource(type_name)?;
        let raw_state = wire::RawState { json: json.as_bytes().to_vec(), flatmap: Default::default() };
        let request = wire::upgrade_resource_state::Request {
            type_name: type_name.to_owned(),
            version,
            raw_state: Some(raw_state),
        };
        let answer = self.service.upgrade_resource_state(request).await;
        findings(answer.diagnostics)?;
        value(answer.upgraded_state.as_ref(), &entry.of)
    }

    /// Moves the state of another resource type here, as a `moved` block does.
    ///
    /// # Errors
    /// What the provider says.
    pub async fn move_state(
        &self,
        type_name: &str,
        source_type: &str,
        json: &str,
    ) -> Result<Instance, Diagnostics> {
        let entry = self.service.engine.resource(type_name)?;
        let request = wire::move_resource_state::Request {
            source_provider_address: "registry.terraform.io/test/test".into(),
            source_type_name: source_type.to_owned(),
            source_schema_version: 0,
            source_state: Some(wire::RawState {
                json: json.as_bytes().to_vec(),
                flatmap: Default::default(),
            }),
            target_type_name: type_name.to_owned(),
            source_private: Vec::new(),
        };
        let answer = self.service.move_resource_state(request).await;
        findings(answer.diagnostics)?;
        let state = value(answer.target_state.as_ref(), &entry.of)?;
        Ok(Instance { state, private: answer.target_private.into() })
    }

    /// Names of all resources, data sources, ephemeral resources and functions, as Terraform asks for them.
    pub async fn offers(&self) -> Vec<String> {
        let all = self.service.get_metadata(wire::get_metadata::Request {}).await;
        let functions = self.service.get_functions(wire::get_functions::Request {}).await;
        let resources = all.resources.into_iter().map(|one| one.type_name);
        let data = all.data_sources.into_iter().map(|one| format!("data.{}", one.type_name));
        let ephemeral = all.ephemeral_resources.into_iter().map(|one| format!("ephemeral.{}", one.type_name));
        let mut names: Vec<String> = resources.chain(data).chain(ephemeral).collect();
        names.extend(functions.functions.into_keys().map(|name| format!("function.{name}")));
        names.sort();
        names
    }

    /// Trips the [`crate::Stop`] of every request, as Ctrl-C does.
    pub async fn stop(&self) {
        self.service.stop_provider(wire::stop_provider::Request {}).await;
    }
}
