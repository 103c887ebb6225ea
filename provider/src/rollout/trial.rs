//! New firewall rules of a host are confirmed over a connection that was opened under them.
//!
//! Where that fails nothing is locked out: the kernel of the host goes back by itself.

use std::time::Duration;

use data_encoding::BASE64;
use host_state::chain;
use host_state::firewall::{TRIAL_DOMAIN, TrialAction};
use host_state::report::TrialStatus;
use identity::HostName;
use nats_agent_api::order::TrialOrder;

use crate::agents::System;

/// Most attempts to dial and confirm; a dial that the new rules drop takes its whole timeout.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Confirms `trial` of `host` over a new connection.
///
/// # Errors
/// For people: what failed, what becomes of the host, what to do.
pub(super) async fn confirm(system: &System, host: &HostName, trial: &TrialStatus) -> Result<(), String> {
    let TrialStatus { id, remaining_ms } = trial;
    let until = tokio::time::Instant::now() + Duration::from_millis(*remaining_ms);
    let mut attempt = 1;
    let why = loop {
        let tried = tokio::time::timeout_at(until, try_once(system, host, id)).await;
        let why = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => "no new connection was made in time".to_owned(),
        };
        if attempt == ATTEMPTS || tokio::time::Instant::now() + PAUSE >= until {
            break why;
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    };
    let remaining = until.saturating_duration_since(tokio::time::Instant::now());
    Err(format!(
        "its new firewall rules could not be confirmed over a new connection: {why}. Nobody is locked out: {}. See that the \
         networks in `firewall` (`management` for agents) hold the address that this machine is seen with, and that no \
         firewall between drops the agent's port; then apply again",
        going_back(remaining)
    ))
}

/// When the rules before come back, `remaining` being what is left of the trial.
fn going_back(remaining: Duration) -> String {
    match remaining.as_millis().div_ceil(1000) {
        0 => "the host's kernel went back to the rules before by itself".to_owned(),
        seconds => format!("the host's kernel goes back to the rules before by itself within {seconds} s"),
    }
}

async fn try_once(system: &System, host: &HostName, id: &str) -> Result<(), String> {
    let authority = system.authority().map_err(|problem| problem.detail)?;
    let signed = TrialAction::Confirm.signed_bytes(id);
    let signature = BASE64.encode(&authority.document_key().sign(TRIAL_DOMAIN, &signed));
    let agent = system.dial(host).await.map_err(|problem| problem.detail)?;
    let order = TrialOrder { trial_id: id.to_owned(), signature };
    agent.confirm(order).await.map_err(|why| chain(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_trial_is_told_as_of_now() {
        for (left, told) in
            [(0, "went back"), (1, "within 1 s"), (1_000, "within 1 s"), (41_200, "within 42 s")]
        {
            let text = going_back(Duration::from_millis(left));
            assert!(text.contains(told), "{left}: {text}");
        }
    }
}
