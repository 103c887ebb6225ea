//! Where `status` and `diff` get their report: from the agent on this host, or from another one over mTLS.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use host_state::Report;
use identity::Role;
use nats_agent::front::local;

use super::authority::AuthorityArgs;

/// Which agent is asked.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// State directory of the agent on this host. Needs its user, or root.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR", conflicts_with = "agent")]
    state_dir: PathBuf,
    /// Ask another host's agent instead, `address:port`. Needs the authority and its root key.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "authority")]
    agent: Option<String>,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Source {
    /// Asks for a fresh report.
    pub(super) fn report(&self) -> Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        match &self.agent {
            None => Ok(runtime.block_on(local::report(&self.state_dir))?),
            Some(agent) => {
                let authority = self.authority.derive()?;
                runtime.block_on(super::remote::report(&authority, &Role::Reader, agent))
            }
        }
    }
}
