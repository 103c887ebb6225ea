//! Everything a scenario stands on: addresses of its own, processes that end with it, terraform and agents.
//!
//! A scenario usually claims a [`loopback::Block`], lays out an [`agents::Fleet`] on it, writes configuration into
//! a [`terraform::Workspace`] and looks at what comes of it.

#[cfg(feature = "scenarios")]
pub mod agents;
pub mod binaries;
#[cfg(feature = "hosts")]
pub mod hosts;
pub mod loopback;
pub mod process;
pub mod terraform;
#[cfg(any(feature = "hosts", feature = "soak"))]
pub mod torn;
pub mod wait;
