//! A log against what somebody remembers of it: the one way to see that records were cut off its end.

use serde::{Deserialize, Serialize};

use super::line::RecordHash;

/// How far a log goes: its last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the record, from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: RecordHash,
}

/// What a log, or the agent that keeps it, says for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its last record; absent when it has none.
    pub head: Option<Head>,
    /// Hash of the record with the remembered number; absent when it has no such record, or none that can be read.
    pub remembered: Option<RecordHash>,
}

/// How a log differs from what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// There is no log.
    #[error("there is no log, and it had {remembered} records")]
    Gone {
        /// How many it had.
        remembered: u64,
    },
    /// It ends before the remembered record.
    #[error("it ends with record {found}, and it had {remembered} records")]
    Shorter {
        /// Its last record.
        found: u64,
        /// How many it had.
        remembered: u64,
    },
    /// The remembered record is another one.
    #[error("record {seq} is another one than it was")]
    Other {
        /// Its number.
        seq: u64,
    },
    /// The remembered record cannot be read.
    #[error("record {seq} cannot be read any more")]
    Unreadable {
        /// Its number.
        seq: u64,
    },
}

/// Whether a log still holds what is remembered of it.
///
/// # Errors
/// [`Discrepancy`].
pub fn compare(remembered: &Head, told: &Told) -> Result<(), Discrepancy> {
    let Some(head) = &told.head else {
        return Err(Discrepancy::Gone { remembered: remembered.seq });
    };
    if head.seq < remembered.seq {
        return Err(Discrepancy::Shorter { found: head.seq, remembered: remembered.seq });
    }
    let seq = remembered.seq;
    let found = if head.seq == seq { Some(&head.hash) } else { told.remembered.as_ref() };
    match found {
        Some(hash) if *hash == remembered.hash => Ok(()),
        Some(_) => Err(Discrepancy::Other { seq }),
        None => Err(Discrepancy::Unreadable { seq }),
    }
}
