//! A `nats_stream` block into [`StreamSettings`], all problems at once, and a server's settings back into state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use tfplug::{Diagnostic, Diagnostics, Path, Value};

use crate::jetstream::StreamSettings;
use crate::resources::MAX_COUNT;
use crate::resources::natural_id::{AccountId, MAX_STREAM_NAME_BYTES, StreamId, is_stream_name};
use crate::resources::reading::Reading;

/// A block whose every known value was checked. Unknown values read as absent, so settings are whole only when
/// the block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// Absent while unknown.
    pub(super) account: Option<AccountId>,
    pub(super) settings: StreamSettings,
    pub(super) deletion_protection: bool,
}

impl Declared {
    /// The stream's id; absent while account or name is unknown.
    pub(super) fn id(&self) -> Option<StreamId> {
        let account = self.account.clone()?;
        let stream = self.settings.name.clone();
        (!stream.is_empty()).then_some(StreamId { account, stream })
    }
}

/// Longest description. Source: nats-server 2.15.1 server/stream.go `JSMaxDescriptionLen`.
const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Shortest `max_age` and `duplicate_window`. Source: nats-server 2.15.1 server/stream.go `checkStreamCfg`.
const MIN_TIME: Duration = Duration::from_millis(100);
/// Most replicas. Source: nats-server 2.15.1 server/stream.go `StreamMaxReplicas`.
const MAX_REPLICAS: u64 = 5;

/// Reads and checks a block. The settings are usable only when there is no error.
pub(super) fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reading = Reading::new();
    let placement = block.attr("placement");
    let settings = StreamSettings {
        name: name(block.attr("name"), &mut reading),
        description: block.attr("description").as_str().unwrap_or_default().to_owned(),
        subjects: subjects(block.attr("subjects"), &mut reading),
        storage: word(block, "storage", &["file", "memory"], &mut reading),
        retention: word(block, "retention", &["limits", "interest", "workqueue"], &mut reading),
        discard: word(block, "discard", &["old", "new"], &mut reading),
        replicas: reading
            .number(block.attr("replicas"), &Path::root("replicas"), 1..=MAX_REPLICAS)
            .unwrap_or(1),
        max_messages: count(block, "max_messages", &mut reading),
        max_bytes: text(block, "max_bytes", &mut reading),
        max_age: text(block, "max_age", &mut reading),
        max_message_size: text(block, "max_message_size", &mut reading),
        max_messages_per_subject: count(block, "max_messages_per_subject", &mut reading),
        max_consumers: count(block, "max_consumers", &mut reading),
        duplicate_window: text(block, "duplicate_window", &mut reading),
        placement_cluster: placement.attr("cluster").as_str().map(str::to_owned),
        placement_tags: reading
            .texts(placement.attr("tags"), &Path::root("placement").attr("tags"))
            .into_iter()
            .collect(),
        compression: word(block, "compression", &["none", "s2"], &mut reading),
        allow_direct: flag(block, "allow_direct", &mut reading),
        allow_rollup: flag(block, "allow_rollup", &mut reading),
        deny_delete: flag(block, "deny_delete", &mut reading),
        deny_purge: flag(block, "deny_purge", &mut reading),
        allow_message_ttl: flag(block, "allow_message_ttl", &mut reading),
        metadata: metadata(block.attr("metadata"), &mut reading),
    };
    let account = text(block, "account", &mut reading);
    let deletion_protection = reading.flag(block.attr("deletion_protection")).unwrap_or(true);
    let mut problems = reading.into_problems();
    check_together(&settings, &mut problems);
    (Declared { account, settings, deletion_protection }, problems)
}

/// Rules between settings, as the server has them.
/// Source: nats-server 2.15.1 server/stream.go `checkStreamCfg`.
fn check_together(settings: &StreamSettings, problems: &mut Diagnostics) {
    let mut refuse = |attribute: &str, summary: &str, detail: String| {
        problems.error_at(Path::root(attribute), summary, detail);
    };
    if settings.description.len() > MAX_DESCRIPTION_BYTES {
        let found = settings.description.len();
        refuse(
            "description",
            "Description too long",
            format!("It has {found} bytes; NATS allows {MAX_DESCRIPTION_BYTES}."),
        );
    }
    if settings.deny_purge && settings.allow_rollup {
        let detail = "A roll-up purges what came before it. Set one of the two to false.".to_owned();
        refuse("allow_rollup", "`allow_rollup` needs purges, which `deny_purge` refuses", detail);
    }
    if let (Some(window), Some(age)) = (settings.duplicate_window, settings.max_age)
        && window > age
    {
        let detail =
            format!("It is `{window}` and `max_age` is `{age}`: a message would be gone before its id.");
        refuse("duplicate_window", "`duplicate_window` is longer than messages live", detail);
    }
    for (attribute, time) in [("max_age", settings.max_age), ("duplicate_window", settings.duplicate_window)]
    {
        if let Some(time) = time.filter(|time| time.as_duration() < MIN_TIME) {
            let detail = format!("It is `{time}`; NATS allows {} ms and more.", MIN_TIME.as_millis());
            refuse(attribute, &format!("`{attribute}` is too short"), detail);
        }
    }
    if settings.compression != "none" && settings.storage == "memory" {
        let detail =
            "Compression is for `file` storage. Leave it out, or use `storage = \"file\"`.".to_owned();
        refuse("compression", "A memory stream cannot be compressed", detail);
    }
}

fn text<T: FromStr<Err: Display>>(block: &Value, name: &str, reading: &mut Reading) -> Option<T> {
    reading.text(block.attr(name), &Path::root(name))
}

fn count(block: &Value, name: &str, reading: &mut Reading) -> Option<u64> {
    reading.number(block.attr(name), &Path::root(name), 1..=MAX_COUNT)
}

fn flag(block: &Value, name: &str, reading: &mut Reading) -> bool {
    reading.flag(block.attr(name)).unwrap_or(false)
}

/// One of `allowed`; absent and unknown read as the first.
fn word(block: &Value, name: &str, allowed: &[&'static str], reading: &mut Reading) -> String {
    let words: Vec<(&str, &str)> = allowed.iter().map(|word| (*word, *word)).collect();
    let word = reading.word(block.attr(name), &Path::root(name), &words);
    word.or(allowed.first().copied()).unwrap_or_default().to_owned()
}

fn name(value: &Value, reading: &mut Reading) -> String {
    if !reading.is_there(value) {
        return String::new();
    }
    let name = value.as_str().unwrap_or_default().to_owned();
    if !is_stream_name(&name) {
        let detail = format!(
            "Found `{name}`; a stream name has 1 to {MAX_STREAM_NAME_BYTES} bytes without white space, `.`, `*`, `>`, `/` and `\\`."
        );
        reading.push(Diagnostic::error("Wrong stream name", detail).at(Path::root("name")));
    }
    name
}

fn subjects(value: &Value, reading: &mut Reading) -> BTreeSet<String> {
    let path = Path::root("subjects");
    let subjects: BTreeSet<String> = reading.texts(value, &path).into_iter().collect();
    if subjects.is_empty() && value.is_wholly_known() && !value.is_null() {
        let problem = Diagnostic::error("No subject", "A stream stores at least one subject.");
        reading.push(problem.at(path.clone()));
    }
    for subject in &subjects {
        if let Some(problem) = subject_problem(subject) {
            let detail = format!("`{subject}` {problem}.");
            reading.push(Diagnostic::error("Wrong subject", detail).at(path.clone()));
        }
    }
    subjects
}

fn metadata(value: &Value, reading: &mut Reading) -> BTreeMap<String, String> {
    let entries = value.entries();
    let metadata: BTreeMap<_, _> =
        entries.filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned()))).collect();
    for key in metadata.keys().filter(|key| key.starts_with("_nats.") || key.starts_with("terraform.")) {
        let detail =
            format!("`{key}`: keys that begin with `_nats.` belong to the server, `terraform.` to us.");
        reading.push(Diagnostic::error("Taken key", detail).at(Path::root("metadata").key(key.as_str())));
    }
    metadata
}

/// What is wrong with a subject; absent when nothing is.
fn subject_problem(subject: &str) -> Option<&'static str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    if tokens.iter().any(|token| token.is_empty()) {
        Some("has an empty token")
    } else if subject.contains(char::is_whitespace) {
        Some("has white space")
    } else if tokens.iter().rev().skip(1).any(|token| *token == ">") {
        Some("has `>` before its end")
    } else if subject.starts_with("$JS.") || subject.starts_with("$SYS.") {
        Some("belongs to NATS itself")
    } else {
        None
    }
}

/// State for what a server has. An absent attribute stays absent where the server's value says the same.
pub(super) fn state(id: &StreamId, settings: &StreamSettings, protected: bool, timeouts: &Value) -> Value {
    let placement =
        (settings.placement_cluster.is_some() || !settings.placement_tags.is_empty()).then(|| {
            let tags = &settings.placement_tags;
            Value::object([
                ("cluster", settings.placement_cluster.clone().into()),
                ("tags", if tags.is_empty() { Value::Null } else { strings(tags) }),
            ])
        });
    let metadata = settings.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
    let description = Some(settings.description.clone()).filter(|text| !text.is_empty());
    Value::object([
        ("id", id.to_string().into()),
        ("account", id.account.to_string().into()),
        ("name", settings.name.as_str().into()),
        ("description", description.into()),
        ("subjects", strings(&settings.subjects)),
        ("metadata", if settings.metadata.is_empty() { Value::Null } else { Value::map(metadata) }),
        ("deletion_protection", protected.into()),
        ("timeouts", timeouts.clone()),
        ("storage", settings.storage.as_str().into()),
        ("replicas", settings.replicas.into()),
        ("placement", placement.unwrap_or(Value::Null)),
        ("compression", settings.compression.as_str().into()),
        ("retention", settings.retention.as_str().into()),
        ("discard", settings.discard.as_str().into()),
        ("max_messages", settings.max_messages.into()),
        ("max_bytes", settings.max_bytes.map(|size| size.to_string()).into()),
        ("max_age", settings.max_age.map(|age| age.to_string()).into()),
        ("max_message_size", settings.max_message_size.map(|size| size.to_string()).into()),
        ("max_messages_per_subject", settings.max_messages_per_subject.into()),
        ("max_consumers", settings.max_consumers.into()),
        ("duplicate_window", settings.duplicate_window.map(|window| window.to_string()).into()),
        ("allow_direct", settings.allow_direct.into()),
        ("allow_rollup", settings.allow_rollup.into()),
        ("allow_message_ttl", settings.allow_message_ttl.into()),
        ("deny_delete", settings.deny_delete.into()),
        ("deny_purge", settings.deny_purge.into()),
    ])
}

fn strings(texts: &BTreeSet<String>) -> Value {
    Value::set(texts.iter().map(|text| text.as_str().into()))
}

#[cfg(test)]
mod tests;
