//! Everything of a system that a lesser key must leave as it is. Changes nothing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::calls;
use crate::rig::wait::wait_for;
use crate::scenario::system::{DEADLINE, System, varz};
use crate::scenario::traffic::talk;

/// One text for each thing, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Of all hosts, and of the streams of these accounts.
    pub(super) fn of(system: &System, accounts: &[&str]) -> Result<Snapshot> {
        let mut parts = BTreeMap::new();
        for host in system.hosts() {
            let name = host.name();
            let running = varz(host);
            for key in ["config_digest", "start"] {
                parts.insert(format!("{name} {key}"), running[key].to_string());
            }
            let resolver = host.state_dir().join(host_state::layout::RESOLVER);
            for entry in fs::read_dir(&resolver).context("list the resolver")? {
                let path = entry.context("look at the resolver")?.path();
                let jwt = fs::read_to_string(&path).context("read an account's JWT")?;
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                parts.insert(format!("{name} account {file}"), jwt);
            }
            let sections =
                talk(async { Ok(calls::operator(system, host).await?.observe().await?.sections) })?;
            ensure!(!sections.is_empty(), "the ledger of `{name}` is empty");
            for section in sections {
                parts.insert(format!("{name} section {}", section.header.section), format!("{section:?}"));
            }
        }
        for account in accounts {
            for (stream, text) in streams(system, account)? {
                parts.insert(format!("stream {account}/{stream}"), text);
            }
        }
        Ok(Snapshot(parts))
    }

    /// Names of what is another, missing or new since `before`.
    pub(super) fn differences(&self, before: &Snapshot) -> Vec<String> {
        let names = self.0.keys().chain(before.0.keys());
        let mut different: Vec<String> =
            names.filter(|name| self.0.get(*name) != before.0.get(*name)).cloned().collect();
        different.sort();
        different.dedup();
        different
    }
}

/// Configuration and count of messages of each stream of an account, once all of them answer.
fn streams(system: &System, account: &str) -> Result<Vec<(String, String)>> {
    wait_for("every stream to answer", DEADLINE, || talk(listed(system, account)))
}

/// Absent while a stream does not answer.
async fn listed(system: &System, account: &str) -> Result<Option<Vec<(String, String)>>> {
    let tunnel = calls::account_tunnel(system, account).await?;
    let reply = tunnel.request("$JS.API.STREAM.LIST", b"{}".to_vec(), calls::PATIENCE).await?;
    let answer: Value = serde_json::from_slice(&reply.payload).context("read the list of streams")?;
    let Some(streams) = answer["streams"].as_array() else { return Ok(None) };
    let shown = |stream: &Value| {
        let text = format!("{} {}", stream["config"], stream["state"]["messages"]);
        (stream["config"]["name"].to_string(), text)
    };
    let is_whole = answer["total"].as_u64() == Some(streams.len() as u64);
    Ok(is_whole.then(|| streams.iter().map(shown).collect()))
}
