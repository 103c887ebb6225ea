//! What the agent answers when it is asked how its host is. Reads only; total: what cannot be seen becomes a finding.

use std::collections::BTreeMap;

use host_state::desired::Run;
use host_state::document::canonical;
use host_state::observed::{ProcessObserved, RunningObserved};
use host_state::report::{CertificateStatus, ClaimStatus, RunStatus, SectionStatus, ServerStatus};
use host_state::{Finding, Report, SectionKind, drift};

use super::claim::ClaimRecord;
use super::host::{Host, now};
use super::ledger::{Contents, Kept, SectionEntry};
use super::observe::{Sight, process};
use super::target::{Target, Which};
use crate::parts::firewall;
use crate::parts::tls::{self, Leaf};

impl Host {
    /// A fresh sweep, without the mesh, which others are needed for. Drift is measured against what was confirmed;
    /// before anything was, against what was taken in.
    pub(super) async fn report(&self) -> Report {
        let mut findings: Vec<Finding> = self.notes().into_iter().collect();
        let contents = self.ledger.read().unwrap_or_else(|unreadable| {
            findings.push(Finding {
                item: "ledger".to_owned(),
                problem: unreadable.to_string(),
                remedy: "restore the file from a backup of the state directory, or enrol the host anew"
                    .to_owned(),
            });
            self.readable_contents()
        });
        let target = self.measured_target(&contents, &mut findings);
        let sight = match &target {
            Some(target) => Some(self.look(target, &contents.facts).await),
            None => None,
        };
        let (mut drift, told) = sight.as_ref().map(|sight| drift(&sight.differences)).unwrap_or_default();
        // What was staged and never confirmed is not drift, it is a change to come.
        if contents.cluster.as_ref().is_some_and(|entry| entry.confirmed().is_none()) {
            drift.clear();
        }
        findings.extend(told);
        if let (Some(target), None) = (&target, &self.firewall) {
            findings.extend(firewall::off_finding(&target.cluster.firewall));
        }
        let (audit, told) = self.audit.look();
        findings.extend(told);
        let firewall = self.firewall_status().unwrap_or_else(|error| {
            findings.push(Finding {
                item: "firewall".to_owned(),
                problem: format!("the firewall cannot be looked at: {}", host_state::chain(&error)),
                remedy: "look at the cause, then plan again; the kernel goes on with the rules that it has"
                    .to_owned(),
            });
            None
        });
        findings.sort();
        findings.dedup();
        let (_, found) = self.unit().await;
        let process = process(self.server(), found);
        Report {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            claim: self.claim_status(),
            sections: sections(&contents),
            rendition: self.renditions.current().ok().flatten(),
            run: run_status(target.as_ref(), &process),
            meta_lineage: contents.facts.meta_lineage.clone(),
            formed: contents.facts.formed,
            server: server_status(&process, sight.as_ref()),
            drift,
            findings,
            mesh: None,
            firewall,
            certificates: self.certificates(),
            audit,
            observed_at: now().unix_timestamp(),
        }
    }

    /// Those sections of a damaged ledger that can be read: they are shown, nothing is done with them.
    pub(super) fn readable_contents(&self) -> Contents {
        let readable = |kind| match self.ledger.section(kind) {
            Kept::Valid(entry) => Some(entry),
            Kept::Missing | Kept::Unreadable { .. } => None,
        };
        let facts = match self.ledger.facts() {
            Kept::Valid(facts) => facts,
            Kept::Missing | Kept::Unreadable { .. } => super::ledger::HostFacts::default(),
        };
        Contents {
            cluster: readable(SectionKind::Cluster),
            gateway: readable(SectionKind::Gateway),
            claims: readable(SectionKind::Claims),
            facts,
        }
    }

    fn measured_target(&self, contents: &Contents, findings: &mut Vec<Finding>) -> Option<Target> {
        let confirmed = Target::of(contents, Which::Confirmed).transpose();
        let target = confirmed.or_else(|| Target::of(contents, Which::Accepted).transpose())?;
        match target {
            Ok(target) => Some(target),
            Err(error) => {
                findings.push(Finding {
                    item: "ledger".to_owned(),
                    problem: host_state::chain(&error),
                    remedy: "apply with the version of the agent that took the section in".to_owned(),
                });
                None
            }
        }
    }

    fn claim_status(&self) -> Option<ClaimStatus> {
        let Kept::Valid(record) = super::claim::read(self.state_dir()) else { return None };
        let ClaimRecord { host, generation, claim_id, trust, issuer: _, names: _ } = record;
        let host_keys = serde_json::from_str(&canonical(&self.keys)).unwrap_or_default();
        Some(ClaimStatus { host, authority: trust.operator.to_string(), generation, claim_id, host_keys })
    }

    fn certificates(&self) -> BTreeMap<String, CertificateStatus> {
        let Ok(Some(leaf)) = Leaf::read(self.state_dir()) else { return BTreeMap::new() };
        [("leaf", leaf.certificate.as_str()), ("issuer", leaf.material.issuer.as_str())]
            .into_iter()
            .filter_map(|(name, pem)| Some((name.to_owned(), tls::status(pem).ok()?)))
            .collect()
    }
}

fn sections(contents: &Contents) -> BTreeMap<SectionKind, SectionStatus> {
    let status = |entry: &SectionEntry| {
        let header = &entry.accepted.header;
        SectionStatus {
            owner: header.owner.clone(),
            generation: header.generation,
            content: header.content.clone(),
            writer: header.writer.clone(),
            confirmed: entry.confirmed().map(|section| section.header.generation),
        }
    };
    [SectionKind::Cluster, SectionKind::Gateway, SectionKind::Claims]
        .into_iter()
        .filter_map(|kind| Some((kind, status(contents.entry(kind)?))))
        .collect()
}

fn run_status(target: Option<&Target>, process: &ProcessObserved) -> RunStatus {
    match (target.map(Target::run), process) {
        (None, _) => RunStatus::Empty,
        (Some(_), ProcessObserved::Running { .. }) => RunStatus::Running,
        (Some(Run::Held), ProcessObserved::Stopped { .. }) => RunStatus::Held,
        (Some(Run::Released(_)), ProcessObserved::Stopped { .. }) => RunStatus::Stopped,
    }
}

fn server_status(process: &ProcessObserved, sight: Option<&Sight>) -> Option<ServerStatus> {
    let ProcessObserved::Running { pid, started_at, binary_sha256: _ } = process else { return None };
    let (version, digest) = match sight.map(|sight| &sight.observed.running) {
        Some(RunningObserved::Answered { version, digest, .. }) => (version.clone(), Some(digest.clone())),
        Some(RunningObserved::Stopped | RunningObserved::Silent { .. }) | None => (String::new(), None),
    };
    Some(ServerStatus { pid: *pid, version, digest, started_at: *started_at })
}
