//! A `nats_account` block into limits, and claims back into state.

use identity::{AccountLimits, AccountName, JetStreamLimits};
use nats_config::ByteSize;
use serde_json::json;
use tfplug::{Diagnostics, Path, Value};

use crate::claims::Account;
use crate::resources::natural_id::{AccountId, SystemId};

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
    let mut problems = Diagnostics::new();
    let system = parsed::<SystemId>(block, Path::root("system"), &mut problems);
    let name = parsed::<AccountName>(block, Path::root("name"), &mut problems);
    let limits = AccountLimits {
        connections: count(block, Path::root("limits").attr("connections"), 0, &mut problems),
        leafnode_connections: count(block, Path::root("limits").attr("leafnode_connections"), 0, &mut problems),
        subscriptions: count(block, Path::root("limits").attr("subscriptions"), 0, &mut problems),
        payload: size(block, Path::root("limits").attr("payload"), &mut problems),
        jetstream: jetstream(block, &mut problems),
        ..AccountLimits::unlimited()
    };
    let generation = count(block, Path::root("generation"), 1, &mut problems).unwrap_or(1);
    let id = system.as_ref().zip(name).map(|(system, account)| AccountId {
        authority: system.authority.clone(),
        account,
    });
    let declared = Declared {
        id,
        limits,
        generation: u32::try_from(generation).unwrap_or(u32::MAX),
        deletion_protection: block.attr("deletion_protection").as_bool().unwrap_or(true),
        system,
    };
    (declared, problems)
}

fn jetstream(block: &Value, problems: &mut Diagnostics) -> Option<JetStreamLimits> {
    let value = block.attr("jetstream");
    if value.is_null() || !value.is_known() {
        return None;
    }
    let path = |name: &str| Path::root("jetstream").attr(name);
    Some(JetStreamLimits {
        max_storage: size(block, path("max_storage"), problems),
        max_memory: size(block, path("max_memory"), problems),
        max_streams: count(block, path("max_streams"), 1, problems),
        max_consumers: count(block, path("max_consumers"), 1, problems),
        max_ack_pending: count(block, path("max_ack_pending"), 1, problems),
        max_bytes_required: value.attr("max_bytes_required").as_bool().unwrap_or(false),
        ..JetStreamLimits::unlimited()
    })
}

fn parsed<T: std::str::FromStr<Err: std::error::Error>>(
    block: &Value,
    path: Path,
    problems: &mut Diagnostics,
) -> Option<T> {
    let text = block.at(&path)?.as_str()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let detail = format!("{}.", host_state::chain(&error));
            problems.error_at(path.clone(), format!("`{path}` cannot be read"), detail);
            None
        }
    }
}

fn size(block: &Value, path: Path, problems: &mut Diagnostics) -> Option<u64> {
    parsed::<ByteSize>(block, path, problems).map(ByteSize::bytes)
}

fn count(block: &Value, path: Path, least: u64, problems: &mut Diagnostics) -> Option<u64> {
    let number = block.at(&path)?.as_number()?;
    match number.to_u64() {
        Some(count) if count >= least => Some(count),
        _ => {
            let detail = format!("Found `{number}`; allowed is a whole number from {least} on. Leave it out for no limit.");
            problems.error_at(path.clone(), format!("`{path}` is no count"), detail);
            None
        }
    }
}

/// State of an account as the claims hold it. `drift` is what its hosts say.
pub(super) fn state(id: &AccountId, account: &Account, timeouts: &Value, drift: Value) -> Value {
    let Account { claims, declared } = account;
    let AccountLimits { connections, leafnode_connections, subscriptions, payload, jetstream, .. } = &claims.limits;
    let limited = [connections, leafnode_connections, subscriptions, payload].iter().any(|limit| limit.is_some());
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
