//! Asking a host's agent to take sections in, until it says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use host_state::report::{ApplyEvent, Outcome, Report};
use host_state::{SignedSection, chain};
use identity::HostName;
use nats_agent_api::CallError;
use nats_agent_api::order::{ApplyMode, ApplyOrder};

use super::{Conductor, Orders};
use crate::rollout::join::Joined;
use crate::rollout::trial;

/// Attempts to reach an agent whose connection broke during an apply.
const ATTEMPTS: u32 = 5;
/// Pause before each.
const AGAIN: Duration = Duration::from_secs(2);

/// What hosts did with an order: the report of those that did it, and why the others did not.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) done: BTreeMap<HostName, Report>,
    pub(super) failed: BTreeMap<HostName, String>,
}

impl Conductor<'_> {
    /// Has these hosts take their sections in, at once.
    pub(super) async fn apply(
        &self,
        orders: &Orders,
        hosts: &BTreeSet<HostName>,
        mode: ApplyMode,
    ) -> Results {
        let asked = hosts.iter().filter_map(|host| Some((host, self.hosts.get(host)?)));
        let applied = join_all(asked.map(|(host, joined)| async move {
            let sections = orders.get(host).cloned().unwrap_or_default();
            (host.clone(), self.apply_one(host, joined, sections, mode).await)
        }));
        let mut results = Results::default();
        for (host, result) in applied.await {
            match result {
                Ok(report) => _ = results.done.insert(host, report),
                Err(why) => _ = results.failed.insert(host, why),
            }
        }
        results
    }

    /// A connection that breaks is made again: the agent went on, and taking the same sections in twice is one. Where it
    /// went on as far as a trial of firewall rules, nobody else confirms it, and the agent takes nothing in meanwhile.
    async fn apply_one(
        &self,
        host: &HostName,
        joined: &Joined,
        sections: Vec<SignedSection>,
        mode: ApplyMode,
    ) -> Result<Report, String> {
        let mut attempt = 1;
        loop {
            match self.attempt(host, joined, sections.clone(), mode).await {
                Ok((Outcome::Confirmed | Outcome::Staged, report)) => {
                    let status = report.firewall.as_ref();
                    if let Some(trial) = status.and_then(|firewall| firewall.trial.as_ref()) {
                        trial::confirm(self.system, host, trial).await?;
                    }
                    return Ok(report);
                }
                Ok((Outcome::RolledBack { step, reason }, _)) => {
                    return Err(format!(
                        "it went back to what it ran before, because `{step}` failed: {reason}"
                    ));
                }
                Ok((Outcome::Refused { reason }, _)) => return Err(format!("it refused: {reason}")),
                Err(CallError::Lost { .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(AGAIN).await;
                    self.confirm_left(host, joined).await?;
                }
                // The one that was lost had not come to its trial when we looked.
                Err(why @ CallError::Conflict { .. }) if (2..ATTEMPTS).contains(&attempt) => {
                    if !self.confirm_left(host, joined).await? {
                        return Err(chain(&why));
                    }
                }
                Err(why) => return Err(chain(&why)),
            }
            attempt += 1;
        }
    }

    /// Confirms what an apply whose connection broke left on trial; whether there was anything.
    async fn confirm_left(&self, host: &HostName, joined: &Joined) -> Result<bool, String> {
        let mut looked = 1;
        let report = loop {
            match joined.agent.observe().await {
                Ok(seen) => break seen.report,
                Err(CallError::Lost { .. } | CallError::Timeout { .. }) if looked < ATTEMPTS => {
                    looked += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(why) => return Err(chain(&why)),
            }
        };
        match report.firewall.and_then(|firewall| firewall.trial) {
            Some(trial) => trial::confirm(self.system, host, &trial).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// One apply, told to the log as it goes.
    async fn attempt(
        &self,
        host: &HostName,
        joined: &Joined,
        sections: Vec<SignedSection>,
        mode: ApplyMode,
    ) -> Result<(Outcome, Report), CallError> {
        let order = ApplyOrder { sections, mode, lease_id: self.lease.id().to_owned() };
        let stream = joined.agent.apply(order).await?;
        let what = self.what;
        let finished = stream
            .finish(|event| match event {
                ApplyEvent::Started { step } => tracing::info!("{what}: `{host}`: {step}"),
                ApplyEvent::Done { step, millis } => {
                    tracing::debug!("{what}: `{host}`: {step} took {millis} ms")
                }
                ApplyEvent::Finished { .. } => {}
            })
            .await;
        if let Ok((_, report)) = &finished {
            self.heard.hear(host, report);
        }
        finished
    }
}
