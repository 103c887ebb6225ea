//! What an account is: limits, signing keys, users' scopes, revocations. Values only; the JWT is written and read in
//! [`crate::account_jwt`].

mod problems;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{AccountName, UserName};
use crate::nkey::{AccountPublicKey, UserPublicKey};

pub use problems::{ClaimsProblem, MAX_32_BIT_LIMIT};

/// Everything an account's JWT says, except when it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountClaims {
    /// The account's name.
    pub name: AccountName,
    /// The account's identity, for ever the same.
    pub key: AccountPublicKey,
    /// What the account may use.
    pub limits: AccountLimits,
    /// Unscoped signing keys by generation; during a rotation two.
    pub signing_keys: BTreeMap<u32, AccountPublicKey>,
    /// One scoped signing key per user.
    pub scopes: BTreeMap<UserName, UserScope>,
    /// Credentials issued at or before this time (Unix seconds) are refused.
    pub revocations: BTreeMap<Revoked, i64>,
}

/// Whose credentials a revocation refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Revoked {
    /// Every user of the account, `*` in the JWT.
    All,
    /// One user nkey.
    User(UserPublicKey),
}

impl From<Revoked> for String {
    fn from(revoked: Revoked) -> Self {
        match revoked {
            Revoked::All => "*".to_owned(),
            Revoked::User(key) => key.as_str().to_owned(),
        }
    }
}

impl TryFrom<String> for Revoked {
    type Error = crate::nkey::NkeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" { Ok(Self::All) } else { text.parse().map(Self::User) }
    }
}

/// What an account may use. `None` is unlimited everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLimits {
    /// Client connections at once.
    pub connections: Option<u64>,
    /// Leafnode connections at once.
    pub leafnode_connections: Option<u64>,
    /// Subscriptions at once, over all its connections.
    pub subscriptions: Option<u64>,
    /// Bytes of one message.
    pub payload: Option<u64>,
    /// Whether bearer users are refused.
    pub disallow_bearer: bool,
    /// JetStream; `None` means the account has none.
    pub jetstream: Option<JetStreamLimits>,
}

impl AccountLimits {
    /// Nothing limited, no JetStream.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            connections: None,
            leafnode_connections: None,
            subscriptions: None,
            payload: None,
            disallow_bearer: false,
            jetstream: None,
        }
    }
}

/// What an account may use of JetStream, over the whole system. `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JetStreamLimits {
    /// Bytes in memory streams; `Some(0)` allows none.
    pub max_memory: Option<u64>,
    /// Bytes in file streams; `Some(0)` allows none.
    pub max_storage: Option<u64>,
    /// Streams; at least 1.
    pub max_streams: Option<u64>,
    /// Consumers; at least 1.
    pub max_consumers: Option<u64>,
    /// Unacknowledged messages a consumer may have; at least 1.
    pub max_ack_pending: Option<u64>,
    /// Bytes one memory stream may have; at least 1.
    pub memory_max_stream_bytes: Option<u64>,
    /// Bytes one file stream may have; at least 1.
    pub storage_max_stream_bytes: Option<u64>,
    /// Whether every stream must state `max_bytes`.
    pub max_bytes_required: bool,
}

impl JetStreamLimits {
    /// JetStream without limits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            max_memory: None,
            max_storage: None,
            max_streams: None,
            max_consumers: None,
            max_ack_pending: None,
            memory_max_stream_bytes: None,
            storage_max_stream_bytes: None,
            max_bytes_required: false,
        }
    }
}

/// One user: the scoped signing key under which its credentials are minted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserScope {
    /// Which of the user's scope keys this is; a new generation refuses every credential of the older ones.
    pub generation: u32,
    /// Public half of that scope key.
    pub key: AccountPublicKey,
    /// What the user may do and how much.
    pub template: UserTemplate,
}

/// What a user may do. Acts on live connections as soon as the account's JWT is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTemplate {
    /// Subjects for publishing.
    pub publish: SubjectPermissions,
    /// Subjects for subscribing, each optionally followed by a blank and a queue name.
    pub subscribe: SubjectPermissions,
    /// Whether it may answer requests on reply subjects it is otherwise not allowed; `None` means no.
    pub allow_responses: Option<ResponsePermission>,
    /// Subscriptions of one connection; `None` is unlimited.
    pub max_subscriptions: Option<u64>,
    /// Bytes of one message; `None` is unlimited.
    pub max_payload: Option<u64>,
    /// Bytes of data; `None` is unlimited.
    pub max_data: Option<u64>,
    /// Kinds of connection it may use; empty means all.
    pub connection_types: BTreeSet<ConnectionType>,
    /// Whether the JWT alone logs in, without its nkey.
    pub bearer: bool,
}

impl UserTemplate {
    /// Everything within the account.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            publish: SubjectPermissions::default(),
            subscribe: SubjectPermissions::default(),
            allow_responses: None,
            max_subscriptions: None,
            max_payload: None,
            max_data: None,
            connection_types: BTreeSet::new(),
            bearer: false,
        }
    }
}

/// Allowed and denied subjects; both empty means everything is allowed, deny wins over allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectPermissions {
    /// Only these, when not empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<String>,
    /// Never these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deny: BTreeSet<String>,
}

/// How many answers to one request, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponsePermission {
    /// Answers to one request; 0 takes the server's default of 1, -1 is unlimited.
    #[serde(rename = "max")]
    pub max_messages: i32,
    /// Nanoseconds after which answering ends; 0 takes the server's default of 2 minutes, negative is unlimited.
    #[serde(rename = "ttl")]
    pub ttl_ns: i64,
}

/// Kinds of connection. Source: nats-io/jwt v2 `ConnectionType...` constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionType {
    /// Plain NATS clients.
    Standard,
    /// WebSocket clients.
    Websocket,
    /// Leafnodes.
    Leafnode,
    /// Leafnodes over WebSocket.
    LeafnodeWs,
    /// MQTT clients.
    Mqtt,
    /// MQTT over WebSocket.
    MqttWs,
    /// Connections within the server's process.
    InProcess,
}

impl AccountClaims {
    /// The claims of a deleted account: no connections, all credentials issued until `at` (Unix seconds) revoked.
    #[must_use]
    pub fn tombstone(name: AccountName, key: AccountPublicKey, at: i64) -> Self {
        Self {
            name,
            key,
            limits: AccountLimits {
                connections: Some(0),
                leafnode_connections: Some(0),
                disallow_bearer: true,
                ..AccountLimits::unlimited()
            },
            signing_keys: BTreeMap::new(),
            scopes: BTreeMap::new(),
            revocations: BTreeMap::from([(Revoked::All, at)]),
        }
    }

    /// Whether these are the claims of a deleted account.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.revocations
            .get(&Revoked::All)
            .is_some_and(|at| *self == Self::tombstone(self.name.clone(), self.key.clone(), *at))
    }
}
