//! The provider as a library, so that tests can drive [`provider::NatsProvider`] without a process.
//!
//! The way of the data: a block comes in as `tfplug::Value`, [`resources`] parse it once, [`topology`] (pure)
//! checks every rule and expands it into one section per host, [`rollout`] brings the hosts there one after the
//! other, and what the agents report goes back as state and diagnostics.

pub mod agents;
pub mod claims;
pub mod data_sources;
pub mod ephemeral;
pub mod functions;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod health;
pub mod jetstream;
pub mod keys;
pub mod provider;
pub mod resources;
pub mod rollout;
pub mod session;
#[cfg(test)]
mod testing;
pub mod timeouts;
pub mod topology;
pub mod whoami;
