//! What a provider and an agent say to each other: typed client, typed server, the claim between them.
//!
//! ```text
//! order    what is asked and answered, in plain types
//! client   AgentClient: connects to a claimed agent and asks         tunnel: NATS requests through it
//! claim    the caller's side of a claim
//! server   what an agent implements, who may call what, and both TLS listeners
//! convert  plain types <-> wire, the only place that knows the generated ones
//! fake     a scripted agent over real TLS, and the matrix of wrong peers (feature `fake`)
//! ```
//!
//! Every connection is TLS 1.3 with certificates on both sides; there is no other mode. A claimed agent speaks
//! ALPN [`ALPN_CLAIMED`] only, an unclaimed one [`ALPN_CLAIM`] only, and neither falls back to the other.
//!
//! # Current limitations
//! - Certificates are not revoked by list: callers' live for minutes, hosts are unpinned.
//! - A connection keeps the role it was opened with until it closes, also past the end of its certificate.

pub mod claim;
pub mod client;
mod convert;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod order;
pub mod server;
mod tls;
#[cfg(feature = "fake")]
pub mod wrong_peer;

pub use claim::{ClaimBinding, ClaimDone, ClaimError, claim};
pub use client::{
    AgentClient, ApplyStream, CallError, ConnectError, Expected, OpenError, Reply, RequestError, Timeouts,
    Tunnel,
};
pub use order::Caller;

/// ALPN protocol of a claimed agent.
pub const ALPN_CLAIMED: &[u8] = b"h2";
/// ALPN protocol of an unclaimed agent, which serves nothing but the claim.
pub const ALPN_CLAIM: &[u8] = b"nats-claim";
/// Largest message that an agent takes, in bytes.
pub const MAX_UP_BYTES: usize = 16 * 1024 * 1024;
/// Largest message that a caller takes, in bytes.
pub const MAX_DOWN_BYTES: usize = 64 * 1024 * 1024;

/// Generated from `proto/nats_agent.proto`.
#[expect(
    clippy::allow_attributes,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; documented in the .proto file"
)]
mod wire {
    tonic::include_proto!("nats_agent.v1");
}
