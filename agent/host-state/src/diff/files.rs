//! The rendition against what is desired now, and its files against what was rendered.

use std::collections::BTreeMap;

use nats_config::setting_differences;
use serde_json::Value;

use super::Difference;
use crate::configuration::{self, Cost};
use crate::desired::{Desired, DesiredFile};
use crate::layout;
use crate::observed::{FileObserved, ProcessObserved};

/// Whether the current rendition was made from what is desired now. Where nothing can be started, a change that needs a
/// restart of a running server waits.
pub(super) fn rendition(
    desired: &Desired,
    process: &ProcessObserved,
    is_blocked: bool,
) -> Option<Difference> {
    let is_running = matches!(process, ProcessObserved::Running { .. });
    let waits = || {
        let cost = configuration::cost(desired.rendered.as_ref(), &desired.config);
        is_running && is_blocked && matches!(cost, Cost::Both | Cost::Restart)
    };
    let Some(rendered) = &desired.rendered else {
        let blocked = Difference::ChangeBlocked { settings: Vec::new() };
        return Some(if waits() { blocked } else { Difference::RenditionMissing });
    };
    let settings = configuration::pending_settings(rendered, &desired.config, is_running);
    if settings.is_empty() {
        None
    } else if waits() {
        let settings = settings.into_iter().map(|one| one.setting).collect();
        Some(Difference::ChangeBlocked { settings })
    } else {
        Some(Difference::RenditionOutdated { settings })
    }
}

/// Each file of the current rendition; files that no manifest names are none of ours.
pub(super) fn files(desired: &Desired, observed: &BTreeMap<String, FileObserved>) -> Vec<Difference> {
    desired
        .files
        .iter()
        .flat_map(|(name, wanted)| match observed.get(name) {
            Some(found) => file(desired, name, wanted, found),
            None => vec![Difference::FileUnreadable {
                file: name.clone(),
                reason: "the agent did not look at it".to_owned(),
            }],
        })
        .collect()
}

fn file(desired: &Desired, name: &str, wanted: &DesiredFile, found: &FileObserved) -> Vec<Difference> {
    let file = name.to_owned();
    match found {
        FileObserved::Missing => vec![Difference::FileMissing { file }],
        FileObserved::Unreadable { reason } => {
            vec![Difference::FileUnreadable { file, reason: reason.clone() }]
        }
        FileObserved::Present { sha256, mode, text } => {
            let DesiredFile { sha256: wanted_sum, mode: wanted_mode } = wanted;
            let mut differences = Vec::new();
            if sha256 != wanted_sum {
                let edited = text
                    .as_ref()
                    .filter(|_| name == layout::CONFIG_FILE)
                    .and_then(|text| edited(desired, text));
                differences.push(edited.unwrap_or_else(|| Difference::FileChanged {
                    file: file.clone(),
                    desired: wanted_sum.clone(),
                    found: sha256.clone(),
                }));
            }
            if mode != wanted_mode {
                differences.push(Difference::FileMode { file, desired: *wanted_mode, found: *mode });
            }
            differences
        }
    }
}

/// The settings that were edited; `None` when the text is no JSON or only its layout differs.
fn edited(desired: &Desired, text: &str) -> Option<Difference> {
    let found: Value = serde_json::from_str(text).ok()?;
    let settings = setting_differences(&configuration::settings(desired.rendered.as_ref()?), &found);
    (!settings.is_empty()).then_some(Difference::ConfigurationEdited { settings })
}
