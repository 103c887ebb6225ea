//! What an account is: limits, signing keys, users' scopes, revocations. Values only; the JWT is written and read in
//! [`crate::account_jwt`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::{AccountName, UserName};
use crate::nkey::{AccountPublicKey, UserPublicKey};

/// Largest number nats-server keeps for limits it holds in 32 bits (connections, subscriptions, payload).
/// Source: nats-server 2.15.1 server/accounts.go (`int32` conversions of account claims).
pub const MAX_32_BIT_LIMIT: u64 = i32::MAX as u64;

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

/// One thing that is wrong with account claims.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimsProblem {
    /// A limit that the server would cut or read as unlimited.
    #[error("{field} is {value}, it must be from {min} to {max}")]
    Limit {
        /// Path of the field.
        field: String,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// JetStream is asked for, but neither memory nor storage is allowed.
    #[error("jetstream allows neither memory nor storage, leave it out to have none")]
    EmptyJetStream,
    /// A subject nats-server cannot use.
    #[error("{field} holds `{subject}`, which is no subject{hint}")]
    Subject {
        /// Path of the field.
        field: String,
        /// The refused subject.
        subject: String,
        /// What is allowed there, or nothing.
        hint: &'static str,
    },
    /// Two signing keys of the account are the same.
    #[error("signing key `{key}` is used twice")]
    DuplicateKey {
        /// The key.
        key: AccountPublicKey,
    },
    /// No signing key at all: nobody could administrate the account.
    #[error("the account has no signing key")]
    NoSigningKey,
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

    /// Everything that is wrong; empty when the claims can be signed.
    #[must_use]
    pub fn problems(&self) -> Vec<ClaimsProblem> {
        let Self { name: _, key, limits, signing_keys, scopes, revocations: _ } = self;
        let mut problems = limits.problems();
        if signing_keys.is_empty() && !self.is_tombstone() {
            problems.push(ClaimsProblem::NoSigningKey);
        }
        let mut seen = BTreeSet::from([key]);
        for key in signing_keys.values().chain(scopes.values().map(|scope| &scope.key)) {
            if !seen.insert(key) {
                problems.push(ClaimsProblem::DuplicateKey { key: key.clone() });
            }
        }
        for (user, scope) in scopes {
            scope.template.problems(&format!("user `{user}`"), &mut problems);
        }
        problems
    }
}

impl AccountLimits {
    fn problems(&self) -> Vec<ClaimsProblem> {
        let Self { connections, leafnode_connections, subscriptions, payload, disallow_bearer: _, jetstream } =
            self;
        let mut problems = Vec::new();
        let mut check = |field: &str, value: &Option<u64>, min, max| {
            if let Some(value) = *value
                && !(min..=max).contains(&value)
            {
                problems.push(ClaimsProblem::Limit { field: field.to_owned(), value, min, max });
            }
        };
        check("connections", connections, 0, MAX_32_BIT_LIMIT);
        check("leafnode_connections", leafnode_connections, 0, MAX_32_BIT_LIMIT);
        check("subscriptions", subscriptions, 0, MAX_32_BIT_LIMIT);
        check("payload", payload, 0, MAX_32_BIT_LIMIT);
        let Some(jetstream) = jetstream else { return problems };
        let JetStreamLimits {
            max_memory,
            max_storage,
            max_streams,
            max_consumers,
            max_ack_pending,
            memory_max_stream_bytes,
            storage_max_stream_bytes,
            max_bytes_required: _,
        } = jetstream;
        const MAX: u64 = i64::MAX as u64;
        check("jetstream.max_memory", max_memory, 0, MAX);
        check("jetstream.max_storage", max_storage, 0, MAX);
        check("jetstream.max_streams", max_streams, 1, MAX);
        check("jetstream.max_consumers", max_consumers, 1, MAX);
        check("jetstream.max_ack_pending", max_ack_pending, 1, MAX);
        check("jetstream.memory_max_stream_bytes", memory_max_stream_bytes, 1, MAX);
        check("jetstream.storage_max_stream_bytes", storage_max_stream_bytes, 1, MAX);
        if *max_memory == Some(0) && *max_storage == Some(0) {
            problems.push(ClaimsProblem::EmptyJetStream);
        }
        problems
    }
}

impl UserTemplate {
    fn problems(&self, path: &str, problems: &mut Vec<ClaimsProblem>) {
        let Self {
            publish,
            subscribe,
            allow_responses: _,
            max_subscriptions,
            max_payload,
            max_data,
            connection_types: _,
            bearer: _,
        } = self;
        for (name, value, max) in [
            ("max_subscriptions", max_subscriptions, MAX_32_BIT_LIMIT),
            ("max_payload", max_payload, MAX_32_BIT_LIMIT),
            ("max_data", max_data, i64::MAX as u64),
        ] {
            if let Some(value) = *value
                && value > max
            {
                problems.push(ClaimsProblem::Limit { field: format!("{path} {name}"), value, min: 0, max });
            }
        }
        let lists = [
            ("publish.allow", &publish.allow, false),
            ("publish.deny", &publish.deny, false),
            ("subscribe.allow", &subscribe.allow, true),
            ("subscribe.deny", &subscribe.deny, true),
        ];
        for (name, subjects, may_queue) in lists {
            for subject in subjects.iter().filter(|subject| !is_permission(subject, may_queue)) {
                let hint = if may_queue { ", nor a subject and a queue name" } else { "" };
                problems.push(ClaimsProblem::Subject {
                    field: format!("{path} {name}"),
                    subject: subject.clone(),
                    hint,
                });
            }
        }
    }
}

/// A subject, or where a queue may stand a subject, one blank and a queue name.
fn is_permission(text: &str, may_queue: bool) -> bool {
    match text.split_once(' ') {
        None => is_subject(text),
        Some((subject, queue)) => may_queue && is_subject(subject) && is_subject(queue),
    }
}

/// Tokens joined by dots, none empty, no white space or control characters, `>` only as the last one.
fn is_subject(text: &str) -> bool {
    let last = text.split('.').count() - 1;
    text.split('.').enumerate().all(|(i, token)| {
        !token.is_empty()
            && !token.chars().any(|c| c.is_whitespace() || c.is_control())
            && (token != ">" || i == last)
    })
}
