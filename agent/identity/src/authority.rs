//! The secret half of an authority: derives every key and signs with it.
//!
//! Nothing here reads a clock or makes randomness: times and seeds are arguments, so equal inputs sign equal bytes.

mod certificates;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::account_jwt::{self, EncodeAccountError};
use crate::accounts::{AccountClaims, AccountLimits, UserScope, UserTemplate};
use crate::certificates::{Root, fleet_ca as fleet_ca_root, host_ca as host_ca_root};
use crate::derivation::{Derivation, Purpose};
use crate::document::DocumentKey;
use crate::jwt::{HasId, Jwt};
use crate::names::{AccountName, AuthorityName, PROBE_ACCOUNT, SYSTEM_ACCOUNT, UserName};
use crate::nkey::{AccountPublicKey, Nkey, NkeyKind, OperatorPublicKey};
use crate::root_key::RootKey;
use crate::trust::{Generations, Trust};

pub use users::{AdminUserError, MAX_ADMIN_MINUTES};
pub(crate) use users::{scoped_user_jwt, short_lived_user};

/// `iat` of the operator's, the system account's and the probe account's JWT in their first generations:
/// 2024-01-01T00:00:00Z. No clock, because that would change what servers have configured with every plan.
pub const AUTHORITY_ISSUED_AT: i64 = 1_704_067_200;

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
        let signs = generations.previous();
        let nkey = |kind, purpose: &Purpose<'_>| Nkey::from_seed_bytes(kind, &derivation.secret(purpose));
        Ok(Self {
            operator: nkey(NkeyKind::Operator, &Purpose::OperatorIdentity),
            operator_signing: nkey(NkeyKind::Operator, &Purpose::OperatorSigning(signs.operator_signing)),
            system_account: nkey(NkeyKind::Account, &Purpose::SystemAccountIdentity).account(),
            probe_account: nkey(NkeyKind::Account, &Purpose::ProbeAccountIdentity).account(),
            fleet: fleet_ca_root(&name, fleet_ca, derivation.p256(&Purpose::FleetCa(fleet_ca))),
            hosts: host_ca_root(&name, host_ca, derivation.p256(&Purpose::HostCa(host_ca))),
            document: DocumentKey::from_seed(&derivation.secret(&Purpose::Document(signs.document))),
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

    /// The newest generations. What hosts and servers verify is signed by the operator signing, account signing and
    /// document keys of [`Generations::previous`].
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
                fleet_ca_root(&self.name, generation, key).certificate
            }),
            host_ca: self.hosts.certificate.clone(),
            previous_host_ca: previous(host_ca).map(|generation| {
                let key = self.derivation.p256(&Purpose::HostCa(generation));
                host_ca_root(&self.name, generation, key).certificate
            }),
            document_key: DocumentKey::from_seed(&self.derivation.secret(&Purpose::Document(document)))
                .public(),
            previous_document_key: previous(document).map(|generation| {
                DocumentKey::from_seed(&self.derivation.secret(&Purpose::Document(generation))).public()
            }),
        }
    }

    pub(crate) fn nkey(&self, kind: NkeyKind, purpose: &Purpose<'_>) -> Nkey {
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
        let signing_keys = self.own_signing_keys(purpose);
        // A server keeps the account that it has unless a later one comes, so each rotation is a second later.
        let rotations = generation - 1 + (self.generations.operator_signing - 1);
        let issued_at = AUTHORITY_ISSUED_AT + i64::from(rotations);
        account_jwt::encode_own(name, key, &signing_keys, issued_at, &self.operator_signing)
    }

    /// Current and previous signing key of the system or the probe account.
    fn own_signing_keys(&self, purpose: fn(u32) -> Purpose<'static>) -> BTreeMap<u32, AccountPublicKey> {
        let generation = self.generations.account_signing;
        let generations = [Some(generation), generation.checked_sub(1).filter(|previous| *previous > 0)];
        let signing_keys = generations.into_iter().flatten();
        signing_keys.map(|g| (g, self.nkey(NkeyKind::Account, &purpose(g)).account())).collect()
    }

    /// Claims of the system and of the probe account as [`Trust`] has them, before anybody is revoked: to be signed by
    /// [`Authority::account_jwt`] with revocations. Servers then keep that JWT, which is newer than the one in their
    /// configuration.
    #[must_use]
    pub fn own_accounts(&self) -> [AccountClaims; 2] {
        let claims = |name, key: &AccountPublicKey, purpose| AccountClaims {
            name,
            key: key.clone(),
            limits: AccountLimits::unlimited(),
            signing_keys: self.own_signing_keys(purpose),
            scopes: BTreeMap::new(),
            revocations: BTreeMap::new(),
        };
        [
            claims(AccountName::system(), &self.system_account, Purpose::SystemAccountSigning),
            claims(AccountName::probe(), &self.probe_account, Purpose::ProbeAccountSigning),
        ]
    }

    /// The key that signs documents: that of [`Generations::previous`], which hosts trust before they are told of the
    /// newest one, and after.
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

    /// Claims of a new account: its first signing key, no users.
    #[must_use]
    pub fn account_claims(&self, name: AccountName, limits: AccountLimits) -> AccountClaims {
        AccountClaims {
            key: self.account_key(&name),
            signing_keys: BTreeMap::from([(1, self.account_signing_key(&name, 1))]),
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

    /// Signs an account's claims as issued at `issued_at` (Unix seconds), by the operator signing key of
    /// [`Generations::previous`].
    ///
    /// # Errors
    /// All problems of the claims, or that the JWT would be too long to push.
    pub fn account_jwt(&self, claims: &AccountClaims, issued_at: i64) -> Result<Jwt, EncodeAccountError> {
        account_jwt::encode(claims, issued_at, &self.operator_signing)
    }

    /// Signs the request that deletes accounts from servers' resolvers (`$SYS.REQ.CLAIMS.DELETE`). It names the
    /// operator signing key as its own subject: the request must be self-signed, and servers of a strict operator do
    /// not trust the operator's identity.
    /// Source: nats-server 2.15.1 server/accounts.go `handleDeleteRequest`, tried.
    #[must_use]
    pub fn delete_accounts_jwt(&self, accounts: &BTreeSet<AccountPublicKey>, issued_at: i64) -> Jwt {
        account_jwt::delete_request(accounts, issued_at, &self.operator_signing)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, keys redacted)", self.name)
    }
}
