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

    /// A connection that breaks is made again: the agent went on, and taking the same sections in twice is one. Rules that it
    /// left on trial meanwhile it takes back and tries anew.
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
                Err(CallError::Lost { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(why) => return Err(chain(&why)),
            }
            tokio::time::sleep(AGAIN).await;
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
