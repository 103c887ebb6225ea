//! One stream's settings: the ones we declare, and their way into and out of the server's JSON. Pure.
//!
//! An update starts from what the server has and replaces only the keys named here, so that a setting that a
//! newer server or another client added survives.

use std::collections::{BTreeMap, BTreeSet};

use nats_config::{ByteSize, NatsDuration};
use serde_json::{Map, Value};

/// Stream metadata key that names the Terraform object that owns the stream, by its id.
pub const OWNER_KEY: &str = "terraform.owner";
/// Stream metadata key that is there, as `false`, exactly when the owner switched deletion protection off.
pub const PROTECTION_KEY: &str = "terraform.deletion_protection";
/// Window that the server sets when none is asked for, unless messages live shorter.
/// Source: nats-server 2.15.1 server/stream.go `StreamDefaultDuplicatesWindow`.
pub const DEFAULT_DUPLICATE_WINDOW_NS: u64 = 120_000_000_000;

/// What a stream is asked to be. An absent limit means none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Name, unique in the account.
    pub name: String,
    /// For people; empty for none.
    pub description: String,
    /// Subjects it stores.
    pub subjects: BTreeSet<String>,
    /// `file` or `memory`.
    pub storage: String,
    /// `limits`, `interest` or `workqueue`.
    pub retention: String,
    /// `old` or `new`: which message goes when a limit is reached.
    pub discard: String,
    /// Replicas, 1 to 5.
    pub replicas: u64,
    /// Most messages.
    pub max_messages: Option<u64>,
    /// Most bytes.
    pub max_bytes: Option<ByteSize>,
    /// Longest life of a message.
    pub max_age: Option<NatsDuration>,
    /// Largest message.
    pub max_message_size: Option<ByteSize>,
    /// Most messages of one subject.
    pub max_messages_per_subject: Option<u64>,
    /// Most consumers.
    pub max_consumers: Option<u64>,
    /// How long a message id is remembered; absent: the server decides.
    pub duplicate_window: Option<NatsDuration>,
    /// Cluster it lives in; absent: the server decides.
    pub placement_cluster: Option<String>,
    /// Tags that its servers must have.
    pub placement_tags: BTreeSet<String>,
    /// `none` or `s2`.
    pub compression: String,
    /// Whether any replica answers gets.
    pub allow_direct: bool,
    /// Whether a message may roll up what came before.
    pub allow_rollup: bool,
    /// Whether messages can be deleted.
    pub deny_delete: bool,
    /// Whether the stream can be purged.
    pub deny_purge: bool,
    /// Whether a message may carry its own time to live.
    pub allow_message_ttl: bool,
    /// The user's own metadata, without ours and without the server's.
    pub metadata: BTreeMap<String, String>,
}

/// What of a server's stream configuration could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer holds `{key}` = `{found}`, which is no {expected}")]
pub struct SettingsError {
    /// Key in the server's JSON.
    pub key: &'static str,
    /// What was there, shortened.
    pub found: String,
    /// What should have been.
    pub expected: &'static str,
}

/// Metadata keys that are the server's own business. Source: nats-server 2.15.1 server/jetstream_versioning.go.
fn is_servers(key: &str) -> bool {
    key.starts_with("_nats.")
}

fn is_ours(key: &str) -> bool {
    key == OWNER_KEY || key == PROTECTION_KEY
}

impl StreamSettings {
    /// The JSON that makes a new stream.
    pub fn to_json(&self, owner: &str, protected: bool) -> Map<String, Value> {
        let mut config = Map::new();
        self.write_into(&mut config, owner, protected);
        config
    }

    /// Replaces the declared keys in `config`, the server's own configuration of the stream, and no others.
    pub fn write_into(&self, config: &mut Map<String, Value>, owner: &str, protected: bool) {
        let StreamSettings {
            name,
            description,
            subjects,
            storage,
            retention,
            discard,
            replicas,
            max_messages,
            max_bytes,
            max_age,
            max_message_size,
            max_messages_per_subject,
            max_consumers,
            duplicate_window,
            placement_cluster,
            placement_tags,
            compression,
            allow_direct,
            allow_rollup,
            deny_delete,
            deny_purge,
            allow_message_ttl,
            metadata,
        } = self;
        let mut put = |key: &str, value: Value| {
            config.insert(key.to_owned(), value);
        };
        put("name", name.as_str().into());
        put("description", description.as_str().into());
        put("subjects", subjects.iter().cloned().collect::<Vec<_>>().into());
        put("storage", storage.as_str().into());
        put("retention", retention.as_str().into());
        put("discard", discard.as_str().into());
        put("num_replicas", (*replicas).into());
        put("max_msgs", count(*max_messages));
        put("max_bytes", count(max_bytes.map(ByteSize::bytes)));
        put("max_age", max_age.map_or(0, nanoseconds).into());
        put("max_msg_size", count(max_message_size.map(ByteSize::bytes)));
        put("max_msgs_per_subject", count(*max_messages_per_subject));
        put("max_consumers", count(*max_consumers));
        put("compression", compression.as_str().into());
        put("allow_direct", (*allow_direct).into());
        put("allow_rollup_hdrs", (*allow_rollup).into());
        put("deny_delete", (*deny_delete).into());
        put("deny_purge", (*deny_purge).into());
        put("allow_msg_ttl", (*allow_message_ttl).into());
        match duplicate_window {
            Some(window) => put("duplicate_window", nanoseconds(*window).into()),
            None => drop(config.remove("duplicate_window")),
        }
        match placement(placement_cluster.as_deref(), placement_tags) {
            Some(placement) => drop(config.insert("placement".to_owned(), placement)),
            None => drop(config.remove("placement")),
        }
        let marks = metadata_with_marks(config.get("metadata"), metadata, owner, protected);
        config.insert("metadata".to_owned(), marks);
    }

    /// Reads a server's configuration of a stream.
    ///
    /// # Errors
    /// When a declared key holds something else than its type; unknown keys are no error.
    pub fn from_json(config: &Map<String, Value>) -> Result<StreamSettings, SettingsError> {
        let placement = config.get("placement").and_then(Value::as_object);
        Ok(StreamSettings {
            name: text(config, "name")?,
            description: text(config, "description")?,
            subjects: texts(config.get("subjects"), "subjects")?,
            storage: word(config, "storage", "file")?,
            retention: word(config, "retention", "limits")?,
            discard: word(config, "discard", "old")?,
            replicas: limit(config, "num_replicas")?.unwrap_or(1),
            max_messages: limit(config, "max_msgs")?,
            max_bytes: size(config, "max_bytes")?,
            max_age: duration(config, "max_age")?,
            max_message_size: size(config, "max_msg_size")?,
            max_messages_per_subject: limit(config, "max_msgs_per_subject")?,
            max_consumers: limit(config, "max_consumers")?,
            duplicate_window: duration(config, "duplicate_window")?,
            placement_cluster: placement
                .map(|placement| text(placement, "cluster"))
                .transpose()?
                .filter(|cluster| !cluster.is_empty()),
            placement_tags: texts(placement.and_then(|placement| placement.get("tags")), "placement.tags")?,
            compression: word(config, "compression", "none")?,
            allow_direct: flag(config, "allow_direct")?,
            allow_rollup: flag(config, "allow_rollup_hdrs")?,
            deny_delete: flag(config, "deny_delete")?,
            deny_purge: flag(config, "deny_purge")?,
            allow_message_ttl: flag(config, "allow_msg_ttl")?,
            metadata: metadata(config)
                .into_iter()
                .filter(|(key, _)| !is_servers(key) && !is_ours(key))
                .collect(),
        })
    }

    /// One line for each setting that is another one in `found`, under NATS's own names.
    pub fn differences(&self, found: &StreamSettings) -> Vec<String> {
        let (asked, found) = (self.to_json("", true), found.to_json("", true));
        let keys: BTreeSet<&String> = asked.keys().chain(found.keys()).collect();
        let value = |config: &Map<String, Value>, key: &str| config.get(key).cloned().unwrap_or_default();
        let line = |key: &String| {
            let (asked, found) = (value(&asked, key), value(&found, key));
            (asked != found).then(|| format!("`{key}` is `{found}`, asked for `{asked}`"))
        };
        keys.into_iter().filter_map(line).collect()
    }

    /// The duplicate window that the server chooses when none is declared.
    /// Source: nats-server 2.15.1 server/stream.go `checkStreamCfg`.
    pub fn default_duplicate_window(&self) -> Option<NatsDuration> {
        let default = std::time::Duration::from_nanos(DEFAULT_DUPLICATE_WINDOW_NS);
        let window = self.max_age.map_or(default, |age| default.min(age.as_duration()));
        NatsDuration::try_from(window).ok()
    }
}

/// The owner's id in a stream's metadata; absent for a stream that Terraform did not make.
pub fn owner(config: &Map<String, Value>) -> Option<String> {
    metadata(config).remove(OWNER_KEY)
}

/// Whether the owner left deletion protection on.
pub fn is_protected(config: &Map<String, Value>) -> bool {
    metadata(config).get(PROTECTION_KEY).is_none_or(|value| value != "false")
}

fn metadata(config: &Map<String, Value>) -> BTreeMap<String, String> {
    let entries = config.get("metadata").and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The user's metadata and our marks, over the entries the server keeps for itself.
fn metadata_with_marks(
    current: Option<&Value>,
    declared: &BTreeMap<String, String>,
    owner: &str,
    protected: bool,
) -> Value {
    let current = current.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut entries: Map<String, Value> = current.into_iter().filter(|(key, _)| is_servers(key)).collect();
    entries.extend(declared.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    entries.insert(OWNER_KEY.to_owned(), owner.into());
    if !protected {
        entries.insert(PROTECTION_KEY.to_owned(), "false".into());
    }
    Value::Object(entries)
}

fn placement(cluster: Option<&str>, tags: &BTreeSet<String>) -> Option<Value> {
    if cluster.is_none() && tags.is_empty() {
        return None;
    }
    let mut placement = Map::new();
    if let Some(cluster) = cluster {
        placement.insert("cluster".to_owned(), cluster.into());
    }
    if !tags.is_empty() {
        placement.insert("tags".to_owned(), tags.iter().cloned().collect::<Vec<_>>().into());
    }
    Some(Value::Object(placement))
}

/// NATS writes "no limit" as -1.
fn count(limit: Option<u64>) -> Value {
    limit.map_or(Value::from(-1), Value::from)
}

fn nanoseconds(duration: NatsDuration) -> u64 {
    u64::try_from(duration.as_duration().as_nanos()).unwrap_or(u64::MAX)
}

fn wrong(key: &'static str, found: &Value, expected: &'static str) -> SettingsError {
    SettingsError { key, found: found.to_string().chars().take(60).collect(), expected }
}

fn text(config: &Map<String, Value>, key: &'static str) -> Result<String, SettingsError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(wrong(key, other, "string")),
    }
}

fn word(config: &Map<String, Value>, key: &'static str, default: &str) -> Result<String, SettingsError> {
    let word = text(config, key)?;
    Ok(if word.is_empty() { default.to_owned() } else { word })
}

fn texts(value: Option<&Value>, key: &'static str) -> Result<BTreeSet<String>, SettingsError> {
    match value {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Array(entries)) => entries
            .iter()
            .map(|entry| entry.as_str().map(str::to_owned).ok_or_else(|| wrong(key, entry, "string")))
            .collect(),
        Some(other) => Err(wrong(key, other, "list of strings")),
    }
}

fn flag(config: &Map<String, Value>, key: &'static str) -> Result<bool, SettingsError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong(key, other, "bool")),
    }
}

/// A limit where zero and anything negative mean none.
fn limit(config: &Map<String, Value>, key: &'static str) -> Result<Option<u64>, SettingsError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(found) => match (found.as_u64(), found.as_i64()) {
            (Some(0), _) => Ok(None),
            (Some(number), _) => Ok(Some(number)),
            (None, Some(_)) => Ok(None),
            (None, None) => Err(wrong(key, found, "whole number")),
        },
    }
}

fn size(config: &Map<String, Value>, key: &'static str) -> Result<Option<ByteSize>, SettingsError> {
    let Some(bytes) = limit(config, key)? else { return Ok(None) };
    ByteSize::from_bytes(bytes).map(Some).map_err(|_| wrong(key, &bytes.into(), "size"))
}

fn duration(config: &Map<String, Value>, key: &'static str) -> Result<Option<NatsDuration>, SettingsError> {
    let Some(nanoseconds) = limit(config, key)? else { return Ok(None) };
    NatsDuration::try_from(std::time::Duration::from_nanos(nanoseconds))
        .map(Some)
        .map_err(|_| wrong(key, &nanoseconds.into(), "duration"))
}

#[cfg(test)]
mod tests;
