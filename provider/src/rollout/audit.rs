//! How far the audit logs of hosts went when they were last seen. A resource keeps it beside its state, so that records
//! that are cut off or written anew show in its next refresh. Must not ask anybody.
//!
//! What is remembered of a host goes on only while its log holds it: once it does not, every refresh says so until the host
//! is enrolled anew, whose claim has another id, or the resource is imported anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use host_state::audit::{Discrepancy, Head, RecordHash, Told, compare};
use host_state::report::Report;
use identity::HostName;
use serde::{Deserialize, Serialize};

/// What is remembered of one host's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The claim that the host had: another one has another log.
    claim: String,
    /// The last record.
    head: Head,
    /// Whether the log did not hold it when it was last seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_disputed: bool,
}

impl Remembered {
    fn of(report: &Report) -> Option<Remembered> {
        let claim = report.claim.as_ref()?.claim_id.clone();
        Some(Remembered { claim, head: report.audit.clone()?, is_disputed: false })
    }
}

/// What is remembered of each host's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHeads(BTreeMap<HostName, Remembered>);

/// What was seen of logs while hosts were changed.
#[derive(Debug, Default)]
pub struct Heard(Mutex<AuditHeads>);

impl Heard {
    /// A host's report, newer than those before.
    pub fn hear(&self, host: &HostName, report: &Report) {
        if let Some(newest) = Remembered::of(report) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0.insert(host.clone(), newest);
        }
    }

    /// What was seen last of each host.
    #[must_use]
    pub fn newest(&self) -> AuditHeads {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AuditHeads {
    /// The record of a host's log that is remembered; 0 when none is.
    #[must_use]
    pub fn seq(&self, host: &HostName) -> u64 {
        self.0.get(host).map_or(0, |remembered| remembered.head.seq)
    }

    /// After hosts were changed: what was `heard` of them then. What is disputed stays as it is.
    #[must_use]
    pub fn after(mut self, heard: AuditHeads) -> AuditHeads {
        for (host, newest) in heard.0 {
            let is_disputed = |kept: &Remembered| kept.is_disputed && kept.claim == newest.claim;
            if !self.0.get(&host).is_some_and(is_disputed) {
                self.0.insert(host, newest);
            }
        }
        self
    }

    /// Holds what is remembered against what a host says now, with the hash of the record [`AuditHeads::seq`]; what is
    /// remembered of it from then on is put into `next`. Returns what does not fit, as the text of a finding.
    pub fn hold(
        &self,
        host: &HostName,
        report: &Report,
        hash: Option<&RecordHash>,
        next: &mut AuditHeads,
    ) -> Option<String> {
        let claim = report.claim.as_ref().map(|claim| &claim.claim_id);
        let before = self.0.get(host).filter(|before| Some(&before.claim) == claim);
        let told = Told { head: report.audit.clone(), remembered: hash.cloned() };
        let problem = before.and_then(|before| compare(&before.head, &told).err());
        let kept = match (&problem, before) {
            (Some(_), Some(before)) => Some(Remembered { is_disputed: true, ..before.clone() }),
            (None, _) | (_, None) => Remembered::of(report),
        };
        next.0.extend(kept.map(|kept| (host.clone(), kept)));
        problem.map(|problem| finding(host, &problem))
    }

    /// Of a host that says nothing, what was known `before` still holds.
    pub fn keep(&mut self, host: &HostName, before: &AuditHeads) {
        self.0.extend(before.0.get(host).map(|kept| (host.clone(), kept.clone())));
    }
}

fn finding(host: &HostName, problem: &Discrepancy) -> String {
    format!(
        "{host}: audit log is not the one that was there before: {problem}; find out who changed it, `nats-agent audit show` \
         on the host tells what is left; docs/guides/audit.md says how this ends when it is explained"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> RecordHash {
        format!("{byte:02x}").repeat(32).try_into().unwrap()
    }

    fn report(claim: &str, head: Option<(u64, u8)>) -> Report {
        let report = serde_json::json!({
            "agent_version": "1", "claim": {
                "host": "east-1", "authority": "O", "generation": 1, "claim_id": claim, "host_keys": {},
            },
            "sections": {}, "rendition": null, "run": "held", "meta_lineage": null, "formed": false, "server": null,
            "drift": [], "findings": [], "mesh": null, "certificates": {}, "observed_at": 0,
            "audit": head.map(|(seq, byte)| serde_json::json!({ "seq": seq, "hash": hash(byte).as_str() })),
        });
        serde_json::from_value(report).unwrap()
    }

    fn held(before: &AuditHeads, report: &Report, hash: Option<u8>) -> (AuditHeads, Option<String>) {
        let mut next = AuditHeads::default();
        let hash = hash.map(self::hash);
        let told = before.hold(&"east-1".parse().unwrap(), report, hash.as_ref(), &mut next);
        (next, told)
    }

    #[test]
    fn a_log_that_goes_on_is_remembered_and_one_that_does_not_is_told_until_it_is_another_claim() {
        let host: HostName = "east-1".parse().unwrap();
        let (known, told) = held(&AuditHeads::default(), &report("a", Some((5, 5))), None);
        assert_eq!((known.seq(&host), told), (5, None));
        let (longer, told) = held(&known, &report("a", Some((9, 9))), Some(5));
        assert_eq!((longer.seq(&host), told), (9, None));
        let (cut, told) = held(&longer, &report("a", Some((5, 5))), None);
        let told = told.unwrap();
        assert!(told.starts_with("east-1: audit log is not"), "{told}");
        assert!(told.contains("it ends with record 5, and it had 9 records"), "{told}");
        let heard = Heard::default();
        heard.hear(&host, &report("a", Some((12, 12))));
        let cut = cut.after(heard.newest());
        assert_eq!(cut.seq(&host), 9, "an apply does not make it good");
        assert!(held(&cut, &report("a", Some((12, 12))), Some(1)).1.is_some(), "another record at its place");
        assert_eq!(held(&cut, &report("a", Some((12, 12))), Some(9)).1, None, "it was put back");
        let (anew, told) = held(&cut, &report("b", Some((2, 2))), None);
        assert_eq!((anew.seq(&host), told), (2, None));
        assert!(held(&anew, &report("b", None), None).1.is_some(), "no log any more");
    }

    #[test]
    fn what_an_apply_heard_last_counts_and_silence_changes_nothing() {
        let host: HostName = "east-1".parse().unwrap();
        let heard = Heard::default();
        heard.hear(&host, &report("a", Some((3, 3))));
        heard.hear(&host, &report("a", Some((7, 7))));
        heard.hear(&host, &report("a", None));
        let known = AuditHeads::default().after(heard.newest());
        assert_eq!(known.seq(&host), 7);
        let mut next = AuditHeads::default();
        next.keep(&host, &known);
        assert_eq!(next, known);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<AuditHeads>(&text).unwrap(), known);
    }
}
