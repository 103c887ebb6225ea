//! Where `status` and `diff` get their report: from the agent on this host, or from another one over mTLS.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use host_state::Report;
use identity::Role;
use nats_agent::front::local;

use super::authority::AuthorityArgs;

/// Which agent is asked.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Directory of the socket of the agent on this host. Without this and `--state-dir`, `/run/nats-agent/front` is looked
    /// at, then `/var/lib/nats-agent`. Needs the agent's user, or root.
    #[arg(long, env = "NATS_AGENT_FRONT_SOCKETS", value_name = "DIR", conflicts_with = "agent")]
    front_sockets: Option<PathBuf>,
    /// State directory of a `nats-agent serve` on this host, which has its socket there.
    #[arg(long, env = "NATS_AGENT_STATE_DIR", value_name = "DIR", conflicts_with_all = ["agent", "front_sockets"])]
    state_dir: Option<PathBuf>,
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
    /// Where the agent on this host listens for such questions.
    fn local_sockets(&self) -> PathBuf {
        let places = [super::FRONT_SOCKETS, super::STATE_DIR].map(PathBuf::from);
        if let Some(named) = self.front_sockets.as_ref().or(self.state_dir.as_ref()) {
            return named.clone();
        }
        let [installed, in_one_process] = places;
        let is_there = |place: &Path| place.join(local::SOCKET_NAME).exists();
        if !is_there(&installed) && is_there(&in_one_process) { in_one_process } else { installed }
    }

    /// Asks for a fresh report.
    pub(super) fn report(&self) -> Result<Report> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        match &self.agent {
            None => Ok(runtime.block_on(local::report(&self.local_sockets()))?),
            Some(agent) => {
                let authority = self.authority.derive()?;
                runtime.block_on(super::remote::report(&authority, &Role::Reader, agent))
            }
        }
    }
}
