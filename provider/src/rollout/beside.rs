//! What a cluster or a gateway keeps beside its state: what its hosts held when they were last looked at, and how far
//! their audit logs went. Must not ask anybody.

use serde::{Deserialize, Serialize};
use tfplug::PrivateState;

use super::audit::AuditHeads;
use super::heads::Heads;

/// Both. Nothing is known where nothing was kept, or another version of the provider kept it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// What the ledgers held; nothing after an apply, until the next refresh.
    #[serde(flatten)]
    pub heads: Heads,
    /// How far the audit logs went.
    #[serde(default)]
    pub audit: AuditHeads,
}

impl Beside {
    /// What was kept.
    #[must_use]
    pub fn kept(private: &PrivateState) -> Beside {
        private.json().ok().flatten().unwrap_or_default()
    }

    /// To be kept.
    #[must_use]
    pub fn to_private(&self) -> PrivateState {
        // Names and hashes always have a JSON form.
        PrivateState::from_json(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_rubbish_is_nothing() {
        let text =
            r#"{"heads":{"east-1":null},"audit":{"east-1":{"claim":"a","head":{"seq":1,"hash":"HASH"}}}}"#;
        let text = text.replace("HASH", &"0".repeat(64));
        let private = PrivateState::from(text.clone().into_bytes());
        let kept = Beside::kept(&private);
        assert_ne!((&kept.heads, &kept.audit), (&Heads::default(), &AuditHeads::default()));
        assert_eq!(Beside::kept(&kept.to_private()), kept);
        assert_eq!(Beside::kept(&PrivateState::from(b"\xff".to_vec())), Beside::default());
        assert_eq!(Beside::kept(&PrivateState::from(br#"{"heads":{}}"#.to_vec())), Beside::default());
    }
}
