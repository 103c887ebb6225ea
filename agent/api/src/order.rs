//! What is asked of an agent and what it answers, in plain types: the words that caller, listener and agent share.

use std::collections::BTreeMap;
use std::time::Duration;

use host_state::SignedSection;
use host_state::audit::RecordHash;
use host_state::report::Report;
use identity::{HostKeys, HostName, HostNames, Role, Trust};
use rustix::time::{ClockId, clock_gettime};

pub use host_state::firewall::{TRIAL_DOMAIN, TrialAction};
pub use host_state::lease::{LeaseAction, LeaseAnswer};

/// Who called, by the certificate that TLS verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Role.
    pub role: Role,
    /// Serial of the certificate, lower-case hex.
    pub serial: String,
    /// Pin of the certificate's key: SHA-256 of its SubjectPublicKeyInfo (DER), 64 lower-case hex digits.
    pub spki_pin: String,
    /// When its connection was opened, by [`boot_ms`] of the agent's machine.
    pub opened_ms: u64,
}

/// Milliseconds since this machine was booted, sleep included: one clock for all its processes, which nobody can set.
#[must_use]
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// What Observe answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The host as it is.
    pub report: Report,
    /// Sections in the ledger, newest taken in.
    pub sections: Vec<SignedSection>,
    /// Hash of the audit log's record that was asked for; absent when none was, or the log has it not.
    pub audit_hash: Option<RecordHash>,
}

/// What Apply is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyOrder {
    /// Sections to take in; may be none, which repairs.
    pub sections: Vec<SignedSection>,
    /// Stage only, or bring the host there.
    pub mode: ApplyMode,
    /// Lease that the caller holds; empty where none is needed.
    pub lease_id: String,
}

/// See [`ApplyOrder::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Take in, render, check; switch nothing.
    Stage,
    /// Bring the host to everything taken in so far.
    Roll,
}

/// What Confirm and Cancel are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialOrder {
    /// The trial, as its report names it.
    pub trial_id: String,
    /// Signature under the document key over [`TrialAction::signed_bytes`] in [`TRIAL_DOMAIN`], base64.
    pub signature: String,
}

/// A lease wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOrder {
    /// 32 lower-case hex digits, made by the caller once per process.
    pub lease_id: String,
    /// Who asks.
    pub holder: String,
    /// What is wanted.
    pub action: LeaseAction,
    /// Wanted life in milliseconds.
    pub ttl_ms: u32,
    /// Signature under the document key over [`LeaseOrder::signed_bytes`] in [`LEASE_DOMAIN`], base64.
    pub signature: String,
}

/// The domain that a document key signs lease wishes under.
pub const LEASE_DOMAIN: &str = "nats-agent/lease/v1";

impl LeaseOrder {
    /// The bytes that are signed: the lease id and the holder as canonical JSON.
    pub fn signed_bytes(lease_id: &str, holder: &str) -> Vec<u8> {
        host_state::document::canonical(&[lease_id, holder]).into_bytes()
    }
}

/// What Probe is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOrder {
    /// `host:port`, at most [`MAX_PROBE_TARGETS`].
    pub targets: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

/// Most targets of one probe.
pub const MAX_PROBE_TARGETS: usize = 256;

/// Whether one target was reached over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// The target as asked.
    pub target: String,
    /// Reached, or why not.
    pub reached: Result<(), String>,
}

/// What a caller says in a tunnel: `Open`, one `Signature` when it was asked for a nonce's, then calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelRequest {
    /// Log in.
    Open(TunnelLogin),
    /// Over the nonce, by the user's key.
    Signature([u8; 64]),
    /// One request to the local nats-server.
    Call(TunnelCall),
}

/// As whom a tunnel logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelLogin {
    /// As a user whose key the caller has.
    User {
        /// Its JWT.
        jwt: String,
    },
    /// As the agent's own system user, for requests that only ask servers about themselves: no nonce comes.
    Monitor,
}

/// One request through a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelCall {
    /// Chosen by the caller, not used twice in one tunnel.
    pub id: u64,
    /// Subject to publish to.
    pub subject: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// NATS headers, one value a name.
    pub headers: BTreeMap<String, String>,
    /// How long replies are awaited.
    pub timeout: Duration,
    /// Replies to wait for, at least 1; the call ends at this count or at the deadline.
    pub max_replies: u32,
}

/// What an agent says in a tunnel: `Nonce` to a user, then `Opened`, then replies and ends of calls in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelResponse {
    /// To be signed by the user's key.
    Nonce(Vec<u8>),
    /// Logged in.
    Opened {
        /// Name of the nats-server.
        server_name: String,
        /// Largest payload that it takes, in bytes.
        max_payload: u64,
    },
    /// One reply to one call.
    Reply(TunnelReply),
    /// One call is over.
    End {
        /// The call.
        id: u64,
        /// How many replies came.
        replies: u32,
        /// Why it failed, like [`NO_RESPONDERS`]; absent when the wanted replies came or the deadline passed.
        error: Option<String>,
    },
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelReply {
    /// The call.
    pub id: u64,
    /// Payload.
    pub payload: Vec<u8>,
    /// NATS status, like 503; absent when it has none.
    pub status: Option<u16>,
    /// NATS headers, one value a name.
    pub headers: BTreeMap<String, String>,
}

/// Error of a [`TunnelResponse::End`] when nobody listens on the subject.
pub const NO_RESPONDERS: &str = "no responders";

/// What an unclaimed agent tells a caller that has proven the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimOffer {
    /// The host's name, as its enrolment says.
    pub host: HostName,
    /// Public keys that the host made.
    pub host_keys: HostKeys,
    /// The agent's version.
    pub agent_version: String,
}

/// A claim that passed the proof, to be made to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClaim {
    /// Enrolment generation.
    pub generation: u32,
    /// 32 lower-case hex digits.
    pub claim_id: String,
    /// The authority's public side.
    pub trust: Trust,
    /// Issuer certificate for this host, PEM.
    pub issuer_pem: String,
    /// Names and addresses of this host.
    pub names: HostNames,
}
