//! Identities are for ever: what names one cannot be changed, and no rotation changes one.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::rig::terraform::Outcome;
use crate::scenario::system::System;

/// Changes that were tried.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) tried: usize,
    pub(super) refused: usize,
    pub(super) wrong: Vec<String>,
}

/// Every public identity in state.
pub(super) fn of(system: &System) -> Result<Vec<Value>> {
    let state: Value =
        serde_json::from_str(&system.supercluster.terraform.state_text()?).context("read state")?;
    let resources = state["resources"].as_array().context("state has resources")?;
    let attributes = |kind: &str| {
        let found = resources.iter().find(|resource| resource["type"] == kind);
        found.map(|resource| resource["instances"][0]["attributes"].clone()).context("state has the resource")
    };
    let (authority, account) = (attributes("nats_authority")?, attributes("nats_account")?);
    let trust = &authority["trust"];
    Ok(vec![
        trust["operator"].clone(),
        trust["system_account"].clone(),
        trust["probe_account"].clone(),
        account["public_key"].clone(),
    ])
}

/// Plans every change of an identity, and of a generation that would skip or take back one.
pub(super) fn changes_refused(system: &mut System) -> Result<Refused> {
    let mut refused = Refused::default();
    let own = system.configuration.clone();
    let mut planned = |system: &System, what: &str, words: &[&str]| {
        let run = system.plan();
        let text = run.error_text();
        refused.tried += 1;
        if run.outcome() == Outcome::Failed && words.iter().all(|word| text.contains(word)) {
            refused.refused += 1;
        } else {
            refused.wrong.push(format!("{what}: {run}"));
        }
    };
    let changes: [(&str, &str, &str, &str, Value, &str); 8] = [
        ("another authority", "nats_authority", "acme", "name", json!("other"), "cannot be renamed"),
        ("another cluster", "nats_cluster", "east", "name", json!("west"), "cannot be changed"),
        ("another account", "nats_account", "orders", "name", json!("other"), "protected from deletion"),
        (
            "an account elsewhere",
            "nats_account",
            "orders",
            "system",
            json!("other/east"),
            "stays with its authority",
        ),
        ("an account's key taken back", "nats_account", "orders", "generation", json!(1), "only count up"),
        ("a key taken back", "nats_authority", "acme", "generations", json!({ "document": 1 }), "one by one"),
        ("a key skipped", "nats_authority", "acme", "generations", json!({ "document": 9 }), "one by one"),
        (
            "no generation at all",
            "nats_authority",
            "acme",
            "generations",
            json!({ "host_ca": 0 }),
            "generations.host_ca",
        ),
    ];
    for (what, kind, name, attribute, value, word) in changes {
        system.resource(kind, name)[attribute] = value;
        planned(system, what, &[word]);
        system.configuration = own.clone();
    }
    let root_key = system.supercluster.root_key.clone();
    let other = data_encoding::BASE64.encode(&std::array::from_fn::<u8, 32, _>(|number| number as u8));
    system.supercluster.terraform.set_variable("root_key", &other);
    planned(system, "another root key", &["This is not the root key of authority"]);
    system.supercluster.terraform.set_variable("root_key", &root_key);
    system.plan().unchanged().context("after all that was refused")?;
    Ok(refused)
}
