//! Confirm and Cancel: the end of a trial, which the applier decides on.

use nats_agent_api::order::{Caller, TrialOrder};
use nats_agent_api::server::ServiceError;

use super::{caller_of, service_error};
use crate::roles::{Applier, TrialWish};

pub(super) async fn confirm(
    applier: &dyn Applier,
    order: TrialOrder,
    caller: Caller,
) -> Result<(), ServiceError> {
    applier.confirm(wish(order), caller_of(caller)).await.map_err(service_error)
}

pub(super) async fn cancel(
    applier: &dyn Applier,
    order: TrialOrder,
    caller: Caller,
) -> Result<(), ServiceError> {
    applier.cancel(wish(order), caller_of(caller)).await.map_err(service_error)
}

fn wish(order: TrialOrder) -> TrialWish {
    let TrialOrder { trial_id, signature } = order;
    TrialWish { trial_id, signature }
}
