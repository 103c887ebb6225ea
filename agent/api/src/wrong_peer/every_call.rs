//! Every call of an agent by our own client, with what is enough to be listened to.

use std::time::Duration;

use host_state::SignedSection;

use crate::order::{ApplyMode, ApplyOrder, LeaseAction, LeaseOrder, ProbeOrder, TrialOrder};
use crate::server::Method;
use crate::{AgentClient, CallError, OpenError};

/// Makes a call that changes nothing, unless somebody without the right is listened to: `sections` are staged where the
/// call takes any, signatures and ids are empty. A tunnel that is opened is closed again.
///
/// # Errors
/// What the agent said or did.
pub async fn call(
    agent: &AgentClient,
    method: Method,
    sections: Vec<SignedSection>,
) -> Result<(), CallError> {
    let trial = || TrialOrder { trial_id: String::new(), signature: String::new() };
    match method {
        Method::Observe => agent.observe().await.map(drop),
        Method::Preview => agent.preview(sections).await.map(drop),
        Method::Preflight => agent.preflight().await.map(drop),
        Method::Apply => {
            let order = ApplyOrder { sections, mode: ApplyMode::Stage, lease_id: String::new() };
            agent.apply(order).await?.next().await.map(drop)
        }
        Method::Confirm => agent.confirm(trial()).await,
        Method::Cancel => agent.cancel(trial()).await,
        Method::Lease => {
            let order = LeaseOrder {
                lease_id: "0".repeat(32),
                holder: "thief".to_owned(),
                action: LeaseAction::Acquire,
                ttl_ms: 30_000,
                signature: String::new(),
            };
            agent.lease(order).await.map(drop)
        }
        Method::Probe => {
            let order = ProbeOrder { targets: Vec::new(), timeout: Duration::from_secs(1) };
            agent.probe(order).await.map(drop)
        }
        Method::Claims => agent.claims().await.map(drop),
        Method::Tunnel => match agent.monitor().await {
            // Also one that says that its order is wrong has listened to it.
            Ok(_) | Err(OpenError::Order { .. }) => Ok(()),
            Err(OpenError::Call(why)) => Err(why),
        },
    }
}
