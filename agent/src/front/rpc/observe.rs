//! Observe: a fresh sweep and the sections in the ledger.

use nats_agent_api::order::Observation;
use nats_agent_api::server::ServiceError;

use super::looks::Shared;
use super::service_error;
use crate::roles::Applier;

pub(super) async fn observe(
    applier: &dyn Applier,
    sweeps: &Shared<Observation>,
) -> Result<Observation, ServiceError> {
    let sweep = async {
        let report = applier.observe().await.map_err(service_error)?;
        let sections = applier.sections().await.map_err(service_error)?;
        Ok(Observation { report, sections })
    };
    sweeps.seen(sweep).await
}
