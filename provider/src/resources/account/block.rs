//! A `nats_account` block into limits, and claims back into state.

use identity::{AccountLimits, AccountName, JetStreamLimits};
use nats_config::ByteSize;
use serde_json::json;
use tfplug::{Diagnostics, Path, Value};

use crate::claims::Account;
use crate::resources::MAX_COUNT;
use crate::resources::natural_id::{AccountId, SystemId};
use crate::resources::reading::Reading;

/// A block whose every known value was checked; unknown ones read as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// Absent while system or name is unknown.
    pub(super) id: Option<AccountId>,
    pub(super) limits: AccountLimits,
    pub(super) generation: u32,
    pub(super) deletion_protection: bool,
    pub(super) system: Option<SystemId>,
}

impl Declared {
    /// What no JWT can hold, for [`Account::declared`].
    pub(super) fn to_json(&self) -> serde_json::Value {
        json!({
            "system": self.system.as_ref().map(ToString::to_string),
            "deletion_protection": self.deletion_protection,
        })
    }
}

/// Reads and checks a block, all problems at once.
pub(super) fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reading = Reading::new();
    let system = reading.text::<SystemId>(block.attr("system"), &Path::root("system"));
    let name = reading.text::<AccountName>(block.attr("name"), &Path::root("name"));
    let (value, path) = (block.attr("limits"), Path::root("limits"));
    let mut count = |name: &str| reading.number(value.attr(name), &path.attr(name), 0..=MAX_COUNT);
    let limits = AccountLimits {
        connections: count("connections"),
        leafnode_connections: count("leafnode_connections"),
        subscriptions: count("subscriptions"),
        payload: reading.text(value.attr("payload"), &path.attr("payload")).map(ByteSize::bytes),
        jetstream: jetstream(block.attr("jetstream"), &mut reading),
        ..AccountLimits::unlimited()
    };
    let generation =
        reading.number(block.attr("generation"), &Path::root("generation"), 1..=u64::from(u32::MAX));
    let id = system
        .as_ref()
        .zip(name)
        .map(|(system, account)| AccountId { authority: system.authority.clone(), account });
    let deletion_protection = reading.flag(block.attr("deletion_protection")).unwrap_or(true);
    let generation = generation.unwrap_or(1);
    (Declared { id, limits, generation, deletion_protection, system }, reading.into_problems())
}

fn jetstream(value: &Value, reading: &mut Reading) -> Option<JetStreamLimits> {
    if !reading.is_there(value) {
        return None;
    }
    let path = Path::root("jetstream");
    let mut size = |name: &str| reading.text(value.attr(name), &path.attr(name)).map(ByteSize::bytes);
    let (max_storage, max_memory) = (size("max_storage"), size("max_memory"));
    let mut count = |name: &str| reading.number(value.attr(name), &path.attr(name), 1..=MAX_COUNT);
    Some(JetStreamLimits {
        max_storage,
        max_memory,
        max_streams: count("max_streams"),
        max_consumers: count("max_consumers"),
        max_ack_pending: count("max_ack_pending"),
        max_bytes_required: reading.flag(value.attr("max_bytes_required")).unwrap_or(false),
        ..JetStreamLimits::unlimited()
    })
}

/// State of an account as the claims hold it. `drift` is what its hosts say.
pub(super) fn state(id: &AccountId, account: &Account, timeouts: &Value, drift: Value) -> Value {
    let Account { claims, declared } = account;
    let AccountLimits { connections, leafnode_connections, subscriptions, payload, jetstream, .. } =
        &claims.limits;
    let limited =
        [connections, leafnode_connections, subscriptions, payload].iter().any(|limit| limit.is_some());
    let limits = Value::object([
        ("connections", (*connections).into()),
        ("leafnode_connections", (*leafnode_connections).into()),
        ("subscriptions", (*subscriptions).into()),
        ("payload", size_text(*payload)),
    ]);
    let text = |key: &str| declared.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let protected = declared.get("deletion_protection").and_then(serde_json::Value::as_bool).unwrap_or(true);
    Value::object([
        ("id", id.to_string().into()),
        ("system", text("system").into()),
        ("name", id.account.to_string().into()),
        ("jetstream", jetstream.as_ref().map_or(Value::Null, jetstream_state)),
        ("limits", if limited { limits } else { Value::Null }),
        ("generation", claims.signing_keys.keys().next_back().copied().unwrap_or(1).into()),
        ("deletion_protection", protected.into()),
        ("public_key", claims.key.as_str().into()),
        ("drift", drift),
        ("timeouts", timeouts.clone()),
    ])
}

fn jetstream_state(limits: &JetStreamLimits) -> Value {
    Value::object([
        ("max_storage", size_text(limits.max_storage)),
        ("max_memory", size_text(limits.max_memory)),
        ("max_streams", limits.max_streams.into()),
        ("max_consumers", limits.max_consumers.into()),
        ("max_ack_pending", limits.max_ack_pending.into()),
        ("max_bytes_required", limits.max_bytes_required.into()),
    ])
}

fn size_text(bytes: Option<u64>) -> Value {
    bytes.and_then(|bytes| ByteSize::from_bytes(bytes).ok()).map(|size| size.to_string()).into()
}

#[cfg(test)]
mod tests;
