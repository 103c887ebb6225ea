//! Refreshes of a system that nobody touches: none may find anything.

use anyhow::{Context, Result, anyhow};
use terraform_provider_nats::provider::NatsProvider;
use tfplug::Value;
use tfplug::testing::{Harness, Instance};

use crate::scenario::system::System;

/// What refreshes found.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    /// By terraform, all resources each.
    pub(super) by_terraform: u64,
    /// By the provider alone, one resource each.
    pub(super) by_provider: u64,
    /// Those that found something, and the first of it.
    pub(super) findings: u64,
    pub(super) first: Option<String>,
}

impl Refreshed {
    fn found(&mut self, what: String) {
        self.findings += 1;
        self.first.get_or_insert(what);
    }

    /// Plans so many times.
    pub(super) fn by_terraform(&mut self, system: &System, count: u64) {
        for _ in 0..count {
            self.by_terraform += 1;
            let (run, before) = system.planned();
            let told = |name: &str| {
                before.values().any(|values| values[name].as_array().is_some_and(|list| !list.is_empty()))
            };
            if !run.changes.is_empty() || told("drift") || told("findings") {
                self.found(format!("a plan is not empty: {run}"));
            }
        }
    }

    /// Reads every resource in turn, so many times in all, with one provider that stays.
    pub(super) fn by_provider(&mut self, system: &System, count: u64) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.read(system, count))
    }

    async fn read(&mut self, system: &System, count: u64) -> Result<()> {
        let harness =
            Harness::new(NatsProvider::without_environment()).await.map_err(|why| anyhow!("{why}"))?;
        let agents = system.hosts().iter().map(|host| Value::from(host.agent_address().to_string()));
        let root_key = Value::from(system.supercluster.root_key.as_str());
        let block = Value::object([("agents", Value::list(agents)), ("root_key", root_key)]);
        harness.configure(block).await.map_err(|why| anyhow!("{why}"))?;
        let mut known: Vec<(String, Instance)> = Vec::new();
        for (kind, id) in ids(system)? {
            let instance = harness.import(&kind, &id).await.map_err(|why| anyhow!("import `{id}`: {why}"))?;
            known.push((kind, instance));
        }
        for (kind, instance) in known.iter().cycle().take(usize::try_from(count)?) {
            self.by_provider += 1;
            match harness.read(kind, instance).await {
                Ok((Some(found), warnings)) if found.state == instance.state && warnings.is_empty() => {
                    let told = |name: &str| found.state.attr(name).elements().next().is_some();
                    if told("drift") || told("findings") {
                        self.found(format!("`{kind}` has {:?}", found.state.attr("drift")));
                    }
                }
                other => self.found(format!("`{kind}` is read otherwise: {other:?}")),
            }
        }
        Ok(())
    }
}

/// Every resource in Terraform's state, with the id that an import takes.
fn ids(system: &System) -> Result<Vec<(String, String)>> {
    let shown = system.supercluster.terraform.show(None)?;
    let resources = shown["values"]["root_module"]["resources"].as_array().context("there are resources")?;
    let id = |resource: &serde_json::Value| {
        let id = resource["values"]["id"].as_str()?;
        Some((resource["type"].as_str()?.to_owned(), id.to_owned()))
    };
    Ok(resources.iter().filter_map(id).collect())
}
