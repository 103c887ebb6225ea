//! The secret half of an authority: derives every key and signs with it.
//!
//! Nothing here reads a clock or makes randomness: times and seeds are arguments, so equal inputs sign equal bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hkdf::Hkdf;
use serde::Serialize;
use sha2::Sha256;
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::account_jwt::{self, EncodeAccountError};
use crate::accounts::{AccountClaims, AccountLimits, UserScope, UserTemplate};
use crate::certificates::{
    self, CertificatePem, ClientCertificateError, ClientIdentity, HostNames, IssueError, LeafPem, Role, Root,
};
use crate::derivation::{Derivation, Purpose, p256_from};
use crate::document::DocumentKey;
use crate::enrollment::{Enrollment, EnrollmentToken};
use crate::host_keys::HostKeys;
use crate::jwt::{HasId, Jwt};
use crate::names::{AccountName, AuthorityName, HostName, PROBE_ACCOUNT, SYSTEM_ACCOUNT, UserName};
use crate::nkey::{AccountPublicKey, Nkey, NkeyKind, OperatorPublicKey, UserPublicKey};
use crate::root_key::RootKey;
use crate::trust::{Generations, Trust};
use crate::users::{AdminPurpose, AdminUser, Credentials, Permissions, Subject, user_jwt};

/// `iat` of the operator's, the system account's and the probe account's JWT: 2024-01-01T00:00:00Z. Fixed, because a
/// clock there would change what servers have configured with every plan.
pub const AUTHORITY_ISSUED_AT: i64 = 1_704_067_200;
/// Longest life of a user made by [`Authority::admin_user`], in minutes.
pub const MAX_ADMIN_MINUTES: u32 = 60;

/// All keys of one authority, for as long as a process needs to sign. `Debug` shows its name only.
pub struct Authority {
    name: AuthorityName,
    generations: Generations,
    derivation: Derivation,
    operator: Nkey,
    operator_signing: Nkey,
    system_account: AccountPublicKey,
    probe_account: AccountPublicKey,
    fleet: Root,
    hosts: Root,
    document: DocumentKey,
}

/// Why an authority was not derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DeriveError {
    /// Generations count from 1.
    #[error("generation `{0}` is 0, generations count from 1")]
    Generation(&'static str),
}

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

#[derive(Serialize)]
struct OperatorWire {
    jti: String,
    iat: i64,
    iss: OperatorPublicKey,
    name: AuthorityName,
    sub: OperatorPublicKey,
    nats: OperatorClaims,
}

#[derive(Serialize)]
struct OperatorClaims {
    signing_keys: BTreeSet<OperatorPublicKey>,
    system_account: AccountPublicKey,
    strict_signing_key_usage: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

impl HasId for OperatorWire {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

impl Authority {
    /// Derives an authority's keys. The same inputs give the same authority.
    ///
    /// # Errors
    /// When a generation is 0.
    pub fn derive(
        root: &RootKey,
        name: AuthorityName,
        generations: Generations,
    ) -> Result<Self, DeriveError> {
        let Generations { operator_signing, account_signing, fleet_ca, host_ca, document } = generations;
        let counts = [
            ("operator_signing", operator_signing),
            ("account_signing", account_signing),
            ("fleet_ca", fleet_ca),
            ("host_ca", host_ca),
            ("document", document),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, generation)| *generation == 0) {
            return Err(DeriveError::Generation(field));
        }
        let derivation = Derivation::new(root, name.clone());
        let nkey = |kind, purpose: &Purpose<'_>| Nkey::from_seed_bytes(kind, &derivation.secret(purpose));
        Ok(Self {
            operator: nkey(NkeyKind::Operator, &Purpose::OperatorIdentity),
            operator_signing: nkey(NkeyKind::Operator, &Purpose::OperatorSigning(operator_signing)),
            system_account: nkey(NkeyKind::Account, &Purpose::SystemAccountIdentity).account(),
            probe_account: nkey(NkeyKind::Account, &Purpose::ProbeAccountIdentity).account(),
            fleet: certificates::fleet_ca(&name, fleet_ca, derivation.p256(&Purpose::FleetCa(fleet_ca))),
            hosts: certificates::host_ca(&name, host_ca, derivation.p256(&Purpose::HostCa(host_ca))),
            document: DocumentKey::from_seed(&derivation.secret(&Purpose::Document(document))),
            name,
            generations,
            derivation,
        })
    }

    /// The authority's name.
    #[must_use]
    pub fn name(&self) -> &AuthorityName {
        &self.name
    }

    /// The generations it signs with.
    #[must_use]
    pub fn generations(&self) -> Generations {
        self.generations
    }

    /// Everything public. Byte-stable.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let Generations { operator_signing, account_signing, fleet_ca, host_ca, document } = self.generations;
        let previous = |generation: u32| generation.checked_sub(1).filter(|previous| *previous > 0);
        let operator_signing_keys: BTreeSet<_> = [Some(operator_signing), previous(operator_signing)]
            .into_iter()
            .flatten()
            .map(|generation| self.nkey(NkeyKind::Operator, &Purpose::OperatorSigning(generation)).operator())
            .collect();
        let (system_key, probe_key) = (Purpose::SystemAccountSigning, Purpose::ProbeAccountSigning);
        Trust {
            authority: self.name.clone(),
            generations: self.generations,
            operator: self.operator.operator(),
            operator_jwt: self.operator_jwt(operator_signing_keys.clone()),
            operator_signing_keys,
            system_account: self.system_account.clone(),
            system_account_jwt: self.own_account_jwt(
                SYSTEM_ACCOUNT,
                &self.system_account,
                account_signing,
                system_key,
            ),
            probe_account: self.probe_account.clone(),
            probe_account_jwt: self.own_account_jwt(
                PROBE_ACCOUNT,
                &self.probe_account,
                account_signing,
                probe_key,
            ),
            fleet_ca: self.fleet.certificate.clone(),
            previous_fleet_ca: previous(fleet_ca).map(|generation| {
                let key = self.derivation.p256(&Purpose::FleetCa(generation));
                certificates::fleet_ca(&self.name, generation, key).certificate
            }),
            host_ca: self.hosts.certificate.clone(),
            previous_host_ca: previous(host_ca).map(|generation| {
                let key = self.derivation.p256(&Purpose::HostCa(generation));
                certificates::host_ca(&self.name, generation, key).certificate
            }),
            document_key: self.document.public(),
            previous_document_key: previous(document).map(|generation| {
                DocumentKey::from_seed(&self.derivation.secret(&Purpose::Document(generation))).public()
            }),
        }
    }

    fn nkey(&self, kind: NkeyKind, purpose: &Purpose<'_>) -> Nkey {
        Nkey::from_seed_bytes(kind, &self.derivation.secret(purpose))
    }

    fn operator_jwt(&self, signing_keys: BTreeSet<OperatorPublicKey>) -> Jwt {
        let identity = self.operator.operator();
        let claims = OperatorWire {
            jti: String::new(),
            iat: AUTHORITY_ISSUED_AT,
            iss: identity.clone(),
            name: self.name.clone(),
            sub: identity,
            nats: OperatorClaims {
                signing_keys,
                system_account: self.system_account.clone(),
                strict_signing_key_usage: true,
                kind: "operator",
                version: 2,
            },
        };
        Jwt::sign(claims, &self.operator)
    }

    /// JWT of the system or the probe account: no limits, no JetStream, current and previous signing key.
    fn own_account_jwt(
        &self,
        name: &str,
        key: &AccountPublicKey,
        generation: u32,
        purpose: fn(u32) -> Purpose<'static>,
    ) -> Jwt {
        let generations = [Some(generation), generation.checked_sub(1).filter(|previous| *previous > 0)];
        let signing_keys = generations.into_iter().flatten();
        let signing_keys =
            signing_keys.map(|g| (g, self.nkey(NkeyKind::Account, &purpose(g)).account())).collect();
        account_jwt::encode_own(name, key, &signing_keys, AUTHORITY_ISSUED_AT, &self.operator_signing)
    }

    /// The key that signs documents.
    #[must_use]
    pub fn document_key(&self) -> &DocumentKey {
        &self.document
    }

    /// Identity of an account, for ever the same.
    #[must_use]
    pub fn account_key(&self, account: &AccountName) -> AccountPublicKey {
        self.nkey(NkeyKind::Account, &Purpose::AccountIdentity(account)).account()
    }

    /// Signing key of an account in a generation.
    #[must_use]
    pub fn account_signing_key(&self, account: &AccountName, generation: u32) -> AccountPublicKey {
        self.nkey(NkeyKind::Account, &Purpose::AccountSigning(account, generation)).account()
    }

    /// Scope key of a user in a generation.
    #[must_use]
    pub fn scope_key(&self, account: &AccountName, user: &UserName, generation: u32) -> AccountPublicKey {
        self.nkey(NkeyKind::Account, &Purpose::UserScope(account, user, generation)).account()
    }

    /// Claims of a new account: the current signing key, no users.
    #[must_use]
    pub fn account_claims(&self, name: AccountName, limits: AccountLimits) -> AccountClaims {
        let generation = self.generations.account_signing;
        AccountClaims {
            key: self.account_key(&name),
            signing_keys: BTreeMap::from([(generation, self.account_signing_key(&name, generation))]),
            limits,
            scopes: BTreeMap::new(),
            revocations: BTreeMap::new(),
            name,
        }
    }

    /// The scope of a user, for [`AccountClaims::scopes`].
    #[must_use]
    pub fn user_scope(
        &self,
        account: &AccountName,
        user: &UserName,
        generation: u32,
        template: UserTemplate,
    ) -> UserScope {
        UserScope { generation, key: self.scope_key(account, user, generation), template }
    }

    /// Signs an account's claims as issued at `issued_at` (Unix seconds).
    ///
    /// # Errors
    /// All problems of the claims, or that the JWT would be too long to push.
    pub fn account_jwt(&self, claims: &AccountClaims, issued_at: i64) -> Result<Jwt, EncodeAccountError> {
        account_jwt::encode(claims, issued_at, &self.operator_signing)
    }

    /// Signs the request that deletes accounts from servers' resolvers (`$SYS.REQ.CLAIMS.DELETE`). The operator's
    /// identity signs it, because nats-server takes nothing less.
    /// Source: nats-server 2.15.1 server/accounts.go `handleDeleteRequest`.
    #[must_use]
    pub fn delete_accounts_jwt(&self, accounts: &BTreeSet<AccountPublicKey>, issued_at: i64) -> Jwt {
        account_jwt::delete_request(accounts, issued_at, &self.operator)
    }

    /// A caller's certificate for `role`, valid from now (less ten minutes for clocks that are behind) for
    /// `validity`. The key is made from `seed`, which must be random and used once.
    ///
    /// # Errors
    /// For [`Role::Peer`], which only hosts have, and for a validity beyond the calendar.
    pub fn client_certificate(
        &self,
        role: &Role,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<ClientIdentity, ClientCertificateError> {
        let key = p256_from(&Hkdf::<Sha256>::new(Some(b"nats-client/v1"), seed.as_ref()), "nats-client/v1");
        certificates::client_certificate(&self.fleet, &self.name, role, &key, now, validity)
    }

    /// The issuer certificate of a host, for the key it made.
    ///
    /// # Errors
    /// All problems of the names, or a validity that is empty or beyond the calendar.
    pub fn issuer(
        &self,
        keys: &HostKeys,
        names: &HostNames,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<CertificatePem, IssueError> {
        certificates::issuer(&self.hosts, &self.name, keys, names, now, validity)
    }

    /// A leaf signed by the host CA itself, for clients that refuse critical name constraints (`issuer = "direct"`).
    ///
    /// # Errors
    /// As [`Authority::issuer`].
    pub fn direct_leaf(
        &self,
        keys: &HostKeys,
        names: &HostNames,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<LeafPem, IssueError> {
        certificates::direct_leaf(&self.hosts, &self.name, keys, names, now, validity)
    }

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
        let signer =
            self.nkey(NkeyKind::Account, &Purpose::SystemAccountSigning(self.generations.account_signing));
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
        let signer =
            self.nkey(NkeyKind::Account, &Purpose::ProbeAccountSigning(self.generations.account_signing));
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
        let subject =
            Subject { name: user.to_string(), key, account: &self.account_key(account), now, expires };
        user_jwt(subject, None, &signer)
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
        if !(1..=MAX_ADMIN_MINUTES).contains(&minutes) {
            return Err(AdminUserError::Minutes(minutes));
        }
        let expires =
            now.checked_add(time::Duration::minutes(i64::from(minutes))).ok_or(AdminUserError::Calendar)?;
        let generation = self.generations.account_signing;
        let (account, signing) = match purpose {
            AdminPurpose::JetStream(account) => {
                (self.account_key(account), Purpose::AccountSigning(account, generation))
            }
            AdminPurpose::SystemMonitor | AdminPurpose::SystemClaims | AdminPurpose::SystemOperations => {
                (self.system_account.clone(), Purpose::SystemAccountSigning(generation))
            }
        };
        let key = Nkey::from_seed_bytes(NkeyKind::User, seed);
        let subject = Subject {
            name: "terraform-provider-nats".to_owned(),
            key: &key.user(),
            account: &account,
            now,
            expires: Some(expires),
        };
        let jwt =
            user_jwt(subject, Some(Permissions::admin(purpose)), &self.nkey(NkeyKind::Account, &signing));
        Ok(AdminUser::new(jwt, expires, key))
    }

    /// What a host needs to join. Stable: the same host and generation give the same text.
    #[must_use]
    pub fn enrollment(&self, host: HostName, generation: u32) -> Enrollment {
        Enrollment {
            authority: self.name.clone(),
            fleet_ca: self.fleet.certificate.clone(),
            token: EnrollmentToken::new(self.derivation.secret(&Purpose::Enrollment(&host, generation))),
            host,
            generation,
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, keys redacted)", self.name)
    }
}
