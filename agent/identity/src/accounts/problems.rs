//! What can be wrong with account claims. All of it is found, not the first.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{AccountClaims, AccountLimits, JetStreamLimits, UserTemplate};
use crate::nkey::AccountPublicKey;

/// Largest number nats-server keeps for limits it holds in 32 bits (connections, subscriptions, payload).
/// Source: nats-server 2.15.1 server/accounts.go (`int32` conversions of account claims).
pub const MAX_32_BIT_LIMIT: u64 = i32::MAX as u64;

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
