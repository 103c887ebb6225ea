//! Brings a signed claims section to every host: first to the arbiter, whose answer decides, then to all others.

use std::collections::BTreeSet;
use std::time::Duration;

use host_state::SignedSection;
use host_state::diff::RESOLVER_SILENT;
use host_state::report::{Outcome, Report};
use identity::HostName;
use nats_agent_api::order::{ApplyMode, ApplyOrder};
use nats_agent_api::{AgentClient, CallError};
use tfplug::{Diagnostic, Diagnostics};
use tokio::time::Instant;

use super::newest::Newest;
use crate::agents::System;

/// Longest that one host may take for one push. It writes one file and sends each changed account to its own server.
const PUSH_DEADLINE: Duration = Duration::from_secs(60);
/// How long a host is pushed to again whose server has not taken the accounts, as one that is just starting.
const SETTLE: Duration = Duration::from_secs(10);
/// How often a host is pushed to again whose connection broke meanwhile.
const AGAIN: u32 = 4;
/// Pause between two such pushes.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a push did not decide.
pub(super) enum Pushed {
    /// Another writer was faster.
    Lost(String),
    /// Nothing helps but a person.
    Failed(Diagnostic),
}

/// Pushes to the arbiter, then to all others at once. The warnings name every host whose server has not taken it.
///
/// May be repeated: a host that has the section brings its server to it and answers the same.
pub(super) async fn push(
    system: &System,
    newest: &Newest,
    section: &SignedSection,
) -> Result<Diagnostics, Pushed> {
    let silent = newest.silent.iter().map(|(host, problem)| behind(host, &problem.detail));
    let mut warnings: Diagnostics = silent.collect();
    let mut undecided: BTreeSet<&HostName> = newest.answered.iter().collect();
    let mut arbiter = None;
    let mut refusals: Vec<String> =
        newest.silent.iter().map(|(host, problem)| format!("`{host}`: {}", problem.detail)).collect();
    while let Some(host) = undecided.pop_first() {
        let agent = match system.agent(host).await {
            Ok(agent) => agent,
            Err(problem) => {
                warnings.push(behind(host, &problem.detail));
                refusals.push(problem.detail);
                continue;
            }
        };
        match push_to(&agent, section).await {
            Ok(warning) => {
                arbiter = Some(warning.map(|reason| behind(host, &reason)));
                break;
            }
            Err(error @ CallError::Conflict { .. }) => return Err(Pushed::Lost(host_state::chain(&error))),
            Err(error) => {
                let why = format!("{}.", host_state::chain(&error));
                warnings.push(behind(host, &why));
                refusals.push(format!("`{host}`: {why}"));
            }
        }
    }
    let Some(warning) = arbiter else {
        let detail = format!(
            "{}\nNone has confirmed them. Apply again: what one may have taken in is taken over.",
            refusals.join("\n")
        );
        return Err(Pushed::Failed(Diagnostic::error("No host took the claims", detail)));
    };
    warnings.extend(warning);
    let others = undecided.into_iter().map(|host| async move {
        let pushed = match system.agent(host).await {
            Ok(agent) => {
                push_to(&agent, section).await.map_err(|error| format!("{}.", host_state::chain(&error)))
            }
            Err(problem) => Err(problem.detail),
        };
        pushed.unwrap_or_else(Some).map(|reason| behind(host, &reason))
    });
    warnings.extend(futures_util::future::join_all(others).await.into_iter().flatten());
    Ok(warnings)
}

/// Pushes until the host's server has every account; why it has not, when it does not come to that.
async fn push_to(agent: &AgentClient, section: &SignedSection) -> Result<Option<String>, CallError> {
    let settled = Instant::now() + SETTLE;
    let mut broken = 0;
    loop {
        let report = match push_once(agent, section).await {
            Ok(report) => report,
            // Whether the host has it is not known, and who goes on to the next host as if it had not may write beside
            // another writer. To take the same section in twice is one.
            Err(CallError::Lost { .. }) if broken < AGAIN => {
                broken += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(reason) = missing(&report) else { return Ok(None) };
        if Instant::now() >= settled {
            return Ok(Some(reason));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn push_once(agent: &AgentClient, section: &SignedSection) -> Result<Report, CallError> {
    let order =
        ApplyOrder { sections: vec![section.clone()], mode: ApplyMode::Roll, lease_id: String::new() };
    let pushing = async { agent.apply(order).await?.finish(|_| ()).await };
    let late = || CallError::Timeout { address: agent.address().to_owned(), method: "Apply" };
    let (outcome, report) = tokio::time::timeout(PUSH_DEADLINE, pushing).await.map_err(|_| late())??;
    match outcome {
        Outcome::Confirmed | Outcome::Staged => Ok(report),
        Outcome::RolledBack { step, reason } => Err(failed(agent, format!("{step}: {reason}"))),
        Outcome::Refused { reason } => Err(failed(agent, reason)),
    }
}

/// What the host's server lacks of the claims, or that nobody can say; absent when nothing, or when it does not run.
fn missing(report: &Report) -> Option<String> {
    let drift = report.drift.iter().filter(|drift| drift.item == CLAIMS).map(ToString::to_string);
    let silent = report
        .findings
        .iter()
        .filter(|finding| finding.item == CLAIMS && finding.problem.starts_with(RESOLVER_SILENT));
    let lines: Vec<String> = drift.chain(silent.map(|finding| finding.problem.clone())).collect();
    (!lines.is_empty()).then(|| format!("Its server has not taken them: {}.", lines.join("; ")))
}

/// What reports call accounts.
pub(super) const CLAIMS: &str = "claims";

fn failed(agent: &AgentClient, reason: String) -> CallError {
    CallError::Failed { address: agent.address().to_owned(), method: "Apply", reason }
}

fn behind(host: &HostName, reason: &str) -> Diagnostic {
    Diagnostic::warning(
        format!("Host `{host}` does not have the new claims yet"),
        format!("{reason} It fetches them from its peers when it is back; until then it is drift."),
    )
}
