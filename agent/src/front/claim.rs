//! An unclaimed host's only service: being claimed.
//!
//! The API's listener has checked the caller's certificate, both proofs and the form of the binding before
//! [`Enrolling::bind`] is called; the applier checks the binding against the enrolment and the host's keys, makes it
//! last and burns the token. This file carries one to the other.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use identity::HostKeys;
use nats_agent_api::order;
use nats_agent_api::server::{Door, EnrollmentService, ServiceError};

use crate::front::rpc::service_error;
use crate::roles::{Applier, ClaimState, NewClaim, OpenDoor};

/// The claim, as the applier sees it.
pub struct Enrolling {
    applier: Arc<dyn Applier>,
}

impl Enrolling {
    /// For the host that `applier` keeps.
    #[must_use]
    pub fn new(applier: Arc<dyn Applier>) -> Enrolling {
        Enrolling { applier }
    }
}

#[async_trait]
impl EnrollmentService for Enrolling {
    fn door(&self) -> Door {
        match &*self.applier.claim_state().borrow() {
            ClaimState::Open(door) => opened(door, now()),
            ClaimState::Closed | ClaimState::Claimed(_) | ClaimState::Unreadable { .. } => Door::Closed,
        }
    }

    fn host_keys(&self) -> HostKeys {
        self.applier.host_keys()
    }

    fn agent_version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    async fn bind(&self, claim: order::NewClaim) -> Result<(), ServiceError> {
        let order::NewClaim { generation, claim_id, trust, issuer_pem, names } = claim;
        let claim = NewClaim { generation, claim_id, trust, issuer_pem, names };
        self.applier.bind(claim).await.map_err(service_error)
    }
}

fn opened(door: &OpenDoor, now: i64) -> Door {
    let OpenDoor { enrollment, expires_at } = door;
    if now < *expires_at { Door::Open(Arc::clone(enrollment)) } else { Door::Expired }
}

/// Seconds since 1970. A clock before that is one in which no token has life left.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use identity::{Authority, Generations, RootKey};

    use super::*;

    #[test]
    fn a_token_is_dead_from_its_last_second_on() {
        let root = RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let enrollment = Arc::new(authority.enrollment("east-1".parse().unwrap(), 1));
        let door = OpenDoor { enrollment, expires_at: 1_000 };
        assert!(matches!(opened(&door, 999), Door::Open(_)));
        assert!(matches!(opened(&door, 1_000), Door::Expired));
    }
}
