//! How far the audit logs of hosts went when they were last seen. A resource keeps it beside its state, so that records
//! that are cut off or written anew show in its next refresh or apply. Must not ask anybody.
//!
//! What is remembered of a host goes on only while its log holds it: once it does not, every refresh says so until the host
//! is enrolled anew, whose claim has another id, or the resource is imported anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use host_state::audit::{Discrepancy, Head, RecordHash, Told, compare};
use host_state::report::Report;
use identity::HostName;
use serde::{Deserialize, Serialize};
use tfplug::{Diagnostic, Diagnostics};

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

    /// Whether it is of the claim that the host has now.
    fn is_of(&self, report: &Report) -> bool {
        report.claim.as_ref().is_some_and(|claim| claim.claim_id == self.claim)
    }
}

/// What is remembered of a host from now on, and how its log differs from what was remembered `before`. `hash` is that of
/// the record that was remembered, as the log has it now.
fn held(
    before: Option<&Remembered>,
    report: &Report,
    hash: Option<&RecordHash>,
) -> (Option<Remembered>, Option<Discrepancy>) {
    let Some(before) = before.filter(|before| before.is_of(report)) else {
        return (Remembered::of(report), None);
    };
    let told = Told { head: report.audit.clone(), remembered: hash.cloned() };
    match compare(&before.head, &told) {
        Ok(()) => (Remembered::of(report), None),
        Err(problem) => (Some(Remembered { is_disputed: true, ..before.clone() }), Some(problem)),
    }
}

/// What is remembered of each host's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHeads(BTreeMap<HostName, Remembered>);

/// What was seen of logs while hosts were changed, beginning with what was remembered before, and what else people are to
/// be told when that is over.
#[derive(Debug)]
pub struct Heard(Mutex<Logs>);

#[derive(Debug)]
struct Logs {
    heads: AuditHeads,
    /// Of each host whose log did not fit, the finding.
    missed: BTreeMap<HostName, String>,
    warnings: Diagnostics,
}

impl Heard {
    /// Nothing was seen yet of these, and these are warnings already.
    #[must_use]
    pub fn after(before: AuditHeads, warnings: Diagnostics) -> Heard {
        Heard(Mutex::new(Logs { heads: before, missed: BTreeMap::new(), warnings }))
    }

    /// More that people are to be told, however it ends.
    pub fn warn(&self, warnings: Diagnostics) {
        self.logs().warnings.extend(warnings);
    }

    /// A host's answer to somebody who looked at it, with the hash of the record that [`Heard::newest`] has of it.
    pub fn look(&self, host: &HostName, report: &Report, hash: Option<&RecordHash>) {
        let mut logs = self.logs();
        let known = logs.heads.0.get(host).cloned();
        logs.hold(host, known.as_ref(), report, hash);
    }

    /// A host's report after it was changed, newer than those before. It has no hash of an older record, so the log is
    /// only not to be shorter; what is disputed stays so.
    pub fn hear(&self, host: &HostName, report: &Report) {
        let mut logs = self.logs();
        let known = logs.heads.0.get(host).cloned();
        if !known.as_ref().is_some_and(|known| known.is_disputed && known.is_of(report)) {
            logs.hold(host, known.as_ref(), report, known.as_ref().map(|known| &known.head.hash));
        }
    }

    /// What is remembered of each host by now.
    #[must_use]
    pub fn newest(&self) -> AuditHeads {
        self.logs().heads.clone()
    }

    /// A warning when some log was not the one that was there before.
    fn warning(&self) -> Option<Diagnostic> {
        let missed: Vec<String> = self.logs().missed.values().cloned().collect();
        (!missed.is_empty()).then(|| {
            let detail =
                format!("{}\nThis is a finding of every refresh until it is explained.", missed.join("\n"));
            Diagnostic::warning("Audit logs of hosts were touched", detail)
        })
    }

    /// Brings every warning to people, beside what was done or why it was not.
    ///
    /// # Errors
    /// Those of `result`, and the warnings behind them.
    pub fn told_with<T>(&self, result: Result<T, Diagnostics>) -> Result<(T, Diagnostics), Diagnostics> {
        let mut warnings = self.logs().warnings.clone();
        warnings.extend(self.warning());
        match result {
            Ok(done) => Ok((done, warnings)),
            Err(mut problems) => {
                problems.extend(warnings);
                Err(problems)
            }
        }
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    fn hold(
        &mut self,
        host: &HostName,
        known: Option<&Remembered>,
        report: &Report,
        hash: Option<&RecordHash>,
    ) {
        let (kept, problem) = held(known, report, hash);
        self.heads.0.extend(kept.map(|kept| (host.clone(), kept)));
        self.missed.extend(problem.map(|problem| (host.clone(), finding(host, &problem))));
    }
}

impl AuditHeads {
    /// The record of a host's log that is remembered; 0 when none is.
    #[must_use]
    pub fn seq(&self, host: &HostName) -> u64 {
        self.0.get(host).map_or(0, |remembered| remembered.head.seq)
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
        let (kept, problem) = held(self.0.get(host), report, hash);
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

    fn refreshed(before: &AuditHeads, report: &Report, hash: Option<u8>) -> (AuditHeads, Option<String>) {
        let mut next = AuditHeads::default();
        let hash = hash.map(self::hash);
        let told = before.hold(&"east-1".parse().unwrap(), report, hash.as_ref(), &mut next);
        (next, told)
    }

    #[test]
    fn a_log_that_goes_on_is_remembered_and_one_that_does_not_is_told_until_it_is_another_claim() {
        let host: HostName = "east-1".parse().unwrap();
        let (known, told) = refreshed(&AuditHeads::default(), &report("a", Some((5, 5))), None);
        assert_eq!((known.seq(&host), told), (5, None));
        let (longer, told) = refreshed(&known, &report("a", Some((9, 9))), Some(5));
        assert_eq!((longer.seq(&host), told), (9, None));
        let (cut, told) = refreshed(&longer, &report("a", Some((5, 5))), None);
        let told = told.unwrap();
        assert!(told.starts_with("east-1: audit log is not"), "{told}");
        assert!(told.contains("it ends with record 5, and it had 9 records"), "{told}");
        let heard = Heard::after(cut, Diagnostics::new());
        heard.hear(&host, &report("a", Some((12, 12))));
        assert!(heard.warning().is_none(), "the refresh said it");
        let cut = heard.newest();
        assert_eq!(cut.seq(&host), 9, "an apply does not make it good");
        assert!(
            refreshed(&cut, &report("a", Some((12, 12))), Some(1)).1.is_some(),
            "another record at its place"
        );
        assert_eq!(refreshed(&cut, &report("a", Some((12, 12))), Some(9)).1, None, "it was put back");
        let (anew, told) = refreshed(&cut, &report("b", Some((2, 2))), None);
        assert_eq!((anew.seq(&host), told), (2, None));
        assert!(refreshed(&anew, &report("b", None), None).1.is_some(), "no log any more");
    }

    #[test]
    fn an_apply_that_meets_a_touched_log_says_so_and_does_not_take_it_for_the_one_before() {
        let host: HostName = "east-1".parse().unwrap();
        let known = refreshed(&AuditHeads::default(), &report("a", Some((9, 9))), None).0;
        let cases = [
            ("cut", Some((5, 5)), None, Some("it ends with record 5, and it had 9")),
            ("cut, and longer again", Some((11, 11)), Some(1), Some("record 9 is another one")),
            ("gone", None, None, Some("there is no log")),
            ("goes on", Some((11, 11)), Some(9), None),
            ("is as it was", Some((9, 9)), None, None),
        ];
        for (case, head, hash, told) in cases {
            let heard = Heard::after(known.clone(), Diagnostics::new());
            let hash = hash.map(self::hash);
            heard.look(&host, &report("a", head), hash.as_ref());
            heard.hear(&host, &report("a", Some((15, 15))));
            let warning = heard.warning().map(|warning| warning.detail);
            assert_eq!(warning.is_some(), told.is_some(), "{case}: {warning:?}");
            assert!(warning.unwrap_or_default().contains(told.unwrap_or_default()), "{case}");
            let seq = if told.is_some() { 9 } else { 15 };
            assert_eq!(heard.newest().seq(&host), seq, "{case}");
        }
        // While the apply goes on, and of a host that was claimed anew.
        let heard = Heard::after(known, Diagnostics::new());
        heard.look(&host, &report("a", Some((12, 12))), Some(&hash(9)));
        heard.hear(&host, &report("a", Some((10, 10))));
        assert!(heard.warning().unwrap().detail.contains("it ends with record 10, and it had 12"));
        let heard = Heard::after(heard.newest(), Diagnostics::new());
        heard.look(&host, &report("b", Some((2, 2))), None);
        assert_eq!((heard.newest().seq(&host), heard.warning()), (2, None));
    }

    #[test]
    fn what_an_apply_heard_last_counts_and_silence_changes_nothing() {
        let host: HostName = "east-1".parse().unwrap();
        let heard = Heard::after(AuditHeads::default(), Diagnostics::new());
        heard.look(&host, &report("a", Some((3, 3))), None);
        heard.hear(&host, &report("a", Some((7, 7))));
        let known = heard.newest();
        assert_eq!((known.seq(&host), heard.warning()), (7, None));
        let mut next = AuditHeads::default();
        next.keep(&host, &known);
        assert_eq!(next, known);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<AuditHeads>(&text).unwrap(), known);
    }
}
