//! `nats-agent version`.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::output;

/// Show the versions of the agent and of what it speaks.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Versions {
    agent: &'static str,
    api: &'static str,
}

/// Package of the agent's .proto file: its last part changes when old callers no longer understand the agent.
const API: &str = "nats_agent.v1";

impl Version {
    pub(super) fn run(self) -> Result<u8> {
        let versions = Versions { agent: env!("CARGO_PKG_VERSION"), api: API };
        if self.json {
            output::say_json(&versions)?;
        } else {
            output::say(&format!("nats-agent {}, interface {}", versions.agent, versions.api))?;
        }
        Ok(0)
    }
}
