//! What a team needs for one account and nothing else: a caller's certificate of that account, the account's signing
//! key, and the scope keys of users as they were when it was made.
//!
//! Nothing in it reaches another account: agents let its certificate into this account only, and no server takes a
//! user of another one that its keys signed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::authority::{AdminUserError, Authority, scoped_user_jwt, short_lived_user};
use crate::certificates::{CallerPem, CallerPemError, ClientCertificateError, Role};
use crate::derivation::Purpose;
use crate::jwt::Jwt;
use crate::names::{AccountName, AuthorityName, UserName};
use crate::nkey::{AccountPublicKey, Nkey, NkeyError, NkeyKind, UserPublicKey};
use crate::secret_text::SecretText;
use crate::users::{AdminPurpose, AdminUser, Credentials};

/// First word of the text.
const PREFIX: &str = "nats-account-key-v1.";
/// Longest text that is read, in bytes: one with 3,700 users, as many as an account holds, has about 0.6 MiB.
pub const MAX_ACCOUNT_KEY_LEN: usize = 1 << 20;

/// Keys of one account. `Debug` hides them; wiped on drop.
#[derive(Clone)]
pub struct AccountKey {
    caller: CallerPem,
    account: AccountName,
    identity: AccountPublicKey,
    generation: u32,
    signing: Nkey,
    users: BTreeMap<UserName, ScopeKey>,
}

#[derive(Clone)]
struct ScopeKey {
    generation: u32,
    key: Nkey,
}

/// Why a text is no account key. Never shows the text.
#[derive(Debug, Error)]
pub enum AccountKeyError {
    /// It does not start with the known first word.
    #[error("it does not start with `{PREFIX}`")]
    Prefix,
    /// Above [`MAX_ACCOUNT_KEY_LEN`].
    #[error("it has {0} bytes, at most {MAX_ACCOUNT_KEY_LEN} are read")]
    TooLong(usize),
    /// Cut or damaged.
    #[error("it is cut or damaged")]
    Encoding,
    /// Not what this version writes.
    #[error("it does not hold what this version expects")]
    Content,
    /// Its certificate.
    #[error("its certificate cannot be used")]
    Caller(#[from] CallerPemError),
    /// Its certificate speaks for something else than one account.
    #[error("its certificate has role `{0}`, not that of an account")]
    Role(Role),
    /// A seed in it.
    #[error("a seed in it cannot be used")]
    Seed(#[from] NkeyError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    identity: AccountPublicKey,
    generation: u32,
    signing: SecretText,
    users: BTreeMap<UserName, WireScopeKey>,
    caller: SecretText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireScopeKey {
    generation: u32,
    key: SecretText,
}

impl Authority {
    /// Keys of `account` for whoever manages it without the root key: its signing key of `generation`, and the scope
    /// keys of `users` in their generations. The certificate's key is made from `seed`, which must be random and used
    /// once; it is valid from `now` for `validity`.
    ///
    /// # Errors
    /// As [`Authority::client_certificate`].
    pub fn issue_account_key(
        &self,
        account: &AccountName,
        generation: u32,
        users: &BTreeMap<UserName, u32>,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<AccountKey, ClientCertificateError> {
        let caller = self.caller_pem(&Role::Account(account.clone()), seed, now, validity)?;
        let scope = |(user, generation): (&UserName, &u32)| {
            let key = self.nkey(NkeyKind::Account, &Purpose::UserScope(account, user, *generation));
            (user.clone(), ScopeKey { generation: *generation, key })
        };
        Ok(AccountKey {
            caller,
            account: account.clone(),
            identity: self.account_key(account),
            generation,
            signing: self.nkey(NkeyKind::Account, &Purpose::AccountSigning(account, generation)),
            users: users.iter().map(scope).collect(),
        })
    }
}

impl AccountKey {
    /// The authority that the account is of.
    #[must_use]
    pub fn authority(&self) -> &AuthorityName {
        self.caller.authority()
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &AccountName {
        &self.account
    }

    /// Who its holder is to the agents.
    #[must_use]
    pub fn caller(&self) -> &CallerPem {
        &self.caller
    }

    /// Generation of the account's signing key in it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Generation of a user's scope key in it; absent for a user that it does not know.
    #[must_use]
    pub fn user_generation(&self, user: &UserName) -> Option<u32> {
        self.users.get(user).map(|scope| scope.generation)
    }

    /// A user of the account's JetStream for minutes, to be held in memory. `seed` must be random and used once.
    ///
    /// # Errors
    /// As [`Authority::admin_user`].
    pub fn admin_user(
        &self,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        minutes: u32,
    ) -> Result<AdminUser, AdminUserError> {
        let purpose = AdminPurpose::JetStream(self.account.clone(), self.generation);
        short_lived_user(&purpose, &self.identity, &self.signing, seed, now, minutes)
    }

    /// As [`Authority::user_credentials`]; absent for a user that the key does not know.
    #[must_use]
    pub fn user_credentials(
        &self,
        user: &UserName,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        expires: Option<OffsetDateTime>,
    ) -> Option<Credentials> {
        let key = Nkey::from_seed_bytes(NkeyKind::User, seed);
        let jwt = self.user_jwt_for_key(user, &key.user(), now, expires)?;
        Some(Credentials::new(jwt, key))
    }

    /// As [`Authority::user_jwt_for_key`]; absent for a user that the key does not know.
    #[must_use]
    pub fn user_jwt_for_key(
        &self,
        user: &UserName,
        key: &UserPublicKey,
        now: OffsetDateTime,
        expires: Option<OffsetDateTime>,
    ) -> Option<Jwt> {
        let scope = self.users.get(user)?;
        Some(scoped_user_jwt(user, key, &self.identity, &scope.key, now, expires))
    }

    /// One line of text. A secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let Self { caller, account: _, identity, generation, signing, users } = self;
        let scope = |(user, scope): (&UserName, &ScopeKey)| {
            let ScopeKey { generation, key } = scope;
            (user.clone(), WireScopeKey { generation: *generation, key: key.seed().into() })
        };
        let wire = Wire {
            identity: identity.clone(),
            generation: *generation,
            signing: signing.seed().into(),
            users: users.iter().map(scope).collect(),
            caller: caller.to_text().into(),
        };
        let json = Zeroizing::new(serde_json::to_vec(&wire).expect("an account key is plain data"));
        let encoded = Zeroizing::new(BASE64URL_NOPAD.encode(&json));
        Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))
    }
}

impl FromStr for AccountKey {
    type Err = AccountKeyError;

    /// Reads [`AccountKey::to_text`]; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, AccountKeyError> {
        if text.len() > MAX_ACCOUNT_KEY_LEN {
            return Err(AccountKeyError::TooLong(text.len()));
        }
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(AccountKeyError::Prefix)?;
        let json = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| AccountKeyError::Encoding)?;
        let json = Zeroizing::new(json);
        // The parser's own message may quote a seed, so it is not kept.
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| AccountKeyError::Content)?;
        let Wire { identity, generation, signing, users, caller } = wire;
        let caller: CallerPem = caller.as_str().parse()?;
        let Role::Account(account) = caller.role().clone() else {
            return Err(AccountKeyError::Role(caller.role().clone()));
        };
        let scope = |(user, scope): (UserName, WireScopeKey)| {
            let WireScopeKey { generation, key } = scope;
            let key = Nkey::from_seed(NkeyKind::Account, key.as_str())?;
            Ok::<_, NkeyError>((user, ScopeKey { generation, key }))
        };
        let users = users.into_iter().map(scope).collect::<Result<_, _>>()?;
        let signing = Nkey::from_seed(NkeyKind::Account, signing.as_str())?;
        Ok(Self { caller, account, identity, generation, signing, users })
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({}/{}, keys redacted)", self.authority(), self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generations, RootKey, user_issuer};

    fn authority() -> Authority {
        let root = RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn key() -> AccountKey {
        let users = BTreeMap::from([("service".parse().unwrap(), 2)]);
        let seed = Zeroizing::new([5; 32]);
        let hour = Duration::from_secs(3600);
        authority().issue_account_key(&"orders".parse().unwrap(), 3, &users, &seed, now(), hour).unwrap()
    }

    #[test]
    fn what_it_signs_is_what_the_authority_signs() {
        let (authority, orders) = (authority(), "orders".parse().unwrap());
        let text = key().to_text();
        let key: AccountKey = text.parse().unwrap();
        assert_eq!(key.to_text(), text);
        assert_eq!((key.authority().as_str(), key.account(), key.generation()), ("acme", &orders, 3));
        let seed = Zeroizing::new([7; 32]);
        let purpose = AdminPurpose::JetStream(orders.clone(), 3);
        let theirs = authority.admin_user(&purpose, &seed, now(), 5).unwrap();
        assert_eq!(key.admin_user(&seed, now(), 5).unwrap().jwt, theirs.jwt);
        let service: UserName = "service".parse().unwrap();
        let theirs = authority.user_credentials(&orders, &service, 2, &seed, now(), None);
        assert_eq!(key.user_credentials(&service, &seed, now(), None).unwrap().creds(), theirs.creds());
        assert_eq!(key.user_generation(&service), Some(2));
        assert!(key.user_credentials(&"other".parse().unwrap(), &seed, now(), None).is_none());
        let issuer = user_issuer(&theirs.jwt).unwrap();
        assert_eq!(issuer.account, authority.account_key(&orders));
        assert_eq!(issuer.key, authority.scope_key(&orders, &service, 2));
    }

    #[test]
    fn damage_is_told_and_no_secret_is_shown() {
        let text = key().to_text();
        let cut = &text[..text.len() - 5];
        assert!(matches!(
            cut.parse::<AccountKey>(),
            Err(AccountKeyError::Encoding | AccountKeyError::Content)
        ));
        assert!(matches!("orders".parse::<AccountKey>(), Err(AccountKeyError::Prefix)));
        let long = " ".repeat(MAX_ACCOUNT_KEY_LEN + 1);
        assert!(matches!(long.parse::<AccountKey>(), Err(AccountKeyError::TooLong(_))));
        assert_eq!(format!("{:?}", key()), "AccountKey(acme/orders, keys redacted)");
        let json = BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
        let mut wire: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let reader =
            authority().caller_pem(&Role::Reader, &Zeroizing::new([5; 32]), now(), Duration::from_secs(1));
        wire["caller"] = reader.unwrap().to_text().as_str().into();
        let forged = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(wire.to_string().as_bytes()));
        assert!(matches!(forged.parse::<AccountKey>(), Err(AccountKeyError::Role(Role::Reader))));
    }
}
