//! What scenarios share: a supercluster on loopback addresses under the real terraform, real traffic, and the search for
//! secrets that must not be found.

pub mod audit;
pub mod release;
pub mod secrets;
#[cfg(any(feature = "hosts", feature = "soak"))]
pub mod steady;
pub mod supercluster;
#[cfg(any(feature = "bench", feature = "soak"))]
pub mod system;
pub mod traffic;

/// End of the finding by which an agent tells of an edit that it has undone; nothing about what is there now.
/// Source: agent/src/applier/steps.rs.
#[cfg(any(feature = "hosts", feature = "soak"))]
pub const EDITED: &str = "change the configuration through Terraform";
