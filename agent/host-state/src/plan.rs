//! Differences ordered into steps, and what they cost the running server.
//!
//! A plan is a value: the applier does its steps in order, `Preview` shows the same one. A plan of no difference
//! is empty, and each drift is removed by some step. Findings have no steps.
//!
//! Holding a stopped server's ports is no step: an agent does that whenever its server is held.

mod configure;

use nats_config::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::configuration;
use crate::desired::{Desired, Run};
use crate::diff::{ClaimProblem, Difference};
use crate::observed::{Observed, ProcessObserved, RunningObserved};

pub use configure::rendition_config;

/// What would be done, why, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In the order in which they are done; empty when nothing is to do.
    pub steps: Vec<Step>,
    /// What the server goes through.
    pub impact: Impact,
    /// Settings that change, by NATS's own names, sorted; also those that were edited on the host.
    pub settings: Vec<String>,
    /// For people, one line each: what is wrong or new.
    pub reasons: Vec<String>,
}

/// One action that removes differences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Install the binary side by side with others, by version and checksum.
    InstallBinary,
    /// Make the store directory, its mode and its identity file.
    PrepareStore,
    /// Write the drop-in of the server's unit, take a mask off, and have systemd read both.
    WriteUnit,
    /// Stop the server in order.
    Stop,
    /// Write a rendition from [`rendition_config`] and switch to it.
    WriteRendition {
        /// Which settings are in it.
        part: Part,
    },
    /// Write one file of the current rendition again, content and mode.
    RestoreFile {
        /// Its name.
        file: String,
    },
    /// Have the running server read configuration and certificates again.
    Reload,
    /// Stop the server in order and start it.
    Restart,
    /// Start the server.
    Start,
    /// Bring the resolver to the newest claims, once the server answers.
    ConvergeClaims,
    /// Push one account's JWT to the resolver.
    PushClaim {
        /// Account public key.
        account: String,
    },
    /// Load the firewall table again as it was confirmed.
    LoadFirewall,
    /// Put new firewall rules on trial. What keeps them is a confirmation from outside.
    TryFirewall,
}

/// How much of a change a rendition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Only what a reload brings; the rest stays as it runs.
    Reloadable,
    /// Everything.
    Whole,
}

/// What the server goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    /// Nothing.
    None,
    /// It reads its configuration again; no connection is lost.
    Reload,
    /// It stops and starts.
    Restart,
    /// It starts.
    Start,
    /// It stops and stays so.
    Stop,
}

impl Plan {
    /// The plan of no difference.
    pub fn empty() -> Plan {
        Plan { steps: Vec::new(), impact: Impact::None, settings: Vec::new(), reasons: Vec::new() }
    }

    /// Whether nothing is to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::InstallBinary => f.write_str("install nats-server"),
            Step::PrepareStore => f.write_str("prepare the store directory"),
            Step::WriteUnit => f.write_str("write the unit of nats-server"),
            Step::Stop => f.write_str("stop nats-server"),
            Step::WriteRendition { part: Part::Reloadable } => {
                f.write_str("write the part of the configuration that a reload brings")
            }
            Step::WriteRendition { part: Part::Whole } => f.write_str("write the configuration"),
            Step::RestoreFile { file } => write!(f, "restore `{file}`"),
            Step::Reload => f.write_str("reload nats-server"),
            Step::Restart => f.write_str("restart nats-server"),
            Step::Start => f.write_str("start nats-server"),
            Step::ConvergeClaims => f.write_str("bring the accounts to the newest claims"),
            Step::PushClaim { account } => write!(f, "push account `{account}`"),
            Step::LoadFirewall => f.write_str("load the firewall table again"),
            Step::TryFirewall => f.write_str("put the firewall on trial"),
        }
    }
}

/// Steps that bring the host to `desired`. `running_config` is what the running server was last started or
/// reloaded with, `None` when none runs or that is unknown; the current rendition then stands for it.
///
/// `differences` are those of [`diff`](crate::diff::diff) over the same `desired` and `observed`.
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    differences: &[Difference],
    running_config: Option<&ServerConfig>,
) -> Plan {
    let drifts: Vec<(&Difference, Vec<String>)> = differences
        .iter()
        .filter_map(|one| one.told().ok().map(|drift| (one, drift.iter().map(ToString::to_string).collect())))
        .collect();
    let removable: Vec<&Difference> = drifts.iter().map(|(one, _)| *one).collect();
    if removable.is_empty() {
        return Plan::empty();
    }
    let mut steps = Vec::new();
    let has = |wanted: fn(&Difference) -> bool| removable.iter().any(|one| wanted(one));
    if has(|one| matches!(one, Difference::FirewallTable { .. })) {
        steps.push(Step::LoadFirewall);
    }
    if has(|one| matches!(one, Difference::BinaryToInstall { .. })) {
        steps.push(Step::InstallBinary);
    }
    if has(|one| {
        matches!(
            one,
            Difference::StoreUnmarked(_)
                | Difference::StoreMode { .. }
                | Difference::StoreOwner { .. }
                | Difference::StoreBallast { .. }
        )
    }) {
        steps.push(Step::PrepareStore);
    }
    if has(|one| matches!(one, Difference::Unit(_))) {
        steps.push(Step::WriteUnit);
    }
    let is_blocked = differences.iter().any(Difference::blocks_start);
    let running_config = running_config.filter(|config| is_believable(config, &observed.running));
    let end = end(desired, observed, &removable, is_blocked);
    let impact = configure::configure(desired, &removable, running_config, end, &mut steps);
    // Last of what may fail, so that its time is not used up by a server that starts.
    if has(|one| matches!(one, Difference::FirewallOutdated { .. })) {
        steps.push(Step::TryFirewall);
    }
    if impact == Impact::Start && !desired.claims.is_empty() {
        steps.push(Step::ConvergeClaims);
    }
    steps.extend(removable.iter().filter_map(|one| pushed(one)));
    let mut reasons: Vec<String> = drifts.into_iter().flat_map(|(_, reasons)| reasons).collect();
    reasons.dedup();
    Plan { steps, impact, settings: settings(&removable), reasons }
}

/// Whether the running server may hold `config`: it says so, or says nothing.
fn is_believable(config: &ServerConfig, running: &RunningObserved) -> bool {
    match running {
        RunningObserved::Answered { digest, .. } => *digest == configuration::digest(config),
        RunningObserved::Stopped | RunningObserved::Silent { .. } => true,
    }
}

/// What becomes of the process whatever the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is stopped and stays so.
    Stopped,
    /// It is stopped and starts.
    Start,
    /// It runs and stops.
    Stop,
    /// It runs on; may be reloaded or restarted.
    Running {
        /// It restarts for a reason that is not the configuration's.
        restart: bool,
        /// Nothing may be started, so it must not be stopped either.
        keep: bool,
    },
}

fn end(desired: &Desired, observed: &Observed, removable: &[&Difference], is_blocked: bool) -> End {
    match (&observed.process, &desired.run) {
        (ProcessObserved::Running { .. }, Run::Held) => End::Stop,
        (ProcessObserved::Running { .. }, Run::Released(_)) => {
            let restart = removable.iter().any(|one| matches!(one, Difference::ProcessOldBinary { .. }));
            End::Running { restart, keep: is_blocked }
        }
        (ProcessObserved::Stopped { .. }, Run::Released(_)) if !is_blocked => End::Start,
        (ProcessObserved::Stopped { .. }, Run::Released(_) | Run::Held) => End::Stopped,
    }
}

fn pushed(difference: &Difference) -> Option<Step> {
    match difference {
        Difference::Claim { account, name: _, problem } => match problem {
            ClaimProblem::Missing
            | ClaimProblem::Older { .. }
            | ClaimProblem::Changed { .. }
            | ClaimProblem::Alive => Some(Step::PushClaim { account: account.clone() }),
            ClaimProblem::Newer { .. } | ClaimProblem::Unknown => None,
        },
        _ => None,
    }
}

fn settings(removable: &[&Difference]) -> Vec<String> {
    let mut names: Vec<String> = removable
        .iter()
        .flat_map(|one| match one {
            Difference::RenditionOutdated { settings } | Difference::ConfigurationEdited { settings } => {
                settings.as_slice()
            }
            _ => &[],
        })
        .map(|one| one.setting.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}
