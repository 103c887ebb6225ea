//! The record that is fsynced before a switch, so that a restarted agent knows what to take back or to finish.
//!
//! A switch has one point of no return: the record turning from begun to passed. Before it a restart goes back to
//! where the host was, after it a restart writes the marks that were still missing.

use std::path::Path;

use host_state::SectionKind;
use host_state::document::ContentHash;
use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use super::ledger::{Kept, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects};

/// A switch under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intent {
    /// Rendition that was current and confirmed; absent when there was none.
    pub from: Option<u64>,
    /// Rendition that becomes current.
    pub to: u64,
    /// Sections that `to` was rendered from, by content; confirmed together with it.
    pub sections: Vec<(SectionKind, ContentHash)>,
    /// How far it got.
    pub stage: Stage,
}

/// See [`Intent::stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Not proven: goes back after a restart.
    Begun,
    /// The gate was passed: the marks are written after a restart.
    Passed,
}

/// Reads the record.
#[must_use]
pub(super) fn read(path: &Path) -> Kept<Intent> {
    read_checked(path)
}

/// Writes the record. May be repeated.
///
/// # Errors
/// When it cannot be written; nothing may be switched then.
pub(super) fn write(effects: &Effects, path: &Path, intent: &Intent) -> Result<(), FileError> {
    write_checked(effects, Effect::WriteIntent, path, intent)
}

/// Ends the switch.
///
/// # Errors
/// When the record cannot be removed; the next start then repeats what it asks for, which changes nothing.
pub(super) fn remove(effects: &Effects, path: &Path) -> Result<(), FileError> {
    files::remove_file(effects, Effect::RemoveIntent, path)
}
