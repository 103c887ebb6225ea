//! What a cluster or a gateway keeps beside its state: what its hosts held when they were last looked at, and how far
//! their audit logs went. Must not ask anybody.

use host_state::chain;
use serde::{Deserialize, Serialize};
use tfplug::{Diagnostic, Diagnostics, PrivateState};

use super::audit::AuditHeads;
use super::heads::Heads;

/// Both. Nothing is known where nothing was kept.
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
    /// What was kept. Where it cannot be read, as when another version of the provider kept it, nothing is known and
    /// `warnings` says so: what a writer or an audit log did since then does not show.
    #[must_use]
    pub fn kept(private: &PrivateState, warnings: &mut Diagnostics) -> Beside {
        let why = match private.json() {
            Ok(kept) => return kept.unwrap_or_default(),
            Err(why) => chain(&why),
        };
        warnings.push(Diagnostic::warning(
            "What was kept beside the state cannot be read",
            format!(
                "{why}. Whether somebody else wrote to the hosts since the last refresh, or an audit log was cut, is not known \
                 this time. The next refresh begins anew."
            ),
        ));
        Beside::default()
    }

    /// To be kept.
    #[must_use]
    pub fn to_private(&self) -> PrivateState {
        PrivateState::from_json(self).expect("names, numbers and hashes have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_rubbish_is_told() {
        let text =
            r#"{"heads":{"east-1":null},"audit":{"east-1":{"claim":"a","head":{"seq":1,"hash":"HASH"}}}}"#;
        let text = text.replace("HASH", &"0".repeat(64));
        let kept = |bytes: &[u8]| {
            let mut warnings = Diagnostics::new();
            (Beside::kept(&PrivateState::from(bytes.to_vec()), &mut warnings), warnings.len())
        };
        let (whole, warned) = kept(text.as_bytes());
        assert_ne!((&whole.heads, &whole.audit), (&Heads::default(), &AuditHeads::default()));
        assert_eq!(warned, 0);
        assert_eq!(Beside::kept(&whole.to_private(), &mut Diagnostics::new()), whole);
        assert_eq!(kept(b"\xff"), (Beside::default(), 1));
        assert_eq!(kept(br#"{"heads":{}}"#), (Beside::default(), 0));
        assert_eq!(kept(b""), (Beside::default(), 0), "nothing was kept");
    }
}
