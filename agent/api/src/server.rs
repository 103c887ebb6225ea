//! What an agent's front implements, who may call what, and the listeners for both of an agent's lives.
//!
//! The listeners are here rather than in the agent so that [`FakeAgent`](crate::fake) answers with the same TLS.

mod adapter;
mod admission;
mod claiming;
mod gate;
mod listener;
mod pace;
mod port;
mod role;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use host_state::preflight::Preflight;
use host_state::report::ApplyEvent;
use host_state::{Plan, SignedSection};
use identity::{Enrollment, HostKeys};
use tokio::sync::mpsc;

use crate::order::{
    ApplyOrder, Caller, LeaseAnswer, LeaseOrder, NewClaim, Observation, ProbeOrder, ProbeResult, TrialOrder,
    TunnelRequest, TunnelResponse,
};

pub use crate::tls::TlsError;
pub use admission::{
    MAX_HANDSHAKES, MAX_HANDSHAKES_OF_SOURCE, MAX_LESSER_CONNECTIONS, MAX_OPERATOR_CONNECTIONS, MAX_SILENT,
    MAX_SILENT_OF_SOURCE,
};
pub use gate::{
    MAX_LESSER_CALLS, MAX_LESSER_TUNNELS, MAX_OPERATOR_CALLS, MAX_READER_PREVIEWS, MAX_TUNNEL_BYTES,
};
pub use listener::{
    HANDSHAKE_TIMEOUT, MAX_HEADER_BYTES, MAX_STREAMS, ServeError, serve_claimed, serve_unclaimed,
};
pub use pace::MAX_LESSER_BYTES_A_SECOND;
pub use port::{Acceptor, Port};
pub use role::{METHODS, Method, is_allowed};
pub use tls::{ClaimedTls, ListenerTls, UnclaimedTls, self_signed};

/// Why an agent refused or failed. The text is for people and names the other writer or holder where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The host is nobody's, or somebody else's.
    #[error("{0}")]
    NotClaimed(String),
    /// A message, signature, authority, host, claim, hash or form of a section is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Older, forked, or another owner's.
    #[error("{0}")]
    Conflict(String),
    /// Somebody else holds the lease.
    #[error("{0}")]
    Leased(String),
    /// The ledger cannot be read: changes are frozen.
    #[error("{0}")]
    Frozen(String),
    /// The caller may not do this: its role may not, or it is a peer whom this host's sections do not know.
    #[error("{0}")]
    Denied(String),
    /// Anything else, with its chain of causes.
    #[error("{0}")]
    Failed(String),
}

/// A claimed agent. Roles are checked before any of these is called.
#[async_trait]
pub trait AgentService: Send + Sync + 'static {
    /// Lets a peer make a call, whose certificate has the key of this pin ([`Caller::spki_pin`]): asked before every call of
    /// that role, so that a connection which is open already is worth no more than a new one.
    ///
    /// # Errors
    /// [`ServiceError::Denied`] when the sections that this host holds do not pin that key, or cannot be read.
    async fn admit_peer(&self, spki_pin: &str) -> Result<(), ServiceError>;
    /// The host after a fresh sweep, and the sections in its ledger; with the hash of record `audit_seq` of its audit log,
    /// unless that is 0.
    async fn observe(&self, audit_seq: u64) -> Result<Observation, ServiceError>;
    /// What an apply of these sections would do.
    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ServiceError>;
    /// Whether the host is fit for its cluster section.
    async fn preflight(&self) -> Result<Preflight, ServiceError>;
    /// Does it. Events end with `Finished`, except when it is refused with an error before anything was done. Runs
    /// to its end when the caller goes away: `events` then no longer takes any.
    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ServiceError>;
    /// Makes a change that is on trial permanent.
    async fn confirm(&self, order: TrialOrder, caller: Caller) -> Result<(), ServiceError>;
    /// Ends a trial at once.
    async fn cancel(&self, order: TrialOrder, caller: Caller) -> Result<(), ServiceError>;
    /// Grants, renews or releases the lease.
    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ServiceError>;
    /// Which targets this host reaches, in the order asked.
    async fn probe(&self, order: ProbeOrder) -> Result<Vec<ProbeResult>, ServiceError>;
    /// The newest claims section in the ledger; `None` when there is none.
    async fn claims(&self) -> Result<Option<SignedSection>, ServiceError>;
    /// One tunnel, until the caller closes `requests`. An error ends it.
    async fn tunnel(
        &self,
        caller: Caller,
        requests: mpsc::Receiver<TunnelRequest>,
        responses: mpsc::Sender<TunnelResponse>,
    ) -> Result<(), ServiceError>;
}

/// Whether an unclaimed agent may be claimed now.
#[derive(Debug, Clone)]
pub enum Door {
    /// With this enrolment.
    Open(Arc<Enrollment>),
    /// The token has died.
    Expired,
    /// It is claimed already, or has nothing to be claimed with.
    Closed,
}

/// An unclaimed agent. The listener has checked proofs and form before [`EnrollmentService::bind`] is called.
#[async_trait]
pub trait EnrollmentService: Send + Sync + 'static {
    /// Whether it may be claimed now, asked anew at each step of a claim.
    fn door(&self) -> Door;
    /// Public keys that the host made.
    fn host_keys(&self) -> HostKeys;
    /// The agent's version.
    fn agent_version(&self) -> String;
    /// Makes a claim last: fsynced, token burnt. The same claim again is a no-op. Must check that the issuer was
    /// signed by the trust's host CA, and burn the token in the same step as it keeps the claim.
    async fn bind(&self, claim: NewClaim) -> Result<(), ServiceError>;
}
