//! Lease: who may change this host now.

use host_state::lease;
use nats_agent_api::order::{Caller, LeaseAnswer, LeaseOrder};
use nats_agent_api::server::ServiceError;

use super::{caller_of, service_error};
use crate::roles::{self, Applier};

pub(super) async fn lease(
    applier: &dyn Applier,
    order: LeaseOrder,
    caller: Caller,
) -> Result<LeaseAnswer, ServiceError> {
    let LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
    let action = match action {
        lease::LeaseAction::Acquire => roles::LeaseAction::Acquire,
        lease::LeaseAction::Renew => roles::LeaseAction::Renew,
        lease::LeaseAction::Release => roles::LeaseAction::Release,
    };
    let order = roles::LeaseOrder { lease_id, holder, action, ttl_ms, signature };
    let answer = applier.lease(order, caller_of(caller)).await.map_err(service_error)?;
    let roles::LeaseAnswer { granted, holder, remaining_ms } = answer;
    Ok(LeaseAnswer { granted, holder, remaining_ms })
}
