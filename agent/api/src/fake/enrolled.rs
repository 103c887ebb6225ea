//! The fake before it is claimed.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{CertificatePem, HostKeys, mint_leaf};
use time::OffsetDateTime;

use super::{Claimed, LEAF_LIFE, Shared, claimed_tls};
use crate::order::NewClaim;
use crate::server::{Door, EnrollmentService, ServiceError};

pub(super) struct Enrolled {
    shared: Arc<Shared>,
}

impl Enrolled {
    pub(super) fn new(shared: Arc<Shared>) -> Enrolled {
        Enrolled { shared }
    }
}

#[async_trait]
impl EnrollmentService for Enrolled {
    fn door(&self) -> Door {
        let is_claimed = self.shared.claimed.borrow().is_some();
        match &self.shared.enrollment {
            Some(_) if self.shared.script().token_expired => Door::Expired,
            Some(enrollment) if !is_claimed => Door::Open(enrollment.clone()),
            Some(_) | None => Door::Closed,
        }
    }

    fn host_keys(&self) -> HostKeys {
        self.shared.secret.keys()
    }

    fn agent_version(&self) -> String {
        super::model::VERSION.to_owned()
    }

    async fn bind(&self, claim: NewClaim) -> Result<(), ServiceError> {
        if let Some(refusal) = self.shared.script().refuse_claim.clone() {
            return Err(refusal);
        }
        let invalid = |error: &dyn std::error::Error| ServiceError::Invalid(error.to_string());
        let issuer: CertificatePem = claim.issuer_pem.parse().map_err(|error| invalid(&error))?;
        let secret = &self.shared.secret;
        let leaf = mint_leaf(secret, &issuer, &claim.names, OffsetDateTime::now_utc(), LEAF_LIFE)
            .map_err(|error| invalid(&error))?;
        let tls = claimed_tls(secret, &leaf, &claim.trust);
        let claimed = Arc::new(Claimed { claim, tls });
        let is_first = self.shared.claimed.send_if_modified(|state| {
            let is_first = state.is_none();
            if is_first {
                *state = Some(claimed);
            }
            is_first
        });
        if is_first { Ok(()) } else { Err(ServiceError::Conflict("it was claimed meanwhile".to_owned())) }
    }
}
