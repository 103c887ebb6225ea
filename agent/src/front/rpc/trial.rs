//! Confirm and Cancel: the end of a trial.
//!
//! What needs a trial confirmed from outside is a change of the firewall or of the agent's own port; this agent makes
//! neither, so no trial is ever under way.

use nats_agent_api::order::TrialOrder;
use nats_agent_api::server::ServiceError;

pub(super) fn no_trial(order: &TrialOrder) -> Result<(), ServiceError> {
    let TrialOrder { trial_id, signature: _ } = order;
    Err(ServiceError::Conflict(format!("no change is on trial, so not `{trial_id}` either")))
}
