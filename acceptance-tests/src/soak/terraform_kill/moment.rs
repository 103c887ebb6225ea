//! The moment at which something is killed, and what terraform was doing then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::rig::process::Signal;
use crate::rig::terraform::Running;

/// How long terraform may plan.
const PLANNING: Duration = Duration::from_secs(120);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Provider,
    Terraform,
    Both,
}

impl Victim {
    pub(super) const ALL: [Victim; 3] = [Victim::Provider, Victim::Terraform, Victim::Both];

    pub(super) fn text(self) -> &'static str {
        match self {
            Victim::Provider => "the provider",
            Victim::Terraform => "terraform",
            Victim::Both => "both",
        }
    }
}

/// What was killed.
#[derive(Debug)]
pub(super) struct Killed {
    /// Providers that ran then; those that were not killed have to end by themselves.
    pub(super) providers: Vec<u32>,
    /// Resources that were being made, changed or destroyed.
    pub(super) in_flight: BTreeSet<String>,
}

/// Kills `victim` once terraform has worked on resources for `after`; `None` when it ended before that.
pub(super) fn kill(running: &mut Running, victim: Victim, after: Duration) -> Result<Option<Killed>> {
    let Some(began) = begin(running)? else { return Ok(None) };
    while began.elapsed() < after {
        std::thread::sleep(Duration::from_millis(5).min(after));
        if !running.is_running()? {
            return Ok(None);
        }
    }
    let in_flight = in_flight(&running.stdout());
    let providers = running.providers();
    if !running.is_running()? || providers.is_empty() {
        return Ok(None);
    }
    match victim {
        Victim::Provider => {
            for pid in providers.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                kill_process(pid, Signal::KILL).context("kill the provider")?;
            }
        }
        Victim::Terraform => running.signal(Signal::KILL)?,
        Victim::Both => running.signal_group(Signal::KILL)?,
    }
    Ok(Some(Killed { providers, in_flight }))
}

/// When terraform began to work on the first resource; `None` when it ended before.
pub(super) fn begin(running: &mut Running) -> Result<Option<Instant>> {
    let started = Instant::now();
    while started.elapsed() < PLANNING {
        if running.stdout().contains(r#""type":"apply_start""#) {
            return Ok(Some(Instant::now()));
        }
        if !running.is_running()? {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("terraform has not begun within {PLANNING:?}: {}", running.stdout())
}

/// Resources that terraform has begun to work on and not ended, by what it printed.
/// Source: Terraform v1.11 "machine-readable UI", operation messages.
fn in_flight(stdout: &str) -> BTreeSet<String> {
    let mut resources = BTreeSet::new();
    for message in stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(address) = message["hook"]["resource"]["addr"].as_str() else { continue };
        match message["type"].as_str() {
            Some("apply_start") => _ = resources.insert(address.to_owned()),
            Some("apply_complete" | "apply_errored") => _ = resources.remove(address),
            _ => {}
        }
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_and_not_ended_is_in_flight() {
        let line = |kind: &str, address: &str| {
            format!(r#"{{"type":"{kind}","hook":{{"resource":{{"addr":"{address}"}}}}}}"#)
        };
        let lines = [
            line("apply_start", "nats_account.a"),
            line("apply_start", "nats_user.a"),
            line("apply_progress", "nats_account.a"),
            line("apply_complete", "nats_account.a"),
            line("refresh_start", "nats_stream.a"),
        ];
        assert_eq!(in_flight(&lines.join("\n")), BTreeSet::from(["nats_user.a".to_owned()]));
    }
}
