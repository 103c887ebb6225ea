//! Account claims as they stand in the JWT, and the two ways between them and [`AccountClaims`](super::AccountClaims).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::DecodeAccountError;
use crate::accounts::{
    AccountLimits, ConnectionType, JetStreamLimits, ResponsePermission, Revoked, SubjectPermissions,
    UserScope, UserTemplate,
};
use crate::jwt::HasId;
use crate::names::UserName;
use crate::nkey::{AccountPublicKey, OperatorPublicKey};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    pub(super) jti: String,
    pub(super) iat: i64,
    pub(super) iss: OperatorPublicKey,
    pub(super) name: String,
    pub(super) sub: AccountPublicKey,
    pub(super) nats: WireAccount,
}

impl HasId for Wire {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireAccount {
    pub(super) limits: WireLimits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) signing_keys: Vec<WireSigningKey>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) revocations: BTreeMap<Revoked, i64>,
    /// Written empty, as NATS' own library does.
    #[serde(default)]
    pub(super) default_permissions: WirePermissions,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireLimits {
    pub(super) subs: i64,
    pub(super) data: i64,
    pub(super) payload: i64,
    pub(super) imports: i64,
    pub(super) exports: i64,
    pub(super) wildcards: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) disallow_bearer: bool,
    pub(super) conn: i64,
    pub(super) leaf: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) mem_storage: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) disk_storage: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) streams: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) consumer: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) max_ack_pending: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) mem_max_stream_bytes: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) disk_max_stream_bytes: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) max_bytes_required: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WireSigningKey {
    Plain(AccountPublicKey),
    Scope(Box<WireScope>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireScope {
    pub(super) kind: String,
    pub(super) key: AccountPublicKey,
    pub(super) role: String,
    pub(super) template: WireTemplate,
    pub(super) description: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireTemplate {
    #[serde(rename = "pub", default)]
    pub(super) publish: SubjectPermissions,
    #[serde(rename = "sub", default)]
    pub(super) subscribe: SubjectPermissions,
    #[serde(rename = "resp", default, skip_serializing_if = "Option::is_none")]
    pub(super) responses: Option<ResponsePermission>,
    pub(super) subs: i64,
    pub(super) data: i64,
    pub(super) payload: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) bearer_token: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) allowed_connection_types: BTreeSet<ConnectionType>,
}

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WirePermissions {
    #[serde(rename = "pub", default)]
    pub(super) publish: SubjectPermissions,
    #[serde(rename = "sub", default)]
    pub(super) subscribe: SubjectPermissions,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

const UNLIMITED: i64 = -1;
/// Source: nats-server 2.15.1, tried: any other word is refused as an unknown signing key scope.
const USER_SCOPE: &str = "user_scope";
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

pub(super) fn unknown(what: String) -> DecodeAccountError {
    DecodeAccountError::Unknown { what }
}

/// A number as we write it: no sign, no leading zero.
pub(super) fn canonical_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

pub(super) fn scope_to_wire(user: &UserName, scope: &UserScope) -> WireScope {
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
        kind: USER_SCOPE.to_owned(),
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

pub(super) fn scope_from_wire(scope: WireScope) -> Result<(UserName, UserScope), DecodeAccountError> {
    let WireScope { kind, key, role, template, description } = scope;
    if kind != USER_SCOPE {
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

pub(super) fn limits_to_wire(limits: &AccountLimits) -> WireLimits {
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

pub(super) fn limits_from_wire(wire: WireLimits) -> Result<AccountLimits, DecodeAccountError> {
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
