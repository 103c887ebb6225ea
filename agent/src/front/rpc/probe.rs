//! Probe: which `host:port` this host reaches.

use nats_agent_api::order::{ProbeOrder, ProbeResult};
use nats_agent_api::server::ServiceError;

use crate::front::probe;

pub(super) async fn probe(order: ProbeOrder) -> Result<Vec<ProbeResult>, ServiceError> {
    let ProbeOrder { targets, timeout } = order;
    probe::reach(targets, timeout).await.map_err(|error| ServiceError::Invalid(error.to_string()))
}
