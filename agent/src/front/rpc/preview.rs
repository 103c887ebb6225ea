//! Preview: what an apply would do.

use host_state::{Plan, SignedSection};
use nats_agent_api::server::ServiceError;

use super::service_error;
use crate::roles::Applier;

pub(super) async fn preview(
    applier: &dyn Applier,
    sections: Vec<SignedSection>,
) -> Result<Plan, ServiceError> {
    applier.preview(sections).await.map_err(service_error)
}
