//! The users an authority signs.

use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Authority;
use crate::derivation::Purpose;
use crate::jwt::Jwt;
use crate::names::{AccountName, HostName, UserName};
use crate::nkey::{AccountPublicKey, Nkey, NkeyKind, UserPublicKey};
use crate::users::{AdminPurpose, AdminUser, Credentials, Permissions, Subject, user_jwt};

/// Longest life of a user made by [`Authority::admin_user`], in minutes.
pub const MAX_ADMIN_MINUTES: u32 = 60;

/// Why no short-lived user was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AdminUserError {
    /// Out of range.
    #[error("{0} minutes are not from 1 to {MAX_ADMIN_MINUTES}")]
    Minutes(u32),
    /// The end of its life is not a date.
    #[error("its life ends beyond the calendar")]
    Calendar,
}

impl Authority {
    /// JWT of a host's user in the system account.
    #[must_use]
    pub fn system_user_jwt(
        &self,
        host: &HostName,
        key: &UserPublicKey,
        now: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Jwt {
        let subject = Subject {
            name: host.to_string(),
            key,
            account: &self.system_account,
            now,
            expires: Some(expires),
        };
        let signer = self.nkey(
            NkeyKind::Account,
            &Purpose::SystemAccountSigning(self.generations.previous().account_signing),
        );
        user_jwt(subject, Some(Permissions::system_user()), &signer)
    }

    /// JWT of a host's user in the probe account.
    #[must_use]
    pub fn probe_user_jwt(
        &self,
        host: &HostName,
        key: &UserPublicKey,
        now: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Jwt {
        let subject = Subject {
            name: host.to_string(),
            key,
            account: &self.probe_account,
            now,
            expires: Some(expires),
        };
        let signer = self.nkey(
            NkeyKind::Account,
            &Purpose::ProbeAccountSigning(self.generations.previous().account_signing),
        );
        user_jwt(subject, Some(Permissions::probe_user()), &signer)
    }

    /// Credentials of a user, within its scope. The user's nkey is made from `seed`, which must be random and used
    /// once; `expires` of `None` means they end only with the scope.
    #[must_use]
    pub fn user_credentials(
        &self,
        account: &AccountName,
        user: &UserName,
        generation: u32,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        expires: Option<OffsetDateTime>,
    ) -> Credentials {
        let key = Nkey::from_seed_bytes(NkeyKind::User, seed);
        let jwt = self.user_jwt_for_key(account, user, generation, &key.user(), now, expires);
        Credentials::new(jwt, key)
    }

    /// JWT of a user, within its scope, for a public key the user brings.
    #[must_use]
    pub fn user_jwt_for_key(
        &self,
        account: &AccountName,
        user: &UserName,
        generation: u32,
        key: &UserPublicKey,
        now: OffsetDateTime,
        expires: Option<OffsetDateTime>,
    ) -> Jwt {
        let signer = self.nkey(NkeyKind::Account, &Purpose::UserScope(account, user, generation));
        scoped_user_jwt(user, key, &self.account_key(account), &signer, now, expires)
    }

    /// A user for minutes, to be held in memory. `seed` must be random and used once.
    ///
    /// # Errors
    /// When `minutes` is 0 or above [`MAX_ADMIN_MINUTES`].
    pub fn admin_user(
        &self,
        purpose: &AdminPurpose,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        minutes: u32,
    ) -> Result<AdminUser, AdminUserError> {
        // The key before the newest, which servers know before, during and after its rotation.
        let generation = self.generations.previous().account_signing;
        let (account, signing) = match purpose {
            AdminPurpose::JetStream(account, generation) => {
                (self.account_key(account), Purpose::AccountSigning(account, *generation))
            }
            AdminPurpose::SystemMonitor | AdminPurpose::SystemClaims | AdminPurpose::SystemOperations => {
                (self.system_account.clone(), Purpose::SystemAccountSigning(generation))
            }
        };
        let signer = self.nkey(NkeyKind::Account, &signing);
        short_lived_user(purpose, &account, &signer, seed, now, minutes)
    }
}

/// JWT of a user within the scope that `signer` is the key of.
pub(crate) fn scoped_user_jwt(
    user: &UserName,
    key: &UserPublicKey,
    account: &AccountPublicKey,
    signer: &Nkey,
    now: OffsetDateTime,
    expires: Option<OffsetDateTime>,
) -> Jwt {
    user_jwt(Subject { name: user.to_string(), key, account, now, expires }, None, signer)
}

/// As [`Authority::admin_user`], by whoever holds a signing key of `account`.
pub(crate) fn short_lived_user(
    purpose: &AdminPurpose,
    account: &AccountPublicKey,
    signer: &Nkey,
    seed: &Zeroizing<[u8; 32]>,
    now: OffsetDateTime,
    minutes: u32,
) -> Result<AdminUser, AdminUserError> {
    if !(1..=MAX_ADMIN_MINUTES).contains(&minutes) {
        return Err(AdminUserError::Minutes(minutes));
    }
    let expires =
        now.checked_add(time::Duration::minutes(i64::from(minutes))).ok_or(AdminUserError::Calendar)?;
    let key = Nkey::from_seed_bytes(NkeyKind::User, seed);
    let subject = Subject {
        name: "terraform-provider-nats".to_owned(),
        key: &key.user(),
        account,
        now,
        expires: Some(expires),
    };
    let jwt = user_jwt(subject, Some(Permissions::admin(purpose)), signer);
    Ok(AdminUser::new(jwt, expires, key))
}
