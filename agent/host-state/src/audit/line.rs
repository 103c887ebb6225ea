//! A record as a line of the log, and the chain from one line to the next.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::compare::Head;
use super::record::Record;
use crate::document::canonical;

/// Longest line, without its newline. A record of a hundred accounts has a quarter of it.
pub const MAX_LINE_BYTES: usize = 32 * 1024;

/// SHA-256 over the hash of the record before and the record itself, as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordHash(String);

impl RecordHash {
    /// What the first record of a log names as the one before it: 64 zeros.
    #[must_use]
    pub fn none() -> RecordHash {
        RecordHash("0".repeat(64))
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RecordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RecordHash {
    type Error = String;

    fn try_from(text: String) -> Result<RecordHash, String> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(RecordHash(text))
        } else {
            Err("a record's hash is 64 lower-case hex digits".to_owned())
        }
    }
}

impl From<RecordHash> for String {
    fn from(hash: RecordHash) -> String {
        hash.0
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("it is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not a record in the one form that is written.
    #[error("it is no record")]
    NotARecord,
    /// Another number than the one that comes next.
    #[error("it is record {found}, and record {expected} comes here")]
    Number {
        /// The number that comes next.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// It names another record as the one before it.
    #[error("record {seq} does not follow the record before it")]
    Previous {
        /// Its number.
        seq: u64,
    },
    /// Its hash is not that of its content.
    #[error("record {seq} was changed: its hash does not fit its content")]
    Hash {
        /// Its number.
        seq: u64,
    },
    /// It ends in its middle, and the log goes on after it.
    #[error("it ends in its middle")]
    Torn,
    /// The file itself cannot be read.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// It cannot be there any more: the agent has written it, and the log ends before it.
    #[error("record {seq} was written here and is gone")]
    Gone {
        /// Number of the last record that the agent wrote.
        seq: u64,
    },
}

/// A record in its place in the chain. Kept as it stands there, so that a record of a newer agent has its place too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its number, from 1.
    seq: u64,
    /// Hash of the record before; [`RecordHash::none`] in the first.
    previous: RecordHash,
    /// A [`Record`] as JSON.
    record: Value,
    /// Its own hash.
    hash: RecordHash,
}

impl Line {
    /// The line of `record` after `head`; the first one after none.
    #[must_use]
    pub fn after(head: Option<&Head>, record: &Record) -> Line {
        let (seq, previous) = match head {
            Some(Head { seq, hash }) => (seq.saturating_add(1), hash.clone()),
            None => (1, RecordHash::none()),
        };
        let record = serde_json::to_value(record).expect("a record holds only string-keyed maps");
        let hash = hash_of(seq, &previous, &record);
        Line { seq, previous, record, hash }
    }

    /// The text, with its newline.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = canonical(self);
        text.push('\n');
        text
    }

    /// Reads a line, without its newline. Whether it follows the line before it is not looked at.
    ///
    /// # Errors
    /// When it is too long, no record, not in the form that is written, or its hash is not that of its content.
    pub fn parse(text: &[u8]) -> Result<Line, Problem> {
        if text.len() > MAX_LINE_BYTES {
            return Err(Problem::TooLong);
        }
        let line: Line = serde_json::from_slice(text).map_err(|_| Problem::NotARecord)?;
        let Line { seq, previous, record, hash } = &line;
        if hash_of(*seq, previous, record) != *hash {
            return Err(Problem::Hash { seq: *seq });
        }
        if canonical(&line).as_bytes() == text { Ok(line) } else { Err(Problem::NotARecord) }
    }

    /// Whether it comes next after `head`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn follows(&self, head: Option<&Head>) -> Result<(), Problem> {
        let expected = head.map_or(1, |head| head.seq.saturating_add(1));
        if self.seq != expected {
            return Err(Problem::Number { expected, found: self.seq });
        }
        let is_next = match head {
            Some(head) => head.hash == self.previous,
            None => self.previous == RecordHash::none(),
        };
        if is_next { Ok(()) } else { Err(Problem::Previous { seq: self.seq }) }
    }

    /// The log's head when this is its last record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash.clone() }
    }

    /// What it says; `None` when a newer agent wrote it.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        serde_json::from_value(self.record.clone()).ok()
    }
}

fn hash_of(seq: u64, previous: &RecordHash, record: &Value) -> RecordHash {
    let content = canonical(&(seq, record));
    let digest = Sha256::new().chain_update(previous.as_str()).chain_update(content).finalize();
    RecordHash(data_encoding::HEXLOWER.encode(&digest))
}
