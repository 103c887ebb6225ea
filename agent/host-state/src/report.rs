//! What an agent answers: one type for the wire, for `nats-agent status --json` and for Terraform's diagnostics.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::Head;
use crate::document::{ContentHash, SectionKind};
use crate::drift::{Drift, Finding};

/// One host as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The agent's version.
    pub agent_version: String,
    /// Who the host belongs to; absent while unclaimed.
    pub claim: Option<ClaimStatus>,
    /// Sections in the ledger, by kind.
    pub sections: BTreeMap<SectionKind, SectionStatus>,
    /// The current rendition's number; absent before the first.
    pub rendition: Option<u64>,
    /// Whether the server is held or released, and whether it runs.
    pub run: RunStatus,
    /// The meta lineage of the store; absent before the first release.
    pub meta_lineage: Option<String>,
    /// Whether a meta leader was ever seen in that lineage.
    pub formed: bool,
    /// The running server; absent when none runs.
    pub server: Option<ServerStatus>,
    /// What apply can remove.
    pub drift: Vec<Drift>,
    /// What apply cannot.
    pub findings: Vec<Finding>,
    /// Which other servers this one reaches. Absent while no server runs, while the agent cannot log in to it, and in
    /// the report that ends an apply.
    pub mesh: Option<MeshRow>,
    /// The firewall; absent where the agent manages none, or cannot say.
    pub firewall: Option<FirewallStatus>,
    /// Certificates of this host, by name (`issuer`, `leaf`).
    pub certificates: BTreeMap<String, CertificateStatus>,
    /// The last record of the audit log; absent while there is none that can be read.
    pub audit: Option<Head>,
    /// Seconds since 1970 when this was seen, by the host's clock.
    pub observed_at: i64,
}

/// Whose host it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimStatus {
    /// Host name.
    pub host: String,
    /// Operator public key of the authority.
    pub authority: String,
    /// Enrolment generation it was claimed with.
    pub generation: u32,
    /// The claim's id, bound into every later document.
    pub claim_id: String,
    /// Public keys that the host made, as canonical JSON of `identity::HostKeys`.
    pub host_keys: serde_json::Value,
}

/// A section in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionStatus {
    /// Its owner, like `nats_cluster/east`.
    pub owner: String,
    /// Newest generation taken in.
    pub generation: u64,
    /// Its content hash.
    pub content: ContentHash,
    /// Who wrote it.
    pub writer: String,
    /// Newest generation that runs and passed its gate; absent when none did.
    pub confirmed: Option<u64>,
}

/// Whether the server is held or released, and whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// No cluster section yet.
    Empty,
    /// Staged, not released.
    Held,
    /// Released and running.
    Running,
    /// Released and not running.
    Stopped,
}

/// The running nats-server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerStatus {
    /// Process id.
    pub pid: u32,
    /// Version without `v`.
    pub version: String,
    /// `config_digest`; absent when it did not answer.
    pub digest: Option<String>,
    /// Seconds since 1970 when it was started.
    pub started_at: i64,
}

/// One host's row of the mesh: which other servers its own server reaches, at most ten seconds ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshRow {
    /// Hosts whose server did not answer through the system account.
    pub system_missing: BTreeSet<String>,
    /// Hosts whose agent, behind its own server, did not answer through the probe account.
    pub probe_missing: BTreeSet<String>,
    /// How many hosts were tried in each account: every other one of the supercluster, or of the cluster where it
    /// has no gateway.
    pub probed: u32,
}

/// The firewall of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallStatus {
    /// Hash of the rules that were confirmed last; absent before the first.
    pub confirmed: Option<ContentHash>,
    /// Rules on trial, which somebody has to confirm over a new connection; absent when none are.
    pub trial: Option<TrialStatus>,
}

/// Firewall rules on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialStatus {
    /// Names the trial, for Confirm and Cancel.
    pub id: String,
    /// Milliseconds until the kernel goes back to the confirmed rules by itself.
    pub remaining_ms: u64,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateStatus {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Seconds since 1970 from which it is due to be renewed.
    pub renew_at: i64,
}

/// One event of a running apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ApplyEvent {
    /// A step begins; the text is for people.
    Started {
        /// What is being done.
        step: String,
    },
    /// A step ended well.
    Done {
        /// What was done.
        step: String,
        /// How long it took.
        millis: u64,
    },
    /// The apply ended; the last event.
    Finished {
        /// How.
        outcome: Outcome,
        /// The host afterwards.
        report: Box<Report>,
    },
}

/// How an apply ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Running and past its gate, or nothing was to do.
    Confirmed,
    /// Taken in, rendered and checked, nothing switched.
    Staged,
    /// The change did not pass; the host runs what it ran before.
    RolledBack {
        /// Which step failed.
        step: String,
        /// Why, one chain of causes.
        reason: String,
    },
    /// The change was refused before anything was touched.
    Refused {
        /// Why and what to do.
        reason: String,
    },
}
