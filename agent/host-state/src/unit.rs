//! The drop-in of `nats-server.service`: what a document says about the unit, rendered, and read back for comparing.
//!
//! What never changes is in the package's unit. Here stands which binary is started, on which store, with how much memory,
//! how long a stop may take, and what has to be there before a start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nats_config::{ServerConfig, SettingDifference, shortened};

use crate::document::StoreSpec;
use crate::layout;

/// How long a server without assets may take to stop once its clients are gone.
pub const STOP_BASE: Duration = Duration::from_secs(30);
/// What each stream and consumer adds, twice what was measured.
/// Source: nats-server 2.15.1, tried: about 9 ms for each asset.
pub const STOP_PER_ASSET: Duration = Duration::from_millis(20);
/// Assets that every server gets the time for, so that the drop-in does not change with each stream.
const ASSETS_AT_LEAST: u32 = 4096;
/// Files that the server may hold open: two for each stream, and its connections.
/// Source: nats-server 2.15.1, util/nats-server-hardened.service.
const OPEN_FILES: u32 = 800_000;
/// What the server needs beside its memory store: connections, caches of streams on disk, Raft.
const MEMORY_BESIDE: u64 = 1024 * 1024 * 1024;

const STOP_DIRECTIVE: &str = "TimeoutStopSec";
const HEADER: &str =
    "# Written by nats-agent from the cluster's document. An edit is drift, and the next apply undoes it.\n";

/// What the drop-in says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    /// Absolute path of nats-server.
    pub binary: String,
    /// Store directory; absent where JetStream is off.
    pub store: Option<String>,
    /// `GOMEMLIMIT` in bytes: the point from which Go collects garbage harder. It is the memory store and a quarter of it
    /// again, since Go's heap is never full, and 1 GiB; absent where JetStream is off.
    pub memory: Option<u64>,
    /// How long the lame duck may take.
    pub lame_duck: Duration,
}

impl DropIn {
    /// The drop-in for `config` on `store` with the server `binary`.
    pub fn new(config: &ServerConfig, store: &StoreSpec, binary: &Path) -> DropIn {
        let jetstream = config.jetstream.as_ref();
        let memory = jetstream.map(|jetstream| {
            let store = jetstream.max_memory.bytes();
            store.saturating_add(store / 4).saturating_add(MEMORY_BESIDE)
        });
        DropIn {
            binary: binary.display().to_string(),
            store: jetstream.map(|_| store.directory.clone()),
            memory,
            lame_duck: config.lame_duck.duration.as_duration(),
        }
    }

    /// How long a stop may take with so many streams and consumers. Steps are powers of two, so that a new stream rarely
    /// changes it.
    pub fn stop_timeout(&self, assets: usize) -> Duration {
        let assets = u32::try_from(assets).unwrap_or(u32::MAX).max(ASSETS_AT_LEAST);
        let assets = assets.checked_next_power_of_two().unwrap_or(u32::MAX);
        self.lame_duck.saturating_add(STOP_BASE).saturating_add(STOP_PER_ASSET.saturating_mul(assets))
    }

    /// The file's text, with a stop that may take so long; whole seconds, rounded up.
    pub fn text(&self, stop_timeout: Duration) -> String {
        let DropIn { binary, store, memory, lame_duck: _ } = self;
        let mut text = HEADER.to_owned();
        if let Some(store) = store {
            let mark = Path::new(store).join(layout::STORE_IDENTITY_FILE).display().to_string();
            text.push_str("\n[Unit]\n");
            line(&mut text, "RequiresMountsFor", &word(store));
            // Takes the whole line as one path, and no quotes.
            line(&mut text, "AssertPathExists", &mark.replace('%', "%%"));
        }
        text.push_str("\n[Service]\n");
        line(&mut text, "ExecStart", "");
        line(&mut text, "ExecStart", &format!("{} -c {}", word(binary), layout::CONFIG_PATH));
        if let Some(store) = store {
            line(&mut text, "ReadWritePaths", &word(store));
        }
        if let Some(memory) = memory {
            line(&mut text, "Environment", &format!("GOMEMLIMIT={memory}"));
        }
        line(&mut text, "LimitNOFILE", &OPEN_FILES.to_string());
        line(&mut text, STOP_DIRECTIVE, &seconds(stop_timeout).to_string());
        text
    }

    /// The text that `found` should be: with the time for a stop that stands there, if it is enough for a server without
    /// assets.
    pub fn text_like(&self, found: Option<&str>) -> String {
        let least = self.stop_timeout(0);
        let found = found.and_then(stop_timeout_of).filter(|found| *found >= least);
        self.text(found.unwrap_or(least))
    }
}

/// How long a stop may take, as it stands in a drop-in that was written here; `None` when it is not there in that form.
pub fn stop_timeout_of(text: &str) -> Option<Duration> {
    let values = directives(text).remove(STOP_DIRECTIVE)?;
    values.last()?.parse().ok().map(Duration::from_secs)
}

/// The directives in which `found` differs from `desired`, sorted; empty when only comments and spaces do.
pub fn directive_differences(desired: &str, found: &str) -> Vec<SettingDifference> {
    let (desired, found) = (directives(desired), directives(found));
    let names: std::collections::BTreeSet<&String> = desired.keys().chain(found.keys()).collect();
    let shown = |values: Option<&Vec<String>>| values.map(|values| shortened(&values.join("; ")));
    names
        .into_iter()
        .filter(|name| desired.get(*name) != found.get(*name))
        .map(|name| SettingDifference {
            setting: name.clone(),
            desired: shown(desired.get(name)),
            found: shown(found.get(name)),
        })
        .collect()
}

/// Whether a path can stand in a unit file: absolute, and without characters that end a line.
pub fn is_writable_path(path: &str) -> bool {
    path.starts_with('/') && !path.chars().any(char::is_control)
}

/// Values of each directive, in their order. Source: systemd.syntax(7).
fn directives(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        found.entry(name.trim().to_owned()).or_default().push(value.trim().to_owned());
    }
    found
}

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}

/// One word of a value. Source: systemd.syntax(7), systemd.service(5): quotes, `%` of specifiers.
fn word(value: &str) -> String {
    let value = value.replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if value.chars().all(is_plain) {
        return value;
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drop_in() -> DropIn {
        DropIn {
            binary: "/var/lib/nats-agent/binaries/2.15.1-ab/nats-server".to_owned(),
            store: Some("/data/jet stream".to_owned()),
            memory: Some(21 * MEMORY_BESIDE),
            lame_duck: Duration::from_millis(30_500),
        }
    }

    #[test]
    fn the_text_is_what_systemd_reads() {
        let text = drop_in().text(drop_in().stop_timeout(0));
        let expected = "\n[Unit]\nRequiresMountsFor=\"/data/jet stream\"\n\
             AssertPathExists=/data/jet stream/nats-agent-store.json\n\n[Service]\nExecStart=\n\
             ExecStart=/var/lib/nats-agent/binaries/2.15.1-ab/nats-server -c current/nats-server.json\n\
             ReadWritePaths=\"/data/jet stream\"\nEnvironment=GOMEMLIMIT=22548578304\nLimitNOFILE=800000\n\
             TimeoutStopSec=143\n";
        assert_eq!(text, format!("{HEADER}{expected}"));
        let without = DropIn { store: None, memory: None, ..drop_in() };
        assert!(!without.text(Duration::ZERO).contains("[Unit]"));
    }

    #[test]
    fn a_stop_gets_the_time_for_what_there_is_and_a_longer_one_is_no_difference() {
        let one = drop_in();
        assert_eq!(one.stop_timeout(1), one.stop_timeout(4096));
        assert_eq!(one.stop_timeout(5000), Duration::from_millis(30_500 + 30_000 + 20 * 8192));
        let grown = one.text(one.stop_timeout(100_000));
        assert_eq!(one.text_like(Some(&grown)), grown);
        let less = grown.replace("TimeoutStopSec=2682", "TimeoutStopSec=5");
        let differences = directive_differences(&one.text_like(Some(&less)), &less);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].setting, STOP_DIRECTIVE);
        assert_eq!(differences[0].found.as_deref(), Some("5"));
    }

    #[test]
    fn an_edit_is_named_by_its_directive() {
        let text = drop_in().text_like(None);
        let edited = text.replace("LimitNOFILE=800000\n", "Restart=no\n");
        let names: Vec<String> =
            directive_differences(&text, &edited).into_iter().map(|one| one.setting).collect();
        assert_eq!(names, ["LimitNOFILE", "Restart"]);
        assert_eq!(directive_differences(&text, &format!("# note\n{text}")), []);
    }

    proptest! {
        #[test]
        fn no_found_file_makes_it_panic_and_what_was_written_is_equal(found in "(?s).{0,300}", assets in any::<usize>()) {
            let one = drop_in();
            let _ = directive_differences(&one.text_like(Some(&found)), &found);
            let written = one.text(one.stop_timeout(assets));
            prop_assert_eq!(one.text_like(Some(&written)), written);
        }

        #[test]
        fn a_path_stays_one_line(path in "/[^\\x00-\\x1f\\x7f-\\u{9f}]{0,60}") {
            prop_assume!(is_writable_path(&path));
            let one = DropIn { binary: path.clone(), store: Some(path), ..drop_in() };
            prop_assert_eq!(one.text(Duration::ZERO).lines().count(), drop_in().text(Duration::ZERO).lines().count());
        }
    }
}
