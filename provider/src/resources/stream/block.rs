//! A `nats_stream` block into [`StreamSettings`], all problems at once, and a server's settings back into state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use tfplug::{Diagnostics, Path, Value};

use crate::jetstream::StreamSettings;
use crate::resources::natural_id::{AccountId, StreamId};

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
/// Longest stream name. Source: nats-server 2.15.1 server/jetstream_api.go `JSMaxNameLen`.
const MAX_NAME_BYTES: usize = 255;
/// Most replicas. Source: nats-server 2.15.1 server/stream.go `StreamMaxReplicas`.
const MAX_REPLICAS: u64 = 5;

/// Reads and checks a block. The settings are usable only when there is no error.
pub(super) fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reader = Reader { block, problems: Diagnostics::new() };
    let settings = StreamSettings {
        name: reader.name(),
        description: reader.text("description"),
        subjects: reader.subjects(),
        storage: reader.word("storage", &["file", "memory"]),
        retention: reader.word("retention", &["limits", "interest", "workqueue"]),
        discard: reader.word("discard", &["old", "new"]),
        replicas: reader.count("replicas").unwrap_or(1),
        max_messages: reader.count("max_messages"),
        max_bytes: reader.parsed("max_bytes"),
        max_age: reader.parsed("max_age"),
        max_message_size: reader.parsed("max_message_size"),
        max_messages_per_subject: reader.count("max_messages_per_subject"),
        max_consumers: reader.count("max_consumers"),
        duplicate_window: reader.parsed("duplicate_window"),
        placement_cluster: block.attr("placement").attr("cluster").as_str().map(str::to_owned),
        placement_tags: texts(block.attr("placement").attr("tags")),
        compression: reader.word("compression", &["none", "s2"]),
        allow_direct: reader.flag("allow_direct"),
        allow_rollup: reader.flag("allow_rollup"),
        deny_delete: reader.flag("deny_delete"),
        deny_purge: reader.flag("deny_purge"),
        allow_message_ttl: reader.flag("allow_message_ttl"),
        metadata: reader.metadata(),
    };
    let account = reader.parsed("account");
    let deletion_protection = block.attr("deletion_protection").as_bool().unwrap_or(true);
    let Reader { mut problems, .. } = reader;
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
    if settings.replicas == 0 || settings.replicas > MAX_REPLICAS {
        let found = settings.replicas;
        refuse("replicas", "Wrong number of replicas", format!("Found {found}; 1 to {MAX_REPLICAS} are allowed."));
    }
    if settings.deny_purge && settings.allow_rollup {
        let detail = "A roll-up purges what came before it. Set one of the two to false.".to_owned();
        refuse("allow_rollup", "`allow_rollup` needs purges, which `deny_purge` refuses", detail);
    }
    if let (Some(window), Some(age)) = (settings.duplicate_window, settings.max_age)
        && window > age
    {
        let detail = format!("It is `{window}` and `max_age` is `{age}`: a message would be gone before its id.");
        refuse("duplicate_window", "`duplicate_window` is longer than messages live", detail);
    }
    if settings.compression != "none" && settings.storage == "memory" {
        let detail = "Compression is for `file` storage. Leave it out, or use `storage = \"file\"`.".to_owned();
        refuse("compression", "A memory stream cannot be compressed", detail);
    }
}

struct Reader<'a> {
    block: &'a Value,
    problems: Diagnostics,
}

impl Reader<'_> {
    fn refuse(&mut self, attribute: &str, summary: &str, detail: impl Display) {
        self.problems.error_at(Path::root(attribute), summary, detail.to_string());
    }

    fn text(&self, attribute: &str) -> String {
        self.block.attr(attribute).as_str().unwrap_or_default().to_owned()
    }

    fn flag(&self, attribute: &str) -> bool {
        self.block.attr(attribute).as_bool().unwrap_or(false)
    }

    /// One of `allowed`; absent and unknown read as the first.
    fn word(&mut self, attribute: &str, allowed: &[&str]) -> String {
        match self.block.attr(attribute).as_str() {
            Some(word) if allowed.contains(&word) => word.to_owned(),
            Some(word) => {
                let list = allowed.join("`, `");
                self.refuse(attribute, "Unknown word", format!("Found `{word}`; allowed are `{list}`."));
                word.to_owned()
            }
            None => allowed.first().copied().unwrap_or_default().to_owned(),
        }
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, attribute: &str) -> Option<T> {
        let text = self.block.attr(attribute).as_str()?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(attribute, &format!("`{attribute}` cannot be read"), format!("{error}."));
                None
            }
        }
    }

    /// A whole number from 1 on; absent and unknown read as none.
    fn count(&mut self, attribute: &str) -> Option<u64> {
        let number = self.block.attr(attribute).as_number()?;
        match number.to_u64() {
            Some(count) if count > 0 => Some(count),
            _ => {
                let detail = format!("Found `{number}`; allowed is a whole number from 1 on. Leave it out for no limit.");
                self.refuse(attribute, &format!("`{attribute}` is no count"), detail);
                None
            }
        }
    }

    fn name(&mut self) -> String {
        let name = self.text("name");
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
        let known = self.block.attr("name").as_str().is_some();
        if known && (name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(bad)) {
            let detail = format!(
                "Found `{name}`; a stream name has 1 to {MAX_NAME_BYTES} bytes without white space, `.`, `*`, `>`, `/` and `\\`."
            );
            self.refuse("name", "Wrong stream name", detail);
        }
        name
    }

    fn subjects(&mut self) -> BTreeSet<String> {
        let subjects = texts(self.block.attr("subjects"));
        let known = self.block.attr("subjects").is_wholly_known();
        if known && subjects.is_empty() && !self.block.attr("subjects").is_null() {
            self.refuse("subjects", "No subject", "A stream stores at least one subject.");
        }
        for subject in &subjects {
            if let Some(problem) = subject_problem(subject) {
                self.refuse("subjects", "Wrong subject", format!("`{subject}` {problem}."));
            }
        }
        subjects
    }

    fn metadata(&mut self) -> BTreeMap<String, String> {
        let entries = self.block.attr("metadata").entries();
        let metadata: BTreeMap<_, _> =
            entries.filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned()))).collect();
        for key in metadata.keys().filter(|key| key.starts_with("_nats.") || key.starts_with("terraform.")) {
            let detail = format!("`{key}`: keys that begin with `_nats.` belong to the server, `terraform.` to us.");
            self.refuse("metadata", "Taken key", detail);
        }
        metadata
    }
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

fn texts(value: &Value) -> BTreeSet<String> {
    value.elements().filter_map(|element| element.as_str().map(str::to_owned)).collect()
}

/// State for what a server has. An absent attribute stays absent where the server's value says the same.
pub(super) fn state(id: &StreamId, settings: &StreamSettings, protected: bool, timeouts: &Value) -> Value {
    let placement = (settings.placement_cluster.is_some() || !settings.placement_tags.is_empty()).then(|| {
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
