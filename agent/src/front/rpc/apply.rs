//! Apply: sections in, steps told as they are done.

use std::sync::Arc;

use host_state::report::ApplyEvent;
use nats_agent_api::order::{ApplyMode, ApplyOrder, Caller};
use nats_agent_api::server::ServiceError;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{caller_of, service_error};
use crate::roles::{self, Applier};

/// Runs in a task of its own: a caller that goes away, or a connection that breaks, must not leave a change half-way.
pub(super) async fn apply(
    applier: &Arc<dyn Applier>,
    applies: &TaskTracker,
    order: ApplyOrder,
    caller: Caller,
    events: mpsc::Sender<ApplyEvent>,
) -> Result<(), ServiceError> {
    let ApplyOrder { sections, mode, lease_id } = order;
    let mode = match mode {
        ApplyMode::Stage => roles::ApplyMode::Stage,
        ApplyMode::Roll => roles::ApplyMode::Roll,
    };
    tracing::info!(role = %caller.role, serial = caller.serial, ?mode, sections = sections.len(), "apply begins");
    let order = roles::ApplyOrder { sections, mode, lease_id };
    let (applier, caller) = (Arc::clone(applier), caller_of(caller));
    let running = applies.spawn(async move { applier.apply(order, caller, events).await });
    let ended =
        running.await.map_err(|error| ServiceError::Failed(format!("the apply ended by itself: {error}")))?;
    match &ended {
        Ok(()) => tracing::info!("apply ended"),
        Err(error) => tracing::warn!(%error, "apply was refused"),
    }
    ended.map_err(service_error)
}
