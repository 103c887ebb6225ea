//! Observe: a fresh sweep and the sections in the ledger, shared by all who ask; and a record's hash for each who asks.

use nats_agent_api::order::Observation;
use nats_agent_api::server::ServiceError;

use super::looks::Shared;
use super::service_error;
use crate::roles::Applier;

pub(super) async fn observe(
    applier: &dyn Applier,
    sweeps: &Shared<Observation>,
    audit_seq: u64,
) -> Result<Observation, ServiceError> {
    let sweep = async {
        let report = applier.observe().await.map_err(service_error)?;
        let sections = applier.sections().await.map_err(service_error)?;
        Ok(Observation { report, sections, audit_hash: None })
    };
    let seen = sweeps.seen(sweep).await?;
    // After the look, which has found what somebody did to the log.
    let audit_hash = match audit_seq {
        0 => None,
        seq => applier.audit_hash(seq).await.map_err(service_error)?,
    };
    Ok(Observation { audit_hash, ..seen })
}
