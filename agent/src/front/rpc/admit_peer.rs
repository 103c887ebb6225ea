//! Whether a peer is let in: only while the sections that this host holds pin the key of its certificate.
//!
//! A certificate of a host is good for as long as its issuer, and whoever has the host's disk makes more of them. What
//! tells a neighbour from a lost host is therefore what servers tell it by on routes and gateways: the pin of its
//! leaf's key, which is the same in every renewal and under every host CA.
//!
//! The newest sections that were *taken in* count, whether nats-server runs with them yet or not: a host that is given up
//! is out as soon as its neighbours are told, also where a server cannot follow, and a new one is let in as early.

use std::collections::BTreeSet;

use nats_agent_api::server::ServiceError;

use super::looks::Shared;
use crate::roles::Applier;

pub(super) async fn admit_peer(
    applier: &dyn Applier,
    reads: &Shared<BTreeSet<String>>,
    spki_pin: &str,
) -> Result<(), ServiceError> {
    let read = async { applier.pins().await.map_err(|error| unreadable(&error)) };
    if reads.seen(read).await?.contains(spki_pin) {
        return Ok(());
    }
    Err(ServiceError::Denied(format!(
        "no section that this host holds pins the key `{spki_pin}` of this certificate. A peer is let in while it is a node \
         of the same cluster or gateway; one that is marked `absent`, was enrolled anew, or is not applied yet is none"
    )))
}

/// What a peer is told is no more than that; the owner sees the reason in the agent's report.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> ServiceError {
    tracing::debug!(error = %host_state::chain(error), "a peer was refused");
    ServiceError::Denied("the sections that this host holds cannot be read, so no peer is let in".to_owned())
}
