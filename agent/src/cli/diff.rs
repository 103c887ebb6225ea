//! `nats-agent diff`.

use anyhow::Result;
use clap::Args;
use host_state::Report;
use host_state::drift::{Drift, Finding};
use serde::Serialize;

use super::source::Source;
use super::{EXIT_DRIFT, output, report};

/// Show what differs from what is desired: drift, which the next apply removes, and findings, which it cannot.
///
/// Ends with 0 when nothing differs and with 2 when something does.
///
/// Examples:
///   nats-agent diff
///   nats-agent diff --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Diff {
    #[command(flatten)]
    source: Source,
}

#[derive(Serialize)]
struct Differences<'a> {
    drift: &'a [Drift],
    findings: &'a [Finding],
}

impl Diff {
    pub(super) fn run(self) -> Result<u8> {
        let seen = self.source.report()?;
        if self.source.json {
            output::say_json(&Differences { drift: &seen.drift, findings: &seen.findings })?;
        } else {
            output::say(&report::differences(&seen))?;
        }
        Ok(exit_code(&seen))
    }
}

fn exit_code(report: &Report) -> u8 {
    if report.drift.is_empty() && report.findings.is_empty() { 0 } else { EXIT_DRIFT }
}
