//! Account claims to JWT and back, losing nothing: reading, changing one entry and writing again changes that entry
//! only.
//!
//! Generations have no field in NATS' own claims: an account signing key's stands in a tag
//! (`signing-key:<generation>:<key>`), a scope's in its `description`; a scope's `role` is the user's name. A field
//! that this version does not know is refused, because writing the JWT again would lose it.
//! Source: nats-io/jwt v2 account_claims.go, signingkeys.go.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::accounts::{
    AccountClaims, AccountLimits, ClaimsProblem, ConnectionType, JetStreamLimits, ResponsePermission,
    Revoked, SubjectPermissions, UserScope, UserTemplate,
};
use crate::jwt::{HasId, Jwt, JwtError, MAX_JWT_LEN};
use crate::names::{NameError, UserName};
use crate::nkey::{AccountPublicKey, Nkey, OperatorPublicKey};
use crate::trust::Trust;

/// A verified account JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedAccount {
    /// What it says.
    pub claims: AccountClaims,
    /// `iat`, Unix seconds. Each new JWT of an account must have a greater one.
    pub issued_at: i64,
    /// The operator signing key that signed it.
    pub issuer: OperatorPublicKey,
}

/// Why account claims were not signed.
#[derive(Debug, Error)]
pub enum EncodeAccountError {
    /// All problems of the claims.
    #[error("account claims are not valid: {}", join(.0))]
    Claims(Vec<ClaimsProblem>),
    /// More scopes than fit a claims request.
    #[error(
        "account JWT would have {length} bytes, at most {MAX_JWT_LEN} can be pushed: let users share scopes"
    )]
    TooLong {
        /// Bytes it would have.
        length: usize,
    },
}

fn join(problems: &[ClaimsProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a text was not accepted as one of the authority's account JWTs.
#[derive(Debug, Error)]
pub enum DecodeAccountError {
    /// Not a NATS JWT, or the signature is wrong.
    #[error("account JWT is not usable")]
    Jwt(#[from] JwtError),
    /// Signed by a key that is none of the authority's operator signing keys.
    #[error("account JWT is issued by `{issuer}`, which is no signing key of authority `{authority}`")]
    Issuer {
        /// The issuer it names.
        issuer: OperatorPublicKey,
        /// The authority that was expected.
        authority: String,
    },
    /// Claims of another type or version.
    #[error("JWT is of type `{kind}` version {version}, not an account's of version 2")]
    Kind {
        /// Its type.
        kind: String,
        /// Its version.
        version: i64,
    },
    /// A value that this version would not write.
    #[error("account JWT holds {what}, which this version cannot keep")]
    Unknown {
        /// What it is.
        what: String,
    },
    /// A name in it is refused.
    #[error("account JWT holds a refused name")]
    Name(#[from] NameError),
    /// The claims break the rules.
    #[error("account claims are not valid: {}", join(.0))]
    Claims(Vec<ClaimsProblem>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    jti: String,
    iat: i64,
    iss: OperatorPublicKey,
    name: String,
    sub: AccountPublicKey,
    nats: WireAccount,
}

impl HasId for Wire {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAccount {
    limits: WireLimits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signing_keys: Vec<WireSigningKey>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    revocations: BTreeMap<Revoked, i64>,
    /// Written empty, as NATS' own library does.
    #[serde(default)]
    default_permissions: WirePermissions,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
    version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLimits {
    subs: i64,
    data: i64,
    payload: i64,
    imports: i64,
    exports: i64,
    wildcards: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    disallow_bearer: bool,
    conn: i64,
    leaf: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    mem_storage: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    disk_storage: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    streams: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    consumer: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_ack_pending: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    mem_max_stream_bytes: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    disk_max_stream_bytes: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    max_bytes_required: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WireSigningKey {
    Plain(AccountPublicKey),
    Scope(WireScope),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireScope {
    kind: String,
    key: AccountPublicKey,
    role: String,
    template: WireTemplate,
    description: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTemplate {
    #[serde(rename = "pub", default)]
    publish: SubjectPermissions,
    #[serde(rename = "sub", default)]
    subscribe: SubjectPermissions,
    #[serde(rename = "resp", default, skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsePermission>,
    subs: i64,
    data: i64,
    payload: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    bearer_token: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    allowed_connection_types: BTreeSet<ConnectionType>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePermissions {
    #[serde(rename = "pub", default)]
    publish: SubjectPermissions,
    #[serde(rename = "sub", default)]
    subscribe: SubjectPermissions,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

const UNLIMITED: i64 = -1;
const USER_TEMPLATE: &str = "user_template";
const GENERATION: &str = "generation ";

/// `None` is the wire's -1. Callers checked the range.
fn to_wire(limit: Option<u64>) -> i64 {
    limit.map_or(UNLIMITED, |value| i64::try_from(value).expect("limits were checked against i64::MAX"))
}

fn from_wire(field: &str, value: i64) -> Result<Option<u64>, DecodeAccountError> {
    match value {
        UNLIMITED => Ok(None),
        value => u64::try_from(value).map(Some).map_err(|_| unknown(format!("{field} of {value}"))),
    }
}

fn unknown(what: String) -> DecodeAccountError {
    DecodeAccountError::Unknown { what }
}

/// JWT of an account that the authority keeps for itself: no limits, no JetStream, no users with scopes.
pub(crate) fn encode_own(
    name: &str,
    key: &AccountPublicKey,
    signing_keys: &BTreeMap<u32, AccountPublicKey>,
    issued_at: i64,
    operator: &Nkey,
) -> Jwt {
    Jwt::sign(
        Wire {
            jti: String::new(),
            iat: issued_at,
            iss: operator.operator(),
            name: name.to_owned(),
            sub: key.clone(),
            nats: WireAccount {
                limits: limits_to_wire(&AccountLimits::unlimited()),
                signing_keys: signing_keys.values().cloned().map(WireSigningKey::Plain).collect(),
                revocations: BTreeMap::new(),
                default_permissions: WirePermissions::default(),
                tags: signing_key_tags(signing_keys),
                kind: "account".to_owned(),
                version: 2,
            },
        },
        operator,
    )
}

#[derive(Serialize)]
struct DeleteRequest<'a> {
    jti: String,
    iat: i64,
    iss: OperatorPublicKey,
    name: &'static str,
    sub: OperatorPublicKey,
    nats: DeleteList<'a>,
}

#[derive(Serialize)]
struct DeleteList<'a> {
    accounts: &'a BTreeSet<AccountPublicKey>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

impl HasId for DeleteRequest<'_> {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

/// The operator's order to forget accounts.
pub(crate) fn delete_request(accounts: &BTreeSet<AccountPublicKey>, issued_at: i64, operator: &Nkey) -> Jwt {
    let identity = operator.operator();
    let nats = DeleteList { accounts, kind: "generic", version: 2 };
    let request = DeleteRequest {
        jti: String::new(),
        iat: issued_at,
        iss: identity.clone(),
        name: "delete accounts",
        sub: identity,
        nats,
    };
    Jwt::sign(request, operator)
}

fn signing_key_tags(signing_keys: &BTreeMap<u32, AccountPublicKey>) -> Vec<String> {
    signing_keys.iter().map(|(generation, key)| format!("signing-key:{generation}:{key}")).collect()
}

/// Signs `claims` as issued at `issued_at` (Unix seconds).
pub(crate) fn encode(
    claims: &AccountClaims,
    issued_at: i64,
    operator: &Nkey,
) -> Result<Jwt, EncodeAccountError> {
    let problems = claims.problems();
    if !problems.is_empty() {
        return Err(EncodeAccountError::Claims(problems));
    }
    let AccountClaims { name, key, limits, signing_keys, scopes, revocations } = claims;
    let plain = signing_keys.values().cloned().map(WireSigningKey::Plain);
    let scoped = scopes.iter().map(|(user, scope)| WireSigningKey::Scope(scope_to_wire(user, scope)));
    let wire = Wire {
        jti: String::new(),
        iat: issued_at,
        iss: operator.operator(),
        name: name.to_string(),
        sub: key.clone(),
        nats: WireAccount {
            limits: limits_to_wire(limits),
            signing_keys: plain.chain(scoped).collect(),
            revocations: revocations.clone(),
            default_permissions: WirePermissions::default(),
            tags: signing_key_tags(signing_keys),
            kind: "account".to_owned(),
            version: 2,
        },
    };
    let jwt = Jwt::sign(wire, operator);
    match jwt.as_str().len() {
        length if length > MAX_JWT_LEN => Err(EncodeAccountError::TooLong { length }),
        _ => Ok(jwt),
    }
}

/// Reads an account JWT that one of the authority's operator signing keys signed.
///
/// # Errors
/// When it is no JWT, not signed by the authority, or holds anything that encoding it again would lose.
pub fn decode_account(jwt: &Jwt, trust: &Trust) -> Result<DecodedAccount, DecodeAccountError> {
    let parts = jwt.parts()?;
    let wire: Wire = serde_json::from_slice(&parts.payload).map_err(JwtError::Claims)?;
    if !trust.operator_signing_keys.contains(&wire.iss) {
        return Err(DecodeAccountError::Issuer { issuer: wire.iss, authority: trust.authority.to_string() });
    }
    if !wire.iss.verify(parts.signed, &parts.signature) {
        return Err(JwtError::Signature { issuer: wire.iss.to_string() }.into());
    }
    let Wire { jti: _, iat, iss, name, sub, nats } = wire;
    let WireAccount { limits, signing_keys, revocations, default_permissions, tags, kind, version } = nats;
    if kind != "account" || version != 2 {
        return Err(DecodeAccountError::Kind { kind, version });
    }
    if default_permissions != WirePermissions::default() {
        return Err(unknown("default permissions".to_owned()));
    }
    let mut plain = BTreeSet::new();
    let mut scopes = BTreeMap::new();
    for signing_key in signing_keys {
        match signing_key {
            WireSigningKey::Plain(key) => {
                plain.insert(key);
            }
            WireSigningKey::Scope(scope) => {
                let (user, scope) = scope_from_wire(scope)?;
                if scopes.insert(user.clone(), scope).is_some() {
                    return Err(unknown(format!("two scopes of user `{user}`")));
                }
            }
        }
    }
    let signing_keys = tags.iter().map(|tag| signing_key_tag(tag)).collect::<Result<BTreeMap<_, _>, _>>()?;
    if signing_keys.len() != tags.len() || signing_keys.values().cloned().collect::<BTreeSet<_>>() != plain {
        return Err(unknown("signing keys other than its tags say".to_owned()));
    }
    let claims = AccountClaims {
        name: name.parse()?,
        key: sub,
        limits: limits_from_wire(limits)?,
        signing_keys,
        scopes,
        revocations,
    };
    match claims.problems() {
        problems if problems.is_empty() => Ok(DecodedAccount { claims, issued_at: iat, issuer: iss }),
        problems => Err(DecodeAccountError::Claims(problems)),
    }
}

fn signing_key_tag(tag: &str) -> Result<(u32, AccountPublicKey), DecodeAccountError> {
    let parse = || {
        let (generation, key) = tag.strip_prefix("signing-key:")?.split_once(':')?;
        Some((canonical_number(generation)?, key.parse().ok()?))
    };
    parse().ok_or_else(|| unknown(format!("tag `{}`", tag.chars().take(80).collect::<String>())))
}

/// A number as we write it: no sign, no leading zero.
fn canonical_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

fn scope_to_wire(user: &UserName, scope: &UserScope) -> WireScope {
    let UserScope { generation, key, template } = scope;
    let UserTemplate {
        publish,
        subscribe,
        allow_responses,
        max_subscriptions,
        max_payload,
        max_data,
        connection_types,
        bearer,
    } = template;
    WireScope {
        kind: USER_TEMPLATE.to_owned(),
        key: key.clone(),
        role: user.to_string(),
        template: WireTemplate {
            publish: publish.clone(),
            subscribe: subscribe.clone(),
            responses: *allow_responses,
            subs: to_wire(*max_subscriptions),
            data: to_wire(*max_data),
            payload: to_wire(*max_payload),
            bearer_token: *bearer,
            allowed_connection_types: connection_types.clone(),
        },
        description: format!("{GENERATION}{generation}"),
    }
}

fn scope_from_wire(scope: WireScope) -> Result<(UserName, UserScope), DecodeAccountError> {
    let WireScope { kind, key, role, template, description } = scope;
    if kind != USER_TEMPLATE {
        return Err(unknown("a scope of another kind".to_owned()));
    }
    let generation = description
        .strip_prefix(GENERATION)
        .and_then(canonical_number)
        .ok_or_else(|| unknown("a scope without generation".to_owned()))?;
    let WireTemplate {
        publish,
        subscribe,
        responses,
        subs,
        data,
        payload,
        bearer_token,
        allowed_connection_types,
    } = template;
    let template = UserTemplate {
        publish,
        subscribe,
        allow_responses: responses,
        max_subscriptions: from_wire("subs", subs)?,
        max_payload: from_wire("payload", payload)?,
        max_data: from_wire("data", data)?,
        connection_types: allowed_connection_types,
        bearer: bearer_token,
    };
    Ok((role.parse()?, UserScope { generation, key, template }))
}

fn limits_to_wire(limits: &AccountLimits) -> WireLimits {
    let AccountLimits {
        connections,
        leafnode_connections,
        subscriptions,
        payload,
        disallow_bearer,
        jetstream,
    } = limits;
    let mut wire = WireLimits {
        subs: to_wire(*subscriptions),
        data: UNLIMITED,
        payload: to_wire(*payload),
        imports: UNLIMITED,
        exports: UNLIMITED,
        wildcards: true,
        disallow_bearer: *disallow_bearer,
        conn: to_wire(*connections),
        leaf: to_wire(*leafnode_connections),
        mem_storage: 0,
        disk_storage: 0,
        streams: 0,
        consumer: 0,
        max_ack_pending: 0,
        mem_max_stream_bytes: 0,
        disk_max_stream_bytes: 0,
        max_bytes_required: false,
    };
    if let Some(jetstream) = jetstream {
        let JetStreamLimits {
            max_memory,
            max_storage,
            max_streams,
            max_consumers,
            max_ack_pending,
            memory_max_stream_bytes,
            storage_max_stream_bytes,
            max_bytes_required,
        } = jetstream;
        // The last three have no -1: zero is what leaves them unlimited.
        wire.mem_storage = to_wire(*max_memory);
        wire.disk_storage = to_wire(*max_storage);
        wire.streams = to_wire(*max_streams);
        wire.consumer = to_wire(*max_consumers);
        wire.max_ack_pending = to_wire(max_ack_pending.or(Some(0)));
        wire.mem_max_stream_bytes = to_wire(memory_max_stream_bytes.or(Some(0)));
        wire.disk_max_stream_bytes = to_wire(storage_max_stream_bytes.or(Some(0)));
        wire.max_bytes_required = *max_bytes_required;
    }
    wire
}

fn limits_from_wire(wire: WireLimits) -> Result<AccountLimits, DecodeAccountError> {
    let WireLimits {
        subs,
        data,
        payload,
        imports,
        exports,
        wildcards,
        disallow_bearer,
        conn,
        leaf,
        mem_storage,
        disk_storage,
        streams,
        consumer,
        max_ack_pending,
        mem_max_stream_bytes,
        disk_max_stream_bytes,
        max_bytes_required,
    } = wire;
    if (data, imports, exports, wildcards) != (UNLIMITED, UNLIMITED, UNLIMITED, true) {
        return Err(unknown("limits of data, imports or exports".to_owned()));
    }
    let or_none =
        |field, value| Ok::<_, DecodeAccountError>(from_wire(field, value)?.filter(|value| *value != 0));
    let jetstream = if mem_storage == 0 && disk_storage == 0 {
        let rest = [streams, consumer, max_ack_pending, mem_max_stream_bytes, disk_max_stream_bytes];
        if rest != [0; 5] || max_bytes_required {
            return Err(unknown("JetStream limits without storage".to_owned()));
        }
        None
    } else {
        Some(JetStreamLimits {
            max_memory: from_wire("mem_storage", mem_storage)?,
            max_storage: from_wire("disk_storage", disk_storage)?,
            max_streams: from_wire("streams", streams)?,
            max_consumers: from_wire("consumer", consumer)?,
            max_ack_pending: or_none("max_ack_pending", max_ack_pending)?,
            memory_max_stream_bytes: or_none("mem_max_stream_bytes", mem_max_stream_bytes)?,
            storage_max_stream_bytes: or_none("disk_max_stream_bytes", disk_max_stream_bytes)?,
            max_bytes_required,
        })
    };
    Ok(AccountLimits {
        connections: from_wire("conn", conn)?,
        leafnode_connections: from_wire("leaf", leaf)?,
        subscriptions: from_wire("subs", subs)?,
        payload: from_wire("payload", payload)?,
        disallow_bearer,
        jetstream,
    })
}
