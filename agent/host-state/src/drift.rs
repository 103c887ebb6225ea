//! Differences told to people: what apply can remove (*drift*) and what it cannot (*findings*).

use serde::{Deserialize, Serialize};

use crate::diff::Difference;

/// One difference that apply removes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// What differs: `configuration`, `certificate`, `key`, `store`, `binary`, `unit`, `process`, `claims`,
    /// `running`, `firewall`.
    pub item: String,
    /// The setting, file or account within it, like `max_payload` or `server.pem`; absent when the item is one thing.
    pub setting: Option<String>,
    /// What it should be; absent when there should be nothing.
    pub desired: Option<String>,
    /// What was found; absent when there is nothing.
    pub found: Option<String>,
}

/// One difference or danger that apply cannot remove.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is about, in the words of [`Drift::item`].
    pub item: String,
    /// What was found.
    pub problem: String,
    /// What a person does about it.
    pub remedy: String,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Drift { item, setting, desired, found } = self;
        f.write_str(item)?;
        if let Some(setting) = setting {
            write!(f, " `{setting}`")?;
        }
        match (found, desired) {
            (Some(found), Some(desired)) => write!(f, " is `{found}`, should be `{desired}`"),
            (Some(found), None) => write!(f, " is `{found}`, should not be there"),
            (None, Some(desired)) => write!(f, " is missing, should be `{desired}`"),
            (None, None) => f.write_str(" differs"),
        }
    }
}

/// Sorts differences into drift and findings, both sorted and without repeats.
pub fn drift(differences: &[Difference]) -> (Vec<Drift>, Vec<Finding>) {
    let mut drift = Vec::new();
    let mut findings = Vec::new();
    for difference in differences {
        match difference.told() {
            Ok(entries) => drift.extend(entries),
            Err(finding) => findings.push(finding),
        }
    }
    drift.sort();
    drift.dedup();
    findings.sort();
    findings.dedup();
    (drift, findings)
}
