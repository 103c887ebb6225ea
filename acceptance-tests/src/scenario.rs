//! What scenarios share: a supercluster on loopback addresses under the real terraform, real traffic, and the search for
//! secrets that must not be found.

pub mod secrets;
#[cfg(feature = "soak")]
pub mod steady;
pub mod supercluster;
#[cfg(any(feature = "bench", feature = "soak"))]
pub mod system;
pub mod traffic;
