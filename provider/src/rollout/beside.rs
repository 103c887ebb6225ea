//! What a cluster or a gateway keeps beside its state: what its hosts held when they were last looked at, and how far
//! their audit logs went. Must not ask anybody.

use host_state::chain;
use serde::{Deserialize, Serialize};
use tfplug::{Diagnostic, Diagnostics, Failure, PrivateState};

use super::audit::{AuditHeads, Heard};
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

    /// What was kept, for an operation that changes the hosts: what they held when it was planned, and their logs, to be
    /// heard from there on.
    #[must_use]
    pub fn at_work(private: &PrivateState) -> (Heads, Heard) {
        let mut warnings = Diagnostics::new();
        let Beside { heads, audit } = Beside::kept(private, &mut warnings);
        (heads, Heard::after(audit, warnings))
    }

    /// What an operation that is over gives, with what is to be kept then and every warning.
    ///
    /// # Errors
    /// Those of `result` with every warning. What was heard of the logs is kept then too, beside what the hosts held when
    /// it was `planned`: a finding that was told is one of the next refresh.
    pub fn ended<T>(
        planned: &Heads,
        heard: &Heard,
        result: Result<T, Diagnostics>,
    ) -> Result<(T, PrivateState, Diagnostics), Failure> {
        // After success: what the ledgers hold now the next refresh sees.
        let heads = if result.is_ok() { Heads::default() } else { planned.clone() };
        let private = Beside { heads, audit: heard.newest() }.to_private();
        match heard.told_with(result) {
            Ok((done, warnings)) => Ok((done, private, warnings)),
            Err(problems) => Err(Failure::from(problems).with_private(private)),
        }
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

    #[test]
    fn a_failure_keeps_all_that_is_remembered_and_tells_every_warning() {
        let text = format!(
            r#"{{"heads":{{"east-1":null}},"audit":{{"east-1":{{"claim":"a","head":{{"seq":1,"hash":"{}"}}}}}}}}"#,
            "0".repeat(64)
        );
        let private = PrivateState::from(text.into_bytes());
        let whole = Beside::kept(&private, &mut Diagnostics::new());
        let (planned, heard) = Beside::at_work(&private);
        heard.warn(Diagnostic::warning("a host is behind", "").into());
        let failed = Err::<(), _>(Diagnostic::error("it failed", "").into());
        let failure = Beside::ended(&planned, &heard, failed).unwrap_err();
        assert_eq!(failure.private, Some(whole.to_private()));
        assert!(failure.state.is_none() && failure.diagnostics.has_errors());
        assert_eq!(failure.diagnostics.len(), 2);
        let ((), private, warnings) = Beside::ended(&planned, &heard, Ok(())).unwrap();
        let after = Beside { heads: Heads::default(), audit: whole.audit };
        assert_eq!((private, warnings.len()), (after.to_private(), 1));

        let (planned, heard) = Beside::at_work(&PrivateState::from(b"\xff".to_vec()));
        let failed = Err::<(), _>(Diagnostic::error("it failed", "").into());
        let told = Beside::ended(&planned, &heard, failed).unwrap_err().diagnostics.to_string();
        assert!(told.contains("What was kept beside the state cannot be read"), "{told}");
    }
}
