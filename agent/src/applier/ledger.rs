//! What this host was told and what it has proven to run, in files that can be missing, unreadable or valid.
//!
//! The three are never mixed: an unreadable file freezes changes, because treating it as a missing one would let
//! an older document in and a wrong store be taken. Each file carries a checksum over its content, so a torn or
//! edited file is unreadable, not believed.

use std::path::{Path, PathBuf};

use host_state::document::{ContentHash, canonical};
use host_state::{SectionKind, SignedSection};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};

/// Largest ledger file that is read: two bodies of the largest size, escaped, and room.
const LEDGER_LIMIT: u64 = 4 * host_state::document::MAX_BODY_BYTES as u64 + 1024 * 1024;

/// A file with a checksum, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<T> {
    /// No such file.
    Missing,
    /// There, but not what was written.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// As written.
    Valid(T),
}

/// One section's place in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionEntry {
    /// Newest section taken in.
    pub accepted: SignedSection,
    /// Newest section that ran and passed its gate.
    pub confirmed: ConfirmedMark,
}

/// See [`SectionEntry::confirmed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConfirmedMark {
    /// None was.
    None,
    /// The accepted one.
    Accepted,
    /// One before it.
    Earlier(Box<SignedSection>),
}

impl SectionEntry {
    /// The confirmed section.
    #[must_use]
    pub fn confirmed(&self) -> Option<&SignedSection> {
        match &self.confirmed {
            ConfirmedMark::None => None,
            ConfirmedMark::Accepted => Some(&self.accepted),
            ConfirmedMark::Earlier(section) => Some(section),
        }
    }

    /// The entry after `section` was taken in.
    #[must_use]
    pub fn accepting(previous: Option<&SectionEntry>, section: SignedSection) -> SectionEntry {
        let confirmed = match previous.and_then(SectionEntry::confirmed) {
            None => ConfirmedMark::None,
            Some(confirmed) if *confirmed == section => ConfirmedMark::Accepted,
            Some(confirmed) => ConfirmedMark::Earlier(Box::new(confirmed.clone())),
        };
        SectionEntry { accepted: section, confirmed }
    }
}

/// What the host itself remembers beside the sections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// The store's own id; absent before a store was first prepared.
    pub store_id: Option<String>,
    /// The meta group's name; absent before the first release.
    pub meta_lineage: Option<String>,
    /// Whether a meta leader was ever seen in that lineage.
    pub formed: bool,
    /// The rendition that last passed its gate; absent before the first.
    pub confirmed_rendition: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked<T> {
    checksum: ContentHash,
    content: T,
}

/// The ledger of one host, on disk. Holds nothing in memory: the disk is what is true after a crash.
#[derive(Debug, Clone)]
pub struct Ledger {
    directory: PathBuf,
    effects: Effects,
}

impl Ledger {
    /// The ledger below `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: PathBuf, effects: Effects) -> Result<Ledger, FileError> {
        files::make_directory(&effects, &directory, 0o700)?;
        Ok(Ledger { directory, effects })
    }

    /// The entry of one section.
    #[must_use]
    pub fn section(&self, kind: SectionKind) -> Kept<SectionEntry> {
        read_checked(&self.section_path(kind))
    }

    /// Writes the entry of one section. May be repeated; a crash leaves the old entry or the new one.
    ///
    /// # Errors
    /// When the file cannot be written; the old entry is then still there.
    pub fn write_section(&self, kind: SectionKind, entry: &SectionEntry) -> Result<(), FileError> {
        write_checked(&self.effects, Effect::WriteLedger, &self.section_path(kind), entry)
    }

    /// What the host remembers; a missing file is a host that remembers nothing.
    #[must_use]
    pub fn facts(&self) -> Kept<HostFacts> {
        match read_checked(&self.facts_path()) {
            Kept::Missing => Kept::Valid(HostFacts::default()),
            other => other,
        }
    }

    /// Writes what the host remembers. May be repeated.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_facts(&self, facts: &HostFacts) -> Result<(), FileError> {
        write_checked(&self.effects, Effect::WriteHostFacts, &self.facts_path(), facts)
    }

    /// Everything, or which files cannot be read.
    ///
    /// # Errors
    /// [`Unreadable`], naming every such file.
    pub fn read(&self) -> Result<Contents, Unreadable> {
        let mut unreadable = Vec::new();
        let facts = valid(self.facts(), &self.facts_path(), &mut unreadable).unwrap_or_default();
        let mut section = |kind| valid(self.section(kind), &self.section_path(kind), &mut unreadable);
        let (cluster, gateway, claims) =
            (section(SectionKind::Cluster), section(SectionKind::Gateway), section(SectionKind::Claims));
        if unreadable.is_empty() {
            Ok(Contents { cluster, gateway, claims, facts })
        } else {
            Err(Unreadable { reason: unreadable.join("; ") })
        }
    }

    fn section_path(&self, kind: SectionKind) -> PathBuf {
        self.directory.join(format!("{kind}.json"))
    }

    fn facts_path(&self) -> PathBuf {
        self.directory.join("host.json")
    }
}

/// The whole ledger at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// `cluster` section; absent before the first.
    pub cluster: Option<SectionEntry>,
    /// `gateway` section; absent before the first.
    pub gateway: Option<SectionEntry>,
    /// `claims` section; absent before the first.
    pub claims: Option<SectionEntry>,
    /// The host's own facts.
    pub facts: HostFacts,
}

impl Contents {
    /// Puts `entry` in the place of a section's.
    pub fn replace(&mut self, kind: SectionKind, entry: SectionEntry) {
        let place = match kind {
            SectionKind::Cluster => &mut self.cluster,
            SectionKind::Gateway => &mut self.gateway,
            SectionKind::Claims => &mut self.claims,
        };
        *place = Some(entry);
    }

    /// The entry of a section.
    #[must_use]
    pub fn entry(&self, kind: SectionKind) -> Option<&SectionEntry> {
        match kind {
            SectionKind::Cluster => self.cluster.as_ref(),
            SectionKind::Gateway => self.gateway.as_ref(),
            SectionKind::Claims => self.claims.as_ref(),
        }
    }
}

/// The ledger has files that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be read, nothing is changed until it is repaired: {reason}")]
pub struct Unreadable {
    /// Which files, and what is wrong with each.
    pub reason: String,
}

fn valid<T>(kept: Kept<T>, path: &Path, unreadable: &mut Vec<String>) -> Option<T> {
    match kept {
        Kept::Missing => None,
        Kept::Valid(value) => Some(value),
        Kept::Unreadable { reason } => {
            unreadable.push(format!("`{}`: {reason}", path.display()));
            None
        }
    }
}

/// Reads a file that [`write_checked`] wrote.
#[must_use]
pub fn read_checked<T: DeserializeOwned>(path: &Path) -> Kept<T> {
    let bytes = match files::read_bounded(path, LEDGER_LIMIT) {
        Ok(None) => return Kept::Missing,
        Ok(Some(bytes)) => bytes,
        Err(error) => return Kept::Unreadable { reason: host_state::chain(&error) },
    };
    parse_checked(&bytes)
}

/// What [`read_checked`] makes of a file's content; never [`Kept::Missing`].
#[must_use]
pub fn parse_checked<T: DeserializeOwned>(bytes: &[u8]) -> Kept<T> {
    let checked: Checked<serde_json::Value> = match serde_json::from_slice(bytes) {
        Ok(checked) => checked,
        Err(error) => return Kept::Unreadable { reason: syntax(&error) },
    };
    let found = ContentHash::of(&canonical(&checked.content));
    if found != checked.checksum {
        return Kept::Unreadable { reason: "its checksum does not fit its content".to_owned() };
    }
    match serde_json::from_value(checked.content) {
        Ok(value) => Kept::Valid(value),
        Err(error) => Kept::Unreadable { reason: syntax(&error) },
    }
}

/// Writes `content` with its checksum, readable by the agent alone.
///
/// # Errors
/// When the file cannot be written.
pub fn write_checked<T: Serialize>(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    content: &T,
) -> Result<(), FileError> {
    files::write_atomic(effects, effect, path, checked_text(content).as_bytes(), 0o600)
}

/// The text that [`write_checked`] writes.
#[must_use]
pub fn checked_text<T: Serialize>(content: &T) -> String {
    canonical(&Checked { checksum: ContentHash::of(&canonical(content)), content })
}

/// Where a JSON text breaks off, without quoting it: some of these files hold secrets.
fn syntax(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "it does not hold what this version expects".to_owned(),
        _ => format!("it is no JSON at line {} column {}", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> HostFacts {
        HostFacts {
            store_id: Some("s".into()),
            meta_lineage: None,
            formed: false,
            confirmed_rendition: Some(3),
        }
    }

    #[test]
    fn missing_unreadable_and_valid_are_three_things() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path().join("ledger"), Effects::default()).unwrap();
        assert_eq!(ledger.facts(), Kept::Valid(HostFacts::default()));
        assert_eq!(ledger.section(SectionKind::Cluster), Kept::Missing);
        ledger.write_facts(&facts()).unwrap();
        assert_eq!(ledger.facts(), Kept::Valid(facts()));
        let path = directory.path().join("ledger/host.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(":3", ":4")).unwrap();
        let error = ledger.read().unwrap_err().to_string();
        assert!(error.contains("host.json`: its checksum does not fit its content"), "{error}");
        std::fs::write(&path, &text[..10]).unwrap();
        assert!(ledger.read().unwrap_err().to_string().contains("it is no JSON at line 1"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_pass(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("host.json");
            std::fs::write(&path, &bytes).unwrap();
            let kept: Kept<HostFacts> = read_checked(&path);
            let unreadable = matches!(kept, Kept::Unreadable { .. });
            prop_assert!(unreadable);
        }

        #[test]
        fn a_flipped_byte_is_never_believed(at in 0_usize..150, bit in 0_u8..8) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("host.json");
            write_checked(&Effects::default(), Effect::WriteHostFacts, &path, &facts()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            match read_checked::<HostFacts>(&path) {
                Kept::Valid(found) => prop_assert_eq!(found, facts()),
                Kept::Unreadable { .. } => {}
                Kept::Missing => prop_assert!(false, "the file is there"),
            }
        }
    }
}
