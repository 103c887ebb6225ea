//! Preflight: whether the host is fit for what it is to run.

use host_state::preflight::Preflight;
use nats_agent_api::server::ServiceError;

use super::service_error;
use crate::roles::Applier;

pub(super) async fn preflight(applier: &dyn Applier) -> Result<Preflight, ServiceError> {
    applier.preflight().await.map_err(service_error)
}
