//! The messages of the border, as they travel. What is a secret is a [`Secret`]; nothing here has a `Debug`.
//!
//! Types of `host_state` and `identity` that have a JSON form of their own travel in it; those of [`crate::roles`] have
//! theirs here, and [`super::convert`] goes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use host_state::audit::RecordHash;
use host_state::observed::RunningObserved;
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, MeshRow, Report};
use host_state::{DownloadUrl, Plan, SignedSection};
use identity::{AccountName, HostKeys, HostNames, Trust};
use nats_config::Sha256Hex;
use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// From the front to the applier.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToApplier {
    Call { id: u64, call: ApplierCall },
    Answer { id: u64, answer: ViewAnswer },
}

/// From the applier to the front.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToFront {
    /// The first message.
    Hello(Box<Hello>),
    /// Whenever something of it has changed.
    Standing(Box<Standing>),
    /// Of an apply that the front asked for.
    Event {
        id: u64,
        event: ApplyEvent,
    },
    Answer {
        id: u64,
        answer: ApplierAnswer,
    },
    Call {
        id: u64,
        call: ViewCall,
    },
    /// The last message: why the applier ends the connection.
    Farewell {
        reason: String,
    },
}

/// What never changes, and the rest as it is now.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub(super) host_keys: HostKeys,
    pub(super) leaf_key: Secret,
    pub(super) standing: Standing,
}

/// Whose host it is, and what the agent's port serves.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    pub(super) claim: ClaimState,
    pub(super) identity: Option<ApiIdentity>,
}

/// What the front asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ApplierCall {
    Bind(Box<NewClaim>),
    Observe,
    AuditHash { seq: u64 },
    Sections,
    Pins,
    SystemLogin,
    Preview { sections: Vec<SignedSection> },
    Preflight,
    Apply { order: ApplyOrder, caller: Caller },
    Lease { order: LeaseOrder, caller: Caller },
    Confirm { wish: TrialWish, caller: Caller },
    Cancel { wish: TrialWish, caller: Caller },
    TakeClaims { section: Box<SignedSection> },
    Beat,
}

/// What the applier answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ApplierAnswer {
    Bind,
    Observe(Box<Report>),
    AuditHash(Option<RecordHash>),
    Sections(Vec<SignedSection>),
    Pins(BTreeSet<String>),
    SystemLogin(Box<LocalServer>),
    Preview(Plan),
    Preflight(Preflight),
    Apply,
    Lease(LeaseAnswer),
    Confirm,
    Cancel,
    TakeClaims { newer: bool },
    Beat,
    Failed(ApplierError),
}

/// What the applier asks.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ViewCall {
    Running { monitor: SocketAddr },
    Healthz { monitor: SocketAddr, query: String },
    KnownAccounts { server: LocalServer },
    AccountJwts { server: LocalServer, accounts: Vec<String> },
    PushClaim { server: LocalServer, jwt: String },
    Download { url: DownloadUrl, sha256: Sha256Hex },
    ServedLeaf { address: SocketAddr, after_info: bool },
    HoldPorts { ports: Vec<SocketAddr> },
    AnswerProbes { post: Option<Box<MeshPost>> },
    MeshRow,
}

/// What the front answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ViewAnswer {
    Running(RunningObserved),
    Healthz(Result<(), String>),
    KnownAccounts(Result<BTreeSet<String>, String>),
    AccountJwts(Result<BTreeMap<String, BTreeSet<String>>, String>),
    PushClaim(Result<(), String>),
    Download(Result<(), String>),
    ServedLeaf(Result<String, String>),
    HoldPorts(BTreeMap<SocketAddr, Result<(), String>>),
    AnswerProbes,
    MeshRow(Option<MeshRow>),
    /// It was not asked at all.
    Refused {
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ClaimState {
    Closed,
    /// The enrolment as [`identity::Enrollment::to_text`] writes it.
    Open {
        enrollment: Secret,
        expires_at: i64,
    },
    Claimed(Box<Claimed>),
    Unreadable {
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claimed {
    pub(super) host: String,
    pub(super) generation: u32,
    pub(super) claim_id: String,
    pub(super) trust: Trust,
    pub(super) host_keys: HostKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiIdentity {
    pub(super) chain_pem: String,
    pub(super) key: Secret,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClaim {
    pub(super) generation: u32,
    pub(super) claim_id: String,
    pub(super) trust: Trust,
    pub(super) issuer_pem: String,
    pub(super) names: HostNames,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Caller {
    pub(super) role: Role,
    pub(super) serial: String,
    pub(super) opened_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Role {
    Operator,
    Reader,
    Account(AccountName),
    Peer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyOrder {
    pub(super) sections: Vec<SignedSection>,
    pub(super) mode: ApplyMode,
    pub(super) lease_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApplyMode {
    Stage,
    Roll,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ApplierError {
    NotClaimed(String),
    InvalidDocument(String),
    Conflict(String),
    Leased(String),
    Frozen(String),
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrialWish {
    pub(super) trial_id: String,
    pub(super) signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseOrder {
    pub(super) lease_id: String,
    pub(super) holder: String,
    pub(super) action: LeaseAction,
    pub(super) ttl_ms: u32,
    pub(super) signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LeaseAction {
    Acquire,
    Renew,
    Release,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseAnswer {
    pub(super) granted: bool,
    pub(super) holder: String,
    pub(super) remaining_ms: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalServer {
    pub(super) client: SocketAddr,
    pub(super) address: IpAddr,
    pub(super) host_ca_pem: String,
    pub(super) user_jwt: String,
    /// The seed of a user's nkey.
    pub(super) user_key: Secret,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeshPost {
    pub(super) host: String,
    pub(super) others: BTreeSet<String>,
    pub(super) system: LocalServer,
    pub(super) probe: LocalServer,
}
