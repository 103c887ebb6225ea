//! User JWTs and credentials.
//!
//! Three kinds: users within a scope (all permissions stand in the account's JWT, none here), the two users of each
//! host, and users that live for minutes in the provider's memory.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::accounts::{ResponsePermission, SubjectPermissions};
use crate::jwt::{HasId, Jwt, JwtError, MAX_JWT_LEN};
use crate::names::AccountName;
use crate::nkey::{AccountPublicKey, Nkey, NkeyError, NkeyKind, UserPublicKey};

/// Where mesh probes travel, in the system account and in the probe account.
pub const PROBE_SUBJECTS: &str = "nats-agent.probe.>";
/// Monitoring requests a host's system user may make, of any server: all read, none changes anything.
/// Source: nats-server 2.15.1 server/events.go, `$SYS.REQ.SERVER.<id or PING>.<endpoint>`.
pub const MONITOR_ENDPOINTS: [&str; 11] =
    ["ACCOUNTZ", "CONNZ", "GATEWAYZ", "HEALTHZ", "IDZ", "JSZ", "LEAFZ", "RAFTZ", "ROUTEZ", "STATSZ", "VARZ"];

#[derive(Serialize)]
struct Wire {
    jti: String,
    iat: i64,
    iss: AccountPublicKey,
    name: String,
    sub: UserPublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    nats: WireUser,
}

impl HasId for Wire {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

#[derive(Serialize)]
struct WireUser {
    #[serde(rename = "pub")]
    publish: SubjectPermissions,
    #[serde(rename = "sub")]
    subscribe: SubjectPermissions,
    #[serde(rename = "resp", skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsePermission>,
    /// A scoped user must not have limits of its own. Source: nats-io/jwt v2 signingkeys.go.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    limits: Option<WireUserLimits>,
    issuer_account: AccountPublicKey,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct WireUserLimits {
    subs: i64,
    data: i64,
    payload: i64,
}

/// What the JWT of a user without scope allows.
pub(crate) struct Permissions {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
    responses: Option<ResponsePermission>,
}

/// Who a JWT is for, and until when.
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    pub(crate) key: &'a UserPublicKey,
    pub(crate) account: &'a AccountPublicKey,
    pub(crate) now: OffsetDateTime,
    pub(crate) expires: Option<OffsetDateTime>,
}

/// `permissions` of `None` makes a user of the signer's scope.
pub(crate) fn user_jwt(subject: Subject<'_>, permissions: Option<Permissions>, signer: &Nkey) -> Jwt {
    let Subject { name, key, account, now, expires } = subject;
    let limits = permissions.is_some().then_some(WireUserLimits { subs: -1, data: -1, payload: -1 });
    let permissions = permissions.unwrap_or(Permissions {
        publish: BTreeSet::new(),
        subscribe: BTreeSet::new(),
        responses: None,
    });
    let only = |allow| SubjectPermissions { allow, deny: BTreeSet::new() };
    let wire = Wire {
        jti: String::new(),
        iat: now.unix_timestamp(),
        iss: signer.account(),
        name,
        sub: key.clone(),
        exp: expires.map(OffsetDateTime::unix_timestamp),
        nats: WireUser {
            publish: only(permissions.publish),
            subscribe: only(permissions.subscribe),
            responses: permissions.responses,
            limits,
            issuer_account: account.clone(),
            kind: "user",
            version: 2,
        },
    };
    Jwt::sign(wire, signer)
}

fn subjects(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|subject| (*subject).to_owned()).collect()
}

/// Whether a request to `subject` only asks servers of the system account about themselves.
#[must_use]
pub fn is_monitoring(subject: &str) -> bool {
    let Some(rest) = subject.strip_prefix("$SYS.REQ.SERVER.") else { return false };
    match rest.split_once('.') {
        None => rest == "PING",
        Some((server, endpoint)) => !server.is_empty() && MONITOR_ENDPOINTS.contains(&endpoint),
    }
}

/// Who vouches for a user: the account it is of, and the key of that account that signed its JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserIssuer {
    /// Identity of the account.
    pub account: AccountPublicKey,
    /// Its identity, a signing key or a scope key.
    pub key: AccountPublicKey,
    /// When it signed, Unix seconds. A revocation of this time or later ends the user.
    pub issued_at: i64,
}

#[derive(Deserialize)]
struct IssuedWire {
    iat: i64,
    iss: AccountPublicKey,
    nats: IssuedUser,
}

#[derive(Deserialize)]
struct IssuedUser {
    issuer_account: Option<AccountPublicKey>,
    #[serde(rename = "type")]
    kind: String,
}

/// Who vouches for the user of this JWT. The signature is verified; whether the account knows the key, and the server
/// the account, is not.
///
/// # Errors
/// When it is no user's JWT, or not signed by the key that it names.
pub fn user_issuer(jwt: &Jwt) -> Result<UserIssuer, JwtError> {
    let parts = jwt.parts()?;
    let IssuedWire { iat, iss, nats } = serde_json::from_slice(&parts.payload).map_err(JwtError::Claims)?;
    if nats.kind != "user" || !iss.verify(parts.signed, &parts.signature) {
        return Err(JwtError::Signature { issuer: iss.to_string() });
    }
    let account = nats.issuer_account.unwrap_or_else(|| iss.clone());
    Ok(UserIssuer { account, key: iss, issued_at: iat })
}

fn monitor_subjects() -> impl Iterator<Item = String> {
    let endpoints = MONITOR_ENDPOINTS.into_iter().map(|endpoint| format!("$SYS.REQ.SERVER.*.{endpoint}"));
    endpoints.chain(["$SYS.REQ.SERVER.PING".to_owned()])
}

/// One answer within five seconds: what answering a mesh probe takes.
const PROBE_ANSWER: ResponsePermission = ResponsePermission { max_messages: 1, ttl_ns: 5_000_000_000 };

impl Permissions {
    /// A host's user in the system account: monitoring, pushing and reading claims, mesh probes.
    pub(crate) fn system_user() -> Self {
        let claims = [
            "$SYS.REQ.CLAIMS.UPDATE",
            "$SYS.REQ.CLAIMS.LIST",
            "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
            PROBE_SUBJECTS,
        ];
        Self {
            publish: monitor_subjects().chain(subjects(&claims)).collect(),
            subscribe: subjects(&["_INBOX.>", PROBE_SUBJECTS]),
            responses: Some(PROBE_ANSWER),
        }
    }

    /// A host's user in the probe account: mesh probes only.
    pub(crate) fn probe_user() -> Self {
        Self {
            publish: subjects(&[PROBE_SUBJECTS]),
            subscribe: subjects(&["_INBOX.>", PROBE_SUBJECTS]),
            responses: Some(PROBE_ANSWER),
        }
    }

    pub(crate) fn admin(purpose: &AdminPurpose) -> Self {
        let publish = match purpose {
            AdminPurpose::JetStream(..) => subjects(&["$JS.API.>", "$JS.ACK.>"]),
            AdminPurpose::SystemMonitor => monitor_subjects().collect(),
            AdminPurpose::SystemClaims => subjects(&[
                "$SYS.REQ.CLAIMS.UPDATE",
                "$SYS.REQ.CLAIMS.LIST",
                "$SYS.REQ.CLAIMS.DELETE",
                "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
            ]),
            AdminPurpose::SystemOperations => monitor_subjects()
                .chain(subjects(&["$JS.API.META.>", "$JS.API.SERVER.>", "$JS.API.ACCOUNT.>"]))
                .collect(),
        };
        Self { publish, subscribe: subjects(&["_INBOX.>"]), responses: None }
    }
}

/// What a short-lived user of the provider is for; it is allowed nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminPurpose {
    /// JetStream assets of one account, by its signing key of this generation, which the account's claims must name.
    JetStream(AccountName, u32),
    /// Asking servers how they are.
    SystemMonitor,
    /// Pushing, reading and deleting claims.
    SystemClaims,
    /// Moving leaders and peers of the whole system, purging accounts; monitoring included.
    SystemOperations,
}

/// A user for minutes: its JWT and the key that signs the login nonce. `Debug` hides the key.
#[derive(Clone)]
pub struct AdminUser {
    /// The JWT to present.
    pub jwt: Jwt,
    /// The user's public key.
    pub public_key: UserPublicKey,
    /// When the server ends the connection.
    pub expires: OffsetDateTime,
    key: Nkey,
}

impl AdminUser {
    pub(crate) fn new(jwt: Jwt, expires: OffsetDateTime, key: Nkey) -> Self {
        Self { jwt, public_key: key.user(), expires, key }
    }

    /// Signs the nonce a server sent.
    #[must_use]
    pub fn sign(&self, nonce: &[u8]) -> [u8; 64] {
        self.key.sign(nonce)
    }
}

impl fmt::Debug for AdminUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminUser({}, until {}, key redacted)", self.public_key, self.expires)
    }
}

/// A credentials file. `Debug` hides it; wiped on drop.
#[derive(Clone)]
pub struct Credentials {
    /// The user's public key.
    pub user: UserPublicKey,
    /// The user's JWT; of a bearer user it is a secret.
    pub jwt: Jwt,
    key: Nkey,
}

/// Why a text is no credentials file. Never shows the text.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// More than a JWT and a seed can need.
    #[error("credentials have {0} bytes, more than a JWT and a seed need")]
    TooLong(usize),
    /// One of the two blocks is missing or cut.
    #[error("credentials hold no `{0}` block")]
    Block(&'static str),
    /// The first block is no JWT.
    #[error("credentials hold no usable JWT")]
    Jwt(#[from] JwtError),
    /// The second block is no user's seed.
    #[error("credentials hold no usable seed")]
    Seed(#[from] NkeyError),
}

const JWT_BLOCK: &str = "NATS USER JWT";
const SEED_BLOCK: &str = "USER NKEY SEED";

impl Credentials {
    pub(crate) fn new(jwt: Jwt, key: Nkey) -> Self {
        Self { user: key.user(), jwt, key }
    }

    /// The credentials file. A secret.
    #[must_use]
    pub fn creds(&self) -> Zeroizing<String> {
        let seed = self.key.seed();
        Zeroizing::new(format!(
            "-----BEGIN {JWT_BLOCK}-----\n{}\n------END {JWT_BLOCK}------\n\n-----BEGIN {SEED_BLOCK}-----\n{}\n------END {SEED_BLOCK}------\n",
            self.jwt,
            seed.as_str()
        ))
    }

    /// Signs the nonce a server sent.
    #[must_use]
    pub fn sign(&self, nonce: &[u8]) -> [u8; 64] {
        self.key.sign(nonce)
    }
}

/// The one line between the block's two rules.
fn block<'a>(text: &'a str, name: &'static str) -> Result<&'a str, CredentialsError> {
    let mut lines = text.lines().map(str::trim);
    let rule = |line: &str, word: &str| {
        line.trim_matches('-').strip_prefix(word).is_some_and(|rest| rest.trim() == name)
    };
    lines.find(|line| rule(line, "BEGIN")).ok_or(CredentialsError::Block(name))?;
    let value = lines.next().ok_or(CredentialsError::Block(name))?;
    lines.next().filter(|line| rule(line, "END")).ok_or(CredentialsError::Block(name))?;
    Ok(value)
}

impl FromStr for Credentials {
    type Err = CredentialsError;

    /// Reads a credentials file of ours or of NATS' own tools. Nothing is verified: a server does that.
    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        if text.len() > MAX_JWT_LEN + 4096 {
            return Err(CredentialsError::TooLong(text.len()));
        }
        let jwt = block(text, JWT_BLOCK)?.parse()?;
        let key = Nkey::from_seed(NkeyKind::User, block(text, SEED_BLOCK)?)?;
        Ok(Self::new(jwt, key))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, redacted)", self.user)
    }
}
