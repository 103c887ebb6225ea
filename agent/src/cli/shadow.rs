//! `nats-agent shadow`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

/// Try one configuration as the applier asks for it, and write what became of it.
///
/// Run by nats-agent-shadow.service, as nats-server's user and in a network of its own; of no use by hand.
///
/// Examples:
///   nats-agent shadow --state-dir /var/lib/nats-agent
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Shadow {
    /// State directory of the applier.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
}

impl Shadow {
    pub(super) fn run(self) -> Result<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(nats_agent::shadow::serve::serve(&self.state_dir))?;
        Ok(0)
    }
}
