//! Rigs and scenarios: real terraform, real nats-server, real agents on loopback addresses.
//!
//! The rigs start and stop processes and lay out folders; the scenarios in `tests/` use them. Nothing here is
//! part of what users install, and this is the only crate that may see both the provider and the agent.
//!
//! # Current limitations
//! The loopback rig shows everything but what needs a machine of its own: systemd units, nftables and mounts. Those are for
//! `rig::hosts`, which needs root and runs by command only.

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "hosts")]
pub mod hosts;
#[cfg(feature = "soak")]
pub mod lone_server;
#[cfg(feature = "soak")]
pub mod netfilter;
#[cfg(any(feature = "hosts", feature = "soak"))]
pub mod proof;
pub mod rig;
#[cfg(feature = "scenarios")]
pub mod scenario;
#[cfg(feature = "soak")]
pub mod soak;
pub mod tools;
pub mod workspace;
