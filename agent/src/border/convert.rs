//! Between the types of [`crate::roles`] and the messages that carry them: every field by its name, so that a new one
//! stops the build here.

use std::sync::Arc;

use identity::{Enrollment, Nkey, NkeyKind};

use super::message as wire;
use super::secret::Secret;
use crate::roles;

/// Why a message of the right form says nothing. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConvertError {
    /// The text is no enrolment.
    #[error("an enrolment in a message cannot be read")]
    Enrollment,
    /// The text is no user's seed.
    #[error("a user's key in a message cannot be read")]
    UserKey,
}

impl wire::Standing {
    /// What the two channels of the applier say now.
    pub(super) fn of(claim: &roles::ClaimState, identity: Option<&roles::ApiIdentity>) -> wire::Standing {
        wire::Standing { claim: claim.into(), identity: identity.map(Into::into) }
    }

    pub(super) fn into_parts(
        self,
    ) -> Result<(roles::ClaimState, Option<Arc<roles::ApiIdentity>>), ConvertError> {
        let wire::Standing { claim, identity } = self;
        Ok((claim.try_into()?, identity.map(|identity| Arc::new(identity.into()))))
    }
}

impl From<&roles::ClaimState> for wire::ClaimState {
    fn from(state: &roles::ClaimState) -> wire::ClaimState {
        match state {
            roles::ClaimState::Closed => wire::ClaimState::Closed,
            roles::ClaimState::Open(roles::OpenDoor { enrollment, expires_at }) => wire::ClaimState::Open {
                enrollment: Secret::new(enrollment.to_text()),
                expires_at: *expires_at,
            },
            roles::ClaimState::Claimed(claimed) => {
                wire::ClaimState::Claimed(Box::new(claimed.as_ref().into()))
            }
            roles::ClaimState::Unreadable { reason } => {
                wire::ClaimState::Unreadable { reason: reason.clone() }
            }
        }
    }
}

impl TryFrom<wire::ClaimState> for roles::ClaimState {
    type Error = ConvertError;

    fn try_from(state: wire::ClaimState) -> Result<roles::ClaimState, ConvertError> {
        Ok(match state {
            wire::ClaimState::Closed => roles::ClaimState::Closed,
            wire::ClaimState::Open { enrollment, expires_at } => {
                let enrollment: Enrollment =
                    enrollment.into_text().parse().map_err(|_| ConvertError::Enrollment)?;
                roles::ClaimState::Open(roles::OpenDoor { enrollment: Arc::new(enrollment), expires_at })
            }
            wire::ClaimState::Claimed(claimed) => roles::ClaimState::Claimed(Arc::new((*claimed).into())),
            wire::ClaimState::Unreadable { reason } => roles::ClaimState::Unreadable { reason },
        })
    }
}

impl From<&roles::Claimed> for wire::Claimed {
    fn from(claimed: &roles::Claimed) -> wire::Claimed {
        let roles::Claimed { host, generation, claim_id, trust, host_keys } = claimed.clone();
        wire::Claimed { host, generation, claim_id, trust, host_keys }
    }
}

impl From<wire::Claimed> for roles::Claimed {
    fn from(claimed: wire::Claimed) -> roles::Claimed {
        let wire::Claimed { host, generation, claim_id, trust, host_keys } = claimed;
        roles::Claimed { host, generation, claim_id, trust, host_keys }
    }
}

impl From<&roles::ApiIdentity> for wire::ApiIdentity {
    fn from(identity: &roles::ApiIdentity) -> wire::ApiIdentity {
        let roles::ApiIdentity { chain_pem, key } = identity;
        wire::ApiIdentity { chain_pem: chain_pem.clone(), key: key.into() }
    }
}

impl From<wire::ApiIdentity> for roles::ApiIdentity {
    fn from(identity: wire::ApiIdentity) -> roles::ApiIdentity {
        let wire::ApiIdentity { chain_pem, key } = identity;
        roles::ApiIdentity { chain_pem, key: key.into() }
    }
}

impl From<&roles::PrivateKeyPem> for Secret {
    fn from(key: &roles::PrivateKeyPem) -> Secret {
        Secret::new(key.as_str().to_owned().into())
    }
}

impl From<Secret> for roles::PrivateKeyPem {
    fn from(key: Secret) -> roles::PrivateKeyPem {
        roles::PrivateKeyPem::new(key.into_text())
    }
}

impl From<roles::NewClaim> for wire::NewClaim {
    fn from(claim: roles::NewClaim) -> wire::NewClaim {
        let roles::NewClaim { generation, claim_id, trust, issuer_pem, names } = claim;
        wire::NewClaim { generation, claim_id, trust, issuer_pem, names }
    }
}

impl From<wire::NewClaim> for roles::NewClaim {
    fn from(claim: wire::NewClaim) -> roles::NewClaim {
        let wire::NewClaim { generation, claim_id, trust, issuer_pem, names } = claim;
        roles::NewClaim { generation, claim_id, trust, issuer_pem, names }
    }
}

impl From<roles::Caller> for wire::Caller {
    fn from(caller: roles::Caller) -> wire::Caller {
        let roles::Caller { role, serial, opened_ms } = caller;
        let role = match role {
            identity::Role::Operator => wire::Role::Operator,
            identity::Role::Reader => wire::Role::Reader,
            identity::Role::Account(account) => wire::Role::Account(account),
            identity::Role::Peer => wire::Role::Peer,
        };
        wire::Caller { role, serial, opened_ms }
    }
}

impl From<wire::Caller> for roles::Caller {
    fn from(caller: wire::Caller) -> roles::Caller {
        let wire::Caller { role, serial, opened_ms } = caller;
        let role = match role {
            wire::Role::Operator => identity::Role::Operator,
            wire::Role::Reader => identity::Role::Reader,
            wire::Role::Account(account) => identity::Role::Account(account),
            wire::Role::Peer => identity::Role::Peer,
        };
        roles::Caller { role, serial, opened_ms }
    }
}

impl From<roles::ApplyOrder> for wire::ApplyOrder {
    fn from(order: roles::ApplyOrder) -> wire::ApplyOrder {
        let roles::ApplyOrder { sections, mode, lease_id } = order;
        let mode = match mode {
            roles::ApplyMode::Stage => wire::ApplyMode::Stage,
            roles::ApplyMode::Roll => wire::ApplyMode::Roll,
        };
        wire::ApplyOrder { sections, mode, lease_id }
    }
}

impl From<wire::ApplyOrder> for roles::ApplyOrder {
    fn from(order: wire::ApplyOrder) -> roles::ApplyOrder {
        let wire::ApplyOrder { sections, mode, lease_id } = order;
        let mode = match mode {
            wire::ApplyMode::Stage => roles::ApplyMode::Stage,
            wire::ApplyMode::Roll => roles::ApplyMode::Roll,
        };
        roles::ApplyOrder { sections, mode, lease_id }
    }
}

impl From<roles::ApplierError> for wire::ApplierError {
    fn from(error: roles::ApplierError) -> wire::ApplierError {
        match error {
            roles::ApplierError::NotClaimed(text) => wire::ApplierError::NotClaimed(text),
            roles::ApplierError::InvalidDocument(text) => wire::ApplierError::InvalidDocument(text),
            roles::ApplierError::Conflict(text) => wire::ApplierError::Conflict(text),
            roles::ApplierError::Leased(text) => wire::ApplierError::Leased(text),
            roles::ApplierError::Frozen(text) => wire::ApplierError::Frozen(text),
            roles::ApplierError::Failed(text) => wire::ApplierError::Failed(text),
        }
    }
}

impl From<wire::ApplierError> for roles::ApplierError {
    fn from(error: wire::ApplierError) -> roles::ApplierError {
        match error {
            wire::ApplierError::NotClaimed(text) => roles::ApplierError::NotClaimed(text),
            wire::ApplierError::InvalidDocument(text) => roles::ApplierError::InvalidDocument(text),
            wire::ApplierError::Conflict(text) => roles::ApplierError::Conflict(text),
            wire::ApplierError::Leased(text) => roles::ApplierError::Leased(text),
            wire::ApplierError::Frozen(text) => roles::ApplierError::Frozen(text),
            wire::ApplierError::Failed(text) => roles::ApplierError::Failed(text),
        }
    }
}

impl From<roles::TrialWish> for wire::TrialWish {
    fn from(wish: roles::TrialWish) -> wire::TrialWish {
        let roles::TrialWish { trial_id, signature } = wish;
        wire::TrialWish { trial_id, signature }
    }
}

impl From<wire::TrialWish> for roles::TrialWish {
    fn from(wish: wire::TrialWish) -> roles::TrialWish {
        let wire::TrialWish { trial_id, signature } = wish;
        roles::TrialWish { trial_id, signature }
    }
}

impl From<roles::LeaseOrder> for wire::LeaseOrder {
    fn from(order: roles::LeaseOrder) -> wire::LeaseOrder {
        let roles::LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
        let action = match action {
            roles::LeaseAction::Acquire => wire::LeaseAction::Acquire,
            roles::LeaseAction::Renew => wire::LeaseAction::Renew,
            roles::LeaseAction::Release => wire::LeaseAction::Release,
        };
        wire::LeaseOrder { lease_id, holder, action, ttl_ms, signature }
    }
}

impl From<wire::LeaseOrder> for roles::LeaseOrder {
    fn from(order: wire::LeaseOrder) -> roles::LeaseOrder {
        let wire::LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
        let action = match action {
            wire::LeaseAction::Acquire => roles::LeaseAction::Acquire,
            wire::LeaseAction::Renew => roles::LeaseAction::Renew,
            wire::LeaseAction::Release => roles::LeaseAction::Release,
        };
        roles::LeaseOrder { lease_id, holder, action, ttl_ms, signature }
    }
}

impl From<roles::LeaseAnswer> for wire::LeaseAnswer {
    fn from(answer: roles::LeaseAnswer) -> wire::LeaseAnswer {
        let roles::LeaseAnswer { granted, holder, remaining_ms } = answer;
        wire::LeaseAnswer { granted, holder, remaining_ms }
    }
}

impl From<wire::LeaseAnswer> for roles::LeaseAnswer {
    fn from(answer: wire::LeaseAnswer) -> roles::LeaseAnswer {
        let wire::LeaseAnswer { granted, holder, remaining_ms } = answer;
        roles::LeaseAnswer { granted, holder, remaining_ms }
    }
}

impl From<&roles::LocalServer> for wire::LocalServer {
    fn from(server: &roles::LocalServer) -> wire::LocalServer {
        let roles::LocalServer { client, address, host_ca_pem, user_jwt, user_key } = server;
        wire::LocalServer {
            client: *client,
            address: *address,
            host_ca_pem: host_ca_pem.clone(),
            user_jwt: user_jwt.clone(),
            user_key: Secret::new(user_key.seed()),
        }
    }
}

impl TryFrom<wire::LocalServer> for roles::LocalServer {
    type Error = ConvertError;

    fn try_from(server: wire::LocalServer) -> Result<roles::LocalServer, ConvertError> {
        let wire::LocalServer { client, address, host_ca_pem, user_jwt, user_key } = server;
        let user_key = Nkey::from_seed(NkeyKind::User, &user_key.into_text());
        let user_key = Arc::new(user_key.map_err(|_| ConvertError::UserKey)?);
        Ok(roles::LocalServer { client, address, host_ca_pem, user_jwt, user_key })
    }
}

impl From<&roles::MeshPost> for wire::MeshPost {
    fn from(post: &roles::MeshPost) -> wire::MeshPost {
        let roles::MeshPost { host, others, system, probe } = post;
        wire::MeshPost {
            host: host.clone(),
            others: others.clone(),
            system: system.into(),
            probe: probe.into(),
        }
    }
}

impl TryFrom<wire::MeshPost> for roles::MeshPost {
    type Error = ConvertError;

    fn try_from(post: wire::MeshPost) -> Result<roles::MeshPost, ConvertError> {
        let wire::MeshPost { host, others, system, probe } = post;
        Ok(roles::MeshPost { host, others, system: system.try_into()?, probe: probe.try_into()? })
    }
}
