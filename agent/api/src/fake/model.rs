//! What a fake holds in place of a ledger and a nats-server.

use std::collections::BTreeMap;

use host_state::admission::{Admission, Bound, admit};
use host_state::audit::Head;
use host_state::desired::{LocalFacts, Run};
use host_state::document::{
    BinarySource, ClaimsSection, ClusterSection, GatewaySection, SECTION_DOMAIN, Section, SectionKind,
};
use host_state::lease::Lease;
use host_state::observed::{
    BinaryObserved, ClaimObserved, ClaimsObserved, FirewallObserved, Mount, Observed, ProcessObserved,
    RunningObserved, StoreDisk, StoreFile, StoreMark, StoreObserved,
};
use host_state::report::{
    ClaimStatus, FirewallStatus, MeshRow, Report, RunStatus, SectionStatus, ServerStatus, TrialStatus,
};
use host_state::{Desired, Plan, SignedSection};
use nats_config::ServerConfig;

use super::Script;
use crate::order::{NewClaim, boot_ms};
use crate::server::{Method, ServiceError};

/// What a fake calls its version.
pub(super) const VERSION: &str = "fake";
/// SHA-256 of the binary that it pretends to run.
const BINARY: &str = "0000000000000000000000000000000000000000000000000000000000000001";
/// What is left of a trial, whenever it is asked.
const TRIAL_MS: u64 = 60_000;
/// Id of the store that it pretends to have.
const STORE: &str = "00000000000000000000000000000001";

/// The disk that it pretends to have: one that `production` takes.
pub(super) fn disk() -> StoreDisk {
    let mount = Mount {
        point: "/data".to_owned(),
        source: "/dev/nvme1n1".to_owned(),
        fs_type: "xfs".to_owned(),
        options: ["rw".to_owned()].into(),
    };
    StoreDisk {
        mount,
        on_root: false,
        size: 1 << 40,
        free: 1 << 39,
        ballast: Some(host_state::preflight::MAX_BALLAST),
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) calls: Vec<Method>,
    accepted: BTreeMap<SectionKind, SignedSection>,
    confirmed: BTreeMap<SectionKind, u64>,
    running: Option<ServerConfig>,
    lineage: Option<String>,
    rendition: u64,
    pub(super) lease: Option<Lease>,
    pub(super) trial: Option<Trial>,
}

/// Firewall rules that it pretends to have on trial; they stay so until somebody ends it.
pub(super) struct Trial {
    pub(super) id: String,
    /// By [`boot_ms`].
    pub(super) begun_ms: u64,
}

impl Trial {
    fn status(&self) -> TrialStatus {
        TrialStatus { id: self.id.clone(), remaining_ms: TRIAL_MS }
    }
}

impl Model {
    pub(super) fn sections(&self) -> Vec<SignedSection> {
        self.accepted.values().cloned().collect()
    }

    pub(super) fn section(&self, kind: SectionKind) -> Option<SignedSection> {
        self.accepted.get(&kind).cloned()
    }

    /// Whether sections may be taken in; all or none.
    pub(super) fn admitted(
        &self,
        claim: &NewClaim,
        sections: Vec<SignedSection>,
    ) -> Result<BTreeMap<SectionKind, SignedSection>, ServiceError> {
        let host = claim.names.host.to_string();
        let bound =
            Bound { authority: claim.trust.operator.as_str(), host: &host, claim_id: &claim.claim_id };
        let mut after = self.accepted.clone();
        for section in sections {
            verified(claim, &section)?;
            let kind = section.header.section;
            let head = after.get(&kind).map(|head| &head.header);
            let admission = admit(&bound, head, &section.header);
            match admission.map_err(|refusal| ServiceError::Conflict(refusal.to_string()))? {
                Admission::New => {
                    after.insert(kind, section);
                }
                Admission::Same => {}
            }
        }
        Ok(after)
    }

    pub(super) fn accept(&mut self, sections: BTreeMap<SectionKind, SignedSection>) {
        self.accepted = sections;
    }

    /// What a roll to `sections` would do.
    pub(super) fn plan(&self, sections: &BTreeMap<SectionKind, SignedSection>) -> Result<Plan, ServiceError> {
        let Some(desired) = self.desired(sections)? else { return Ok(Plan::empty()) };
        let observed = self.observed(&desired);
        let differences = host_state::diff(&desired, &observed);
        Ok(host_state::plan(&desired, &observed, &differences, self.running.as_ref()))
    }

    /// Is now what `sections` ask for.
    pub(super) fn roll(&mut self, stays_down: bool) -> Result<(), ServiceError> {
        if let Some(desired) = self.desired(&self.accepted)? {
            if self.running.as_ref() != Some(&desired.config) {
                self.rendition += 1;
            }
            match &desired.run {
                Run::Released(release) => {
                    self.lineage = Some(release.meta_lineage.clone());
                    self.running = (!stays_down).then_some(desired.config);
                }
                Run::Held => self.running = None,
            }
        }
        self.confirmed =
            self.accepted.iter().map(|(kind, section)| (*kind, section.header.generation)).collect();
        Ok(())
    }

    pub(super) fn begin_trial(&mut self) {
        self.trial = Some(Trial { id: format!("{:032x}", self.rendition), begun_ms: boot_ms() });
    }

    /// The claims that were taken in are now with the server.
    pub(super) fn confirm_claims(&mut self) {
        if let Some(section) = self.accepted.get(&SectionKind::Claims) {
            self.confirmed.insert(SectionKind::Claims, section.header.generation);
        }
    }

    pub(super) fn is_released(&self) -> bool {
        self.desired(&self.accepted)
            .is_ok_and(|desired| desired.is_some_and(|desired| desired.run != Run::Held))
    }

    fn desired(
        &self,
        sections: &BTreeMap<SectionKind, SignedSection>,
    ) -> Result<Option<Desired>, ServiceError> {
        let Some(cluster) = body::<ClusterSection>(sections)? else { return Ok(None) };
        let local = LocalFacts {
            files: BTreeMap::new(),
            rendered: self.running.clone(),
            leaf_not_after: None,
            lineage: self.lineage.clone(),
            formed: self.lineage.is_some(),
            store_id: self.lineage.is_some().then(|| STORE.to_owned()),
            owner: None,
            agent_port: None,
            unit: None,
        };
        let gateway = body::<GatewaySection>(sections)?;
        let claims = body::<ClaimsSection>(sections)?;
        Ok(Some(Desired::new(&cluster, gateway.as_ref(), claims.as_ref(), local)))
    }

    /// What a host would show that runs what this one was last rolled to.
    fn observed(&self, desired: &Desired) -> Observed {
        let sha256 = match &desired.server.source {
            BinarySource::File { path: _, sha256 } => sha256.clone(),
            BinarySource::Agent | BinarySource::Path { .. } | BinarySource::Url { .. } => BINARY.to_owned(),
        };
        let file = StoreFile {
            store: STORE.to_owned(),
            identity: desired.store.identity.clone(),
            meta_lineage: self.lineage.clone(),
            formed: self.lineage.is_some(),
        };
        let claim = |claim: &host_state::desired::DesiredClaim| ClaimObserved {
            sha256: claim.sha256.clone(),
            issued_at: Some(claim.issued_at),
        };
        let digest = |config: &ServerConfig| nats_config::render(config).digest.to_string();
        Observed {
            files: BTreeMap::new(),
            running: self.running.as_ref().map_or(RunningObserved::Stopped, |config| {
                RunningObserved::Answered {
                    digest: digest(config),
                    version: desired.server.version.clone(),
                    server_name: config.server_name.to_string(),
                    certificates: BTreeMap::new(),
                }
            }),
            store: StoreObserved::Present {
                mode: desired.store.mode,
                uid: 0,
                gid: 0,
                data_uid: None,
                device: 1,
                inode: 1,
                identity: if self.lineage.is_some() { StoreMark::Found(file) } else { StoreMark::Missing },
                identity_mode: self.lineage.as_ref().map(|_| host_state::layout::PUBLIC_MODE),
                has_data: self.lineage.is_some(),
                accounts: Vec::new(),
            },
            disk: Ok(disk()),
            binary: BinaryObserved::Present {
                path: "nats-server".to_owned(),
                version: desired.server.version.clone(),
                sha256: sha256.clone(),
                download: match &desired.server.source {
                    BinarySource::Url { url: _, sha256 } => Some(sha256.as_str().to_owned()),
                    BinarySource::Agent | BinarySource::Path { .. } | BinarySource::File { .. } => None,
                },
            },
            unit: host_state::observed::UnitObserved::None,
            process: match &self.running {
                Some(_) => ProcessObserved::Running { pid: 1, started_at: 0, binary_sha256: sha256 },
                None => ProcessObserved::Stopped { last_exit: None },
            },
            firewall: FirewallObserved::Off,
            claims: match &self.running {
                Some(_) => ClaimsObserved::Answered(
                    desired.claims.iter().map(|(key, entry)| (key.clone(), claim(entry))).collect(),
                ),
                None => ClaimsObserved::Stopped,
            },
        }
    }

    pub(super) fn report(
        &self,
        claim: &NewClaim,
        host_keys: &identity::HostKeys,
        script: &Script,
        now: i64,
    ) -> Report {
        let status = |(kind, section): (&SectionKind, &SignedSection)| {
            let header = &section.header;
            let status = SectionStatus {
                owner: header.owner.clone(),
                generation: header.generation,
                content: header.content.clone(),
                writer: header.writer.clone(),
                confirmed: self.confirmed.get(kind).copied(),
            };
            (*kind, status)
        };
        let run = match (self.accepted.contains_key(&SectionKind::Cluster), &self.running) {
            (false, _) => RunStatus::Empty,
            (true, Some(_)) => RunStatus::Running,
            (true, None) if self.is_released() => RunStatus::Stopped,
            (true, None) => RunStatus::Held,
        };
        let version = self.desired(&self.accepted).ok().flatten().map(|desired| desired.server.version);
        Report {
            agent_version: VERSION.to_owned(),
            claim: Some(ClaimStatus {
                host: claim.names.host.to_string(),
                authority: claim.trust.operator.to_string(),
                generation: claim.generation,
                claim_id: claim.claim_id.clone(),
                host_keys: serde_json::to_value(host_keys).expect("public keys are plain data"),
            }),
            sections: self.accepted.iter().map(status).collect(),
            rendition: (self.rendition > 0).then_some(self.rendition),
            run,
            meta_lineage: self.lineage.clone(),
            formed: self.lineage.is_some() && self.running.is_some(),
            server: self.running.as_ref().map(|config| ServerStatus {
                pid: 1,
                version: version.unwrap_or_default(),
                digest: Some(nats_config::render(config).digest.to_string()),
                started_at: now,
            }),
            drift: script.drift.clone(),
            findings: script.findings.clone(),
            mesh: script.mesh.clone().or_else(|| self.running.is_some().then(MeshRow::default)),
            firewall: script
                .trials
                .then(|| FirewallStatus { confirmed: None, trial: self.trial.as_ref().map(Trial::status) }),
            certificates: BTreeMap::new(),
            audit: script
                .audit
                .last()
                .map(|hash| Head { seq: script.audit.len() as u64, hash: hash.clone() }),
            observed_at: now,
        }
    }
}

/// A section's body; `None` when there is no such section.
fn body<T: Section>(sections: &BTreeMap<SectionKind, SignedSection>) -> Result<Option<T>, ServiceError> {
    let section = sections.get(&T::KIND);
    let body = section.map(SignedSection::body::<T>).transpose();
    body.map_err(|error| ServiceError::Invalid(error.to_string()))
}

/// Signature, hash and form of a section.
fn verified(claim: &NewClaim, section: &SignedSection) -> Result<(), ServiceError> {
    let invalid =
        |why: String| ServiceError::Invalid(format!("the `{}` section {why}", section.header.section));
    let signature = data_encoding::BASE64.decode(section.signature.as_bytes()).ok();
    let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let signed = section.header.signed_bytes();
    let is_genuine =
        signature.is_some_and(|signature| claim.trust.verify_document(SECTION_DOMAIN, &signed, &signature));
    if !is_genuine {
        return Err(invalid("is not signed by this authority's document key".to_owned()));
    }
    let form = match section.header.section {
        SectionKind::Cluster => section.body::<ClusterSection>().map(drop),
        SectionKind::Gateway => section.body::<GatewaySection>().map(drop),
        SectionKind::Claims => section.body::<ClaimsSection>().map(drop),
    };
    form.map_err(|error| ServiceError::Invalid(error.to_string()))
}
