//! Waiting until a system is well, and has been for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::progress::{Bounds, Ended, Progress};
use crate::agents::System;
use crate::health::{self, ExpectedTopology, Health};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a gate did not open.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system was not well for long enough: {ended}; last seen: {}",
    if problems.is_empty() { "nothing wrong, but not for long enough".to_owned() } else { problems.join("; ") }
)]
pub struct GateError {
    /// What ended the wait.
    pub ended: Ended,
    /// What was wrong when last seen.
    pub problems: Vec<String>,
}

/// Returns when `expected` has been well for `settle` without a break: each declared server answering and reaching
/// every other one, the meta group whole and each stream's replicas current. Drift and findings of hosts, and an agent
/// that is away, do not count: the rollout may be what removes them.
///
/// # Errors
/// When that does not happen within `bounds`.
pub async fn wait_well(
    system: &System,
    expected: &ExpectedTopology,
    settle: Duration,
    bounds: &Bounds,
    progress: &mut Progress,
) -> Result<Health, GateError> {
    let mut well_since: Option<Instant> = None;
    loop {
        let (health, problems) = match health::check(system, expected).await {
            Ok(health) => {
                let problems = health.running_problems();
                (Some(health), problems)
            }
            Err(problem) => (None, vec![problem.detail]),
        };
        match health.filter(|_| problems.is_empty()) {
            Some(health) => {
                let since = *well_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= settle {
                    return Ok(health);
                }
                progress.tell("well, waiting for it to settle");
            }
            None => {
                well_since = None;
                let first = problems.first().map_or("nothing is known", String::as_str);
                progress.tell(&format!("waiting until the system is well: {first}"));
            }
        }
        if let Err(ended) = bounds.pause(PAUSE).await {
            return Err(GateError { ended, problems });
        }
    }
}
