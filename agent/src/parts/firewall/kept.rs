//! What of the firewall survives a crash and a reboot: the confirmed rules, and the trial that is under way.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use host_state::firewall::FirewallRules;
use host_state::{chain, layout};
use nats_agent_api::order::boot_ms;
use serde::{Deserialize, Serialize};

use crate::applier::files::{self, FileError};
use crate::applier::ledger::{Kept, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects};

/// Rules on trial, as kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// 32 lower-case hex digits; who confirms must name it.
    pub id: String,
    /// Which boot of the machine it began in: a trial does not outlive it.
    pub boot: String,
    /// When it began, on the clock of [`boot_ms`].
    pub started_ms: u64,
    /// How long it lasts, in milliseconds; whole seconds.
    pub ttl_ms: u64,
    /// Whether it was cancelled or never began: it is over, and the kernel may have it still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_withdrawn: bool,
    /// The rules.
    pub rules: FirewallRules,
}

impl TrialRecord {
    /// Milliseconds that are left of it; none when it is over, be it by a reboot.
    #[must_use]
    pub fn remaining_ms(&self, now: &Now) -> Option<u64> {
        if self.is_withdrawn {
            return None;
        }
        let left = (self.started_ms + self.ttl_ms).checked_sub(now.boot_ms)?;
        (now.boot.as_ref() == Some(&self.boot) && left > 0 && now.boot_ms >= self.started_ms).then_some(left)
    }
}

/// The confirmed rules, as kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    /// The trial that they were confirmed in, so that it is over by the same write and a repeated confirmation is known.
    pub(super) trial: String,
    /// The rules.
    pub(super) rules: FirewallRules,
}

/// Where the kernel tells which boot it is.
pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which boot it is, and how old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// The kernel's id of this boot; absent where it cannot be read, and then no trial goes on.
    pub boot: Option<String>,
    /// See [`boot_ms`].
    pub boot_ms: u64,
}

impl Now {
    /// Now.
    #[must_use]
    pub fn read() -> Now {
        let id = std::fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned());
        Now { boot: id.filter(|id| !id.is_empty()), boot_ms: boot_ms() }
    }
}

/// The two files.
#[derive(Debug)]
pub(super) struct KeptRules {
    effects: Effects,
    confirmed: PathBuf,
    trial: PathBuf,
    /// The trial that was withdrawn last, for a disk that takes no word of it.
    withdrawn: Mutex<Option<String>>,
}

impl KeptRules {
    pub(super) fn new(effects: Effects, state_dir: &Path) -> KeptRules {
        KeptRules {
            effects,
            confirmed: state_dir.join(layout::FIREWALL_FILE),
            trial: state_dir.join(layout::FIREWALL_TRIAL_FILE),
            withdrawn: Mutex::new(None),
        }
    }

    /// The confirmed rules; absent before the first.
    ///
    /// # Errors
    /// Why they cannot be read, and what to do.
    pub(super) fn confirmed(&self) -> Result<Option<Confirmed>, String> {
        kept(&self.confirmed)
    }

    /// The trial as it was begun, be it over or not.
    ///
    /// # Errors
    /// As [`KeptRules::confirmed`].
    pub(super) fn trial(&self) -> Result<Option<TrialRecord>, String> {
        let trial: Option<TrialRecord> = kept(&self.trial)?;
        let withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(trial.map(|mut trial| {
            trial.is_withdrawn |= withdrawn.as_ref() == Some(&trial.id);
            trial
        }))
    }

    /// Has a trial be over, also for the next process as far as the disk takes that. To be done before the kernel is told:
    /// so the record explains what it has meanwhile. May be repeated.
    pub(super) fn withdraw(&self, trial: &TrialRecord) {
        *self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner) = Some(trial.id.clone());
        let Err(error) = self.write_trial(&TrialRecord { is_withdrawn: true, ..trial.clone() }) else {
            return;
        };
        tracing::warn!(error = chain(&error), trial = trial.id, "a trial that is over is not marked so");
        if let Err(error) = self.remove_trial() {
            tracing::warn!(
                error = chain(&error),
                trial = trial.id,
                "an agent that starts now would bring it up again"
            );
        }
    }

    pub(super) fn write_confirmed(&self, confirmed: &Confirmed) -> Result<(), FileError> {
        write_checked(&self.effects, Effect::WriteFirewall, &self.confirmed, confirmed)
    }

    pub(super) fn write_trial(&self, trial: &TrialRecord) -> Result<(), FileError> {
        write_checked(&self.effects, Effect::WriteFirewallTrial, &self.trial, trial)
    }

    pub(super) fn remove_trial(&self) -> Result<(), FileError> {
        files::remove_file(&self.effects, Effect::EndFirewallTrial, &self.trial)
    }
}

fn kept<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    match read_checked(path) {
        Kept::Missing => Ok(None),
        Kept::Valid(value) => Ok(Some(value)),
        Kept::Unreadable { reason } => Err(format!("`{}` cannot be read: {reason}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::parts::effects::{Faults, Moment};

    fn record() -> TrialRecord {
        TrialRecord {
            id: "1".to_owned(),
            boot: "a".to_owned(),
            started_ms: 1000,
            ttl_ms: 5000,
            is_withdrawn: false,
            rules: FirewallRules([].into()),
        }
    }

    #[test]
    fn a_trial_ends_by_its_time_or_with_the_boot_or_when_it_is_withdrawn() {
        let trial = record();
        let at = |boot: &str, boot_ms| {
            let boot = (!boot.is_empty()).then(|| boot.to_owned());
            trial.remaining_ms(&Now { boot, boot_ms })
        };
        assert_eq!(at("a", 1000), Some(5000));
        assert_eq!(at("a", 5999), Some(1));
        assert_eq!(at("a", 6000), None);
        assert_eq!(at("b", 1500), None, "another boot");
        assert_eq!(at("", 1500), None, "nobody knows which");
        assert_eq!(at("a", 500), None, "before it began");
        let withdrawn = TrialRecord { is_withdrawn: true, ..trial };
        assert_eq!(withdrawn.remaining_ms(&Now { boot: Some("a".to_owned()), boot_ms: 1000 }), None);
    }

    #[test]
    fn the_mark_is_read_back_and_absent_where_there_is_none() {
        let text = serde_json::to_string(&record()).unwrap();
        assert!(!text.contains("is_withdrawn"), "an older agent reads it: {text}");
        assert_eq!(serde_json::from_str::<TrialRecord>(&text).unwrap(), record());
        let state = tempfile::tempdir().unwrap();
        let kept = KeptRules::new(Effects::default(), state.path());
        kept.write_trial(&record()).unwrap();
        kept.withdraw(&record());
        let next = KeptRules::new(Effects::default(), state.path());
        assert!(next.trial().unwrap().unwrap().is_withdrawn);
    }

    /// A disk that takes nothing more.
    #[derive(Debug)]
    struct Full;

    impl Faults for Full {
        fn reach(&self, _: Effect, _: Moment) -> std::io::Result<()> {
            Err(std::io::Error::other("injected"))
        }
    }

    #[test]
    fn what_the_disk_does_not_take_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        KeptRules::new(Effects::default(), state.path()).write_trial(&record()).unwrap();
        let kept = KeptRules::new(Effects::with_faults(Arc::new(Full)), state.path());
        assert!(!kept.trial().unwrap().unwrap().is_withdrawn);
        kept.withdraw(&record());
        assert!(kept.trial().unwrap().unwrap().is_withdrawn);
    }
}
