//! What is signed by whoever ends a trial, so that nobody else can.

use crate::document::canonical;

/// The domain that a document key signs the end of trials under, so that no other signature can pass for one.
pub const TRIAL_DOMAIN: &str = "nats-agent/trial/v1";

/// What is to become of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialAction {
    /// It stays.
    Confirm,
    /// It ends at once.
    Cancel,
}

impl TrialAction {
    /// The bytes that are signed: the action and the trial's id, as canonical JSON. The id is random, so they are good for
    /// one host and one trial.
    #[must_use]
    pub fn signed_bytes(self, trial_id: &str) -> Vec<u8> {
        let action = match self {
            TrialAction::Confirm => "confirm",
            TrialAction::Cancel => "cancel",
        };
        canonical(&[action, trial_id]).into_bytes()
    }
}
