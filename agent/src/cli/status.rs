//! `nats-agent status`.

use anyhow::Result;
use clap::Args;

use super::source::Source;
use super::{output, report};

/// Show the host as its agent sees it, after a fresh look at everything it manages.
///
/// Examples:
///   nats-agent status
///   nats-agent status --json | jq .drift
///   NATS_ROOT_KEY=... nats-agent status --agent 10.10.151.211:8442 --authority acme
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Status {
    #[command(flatten)]
    source: Source,
}

impl Status {
    pub(super) fn run(self) -> Result<u8> {
        let seen = self.source.report()?;
        if self.source.json {
            output::say_json(&seen)?
        } else {
            output::say(&report::status(&seen))?
        }
        Ok(0)
    }
}
