//! Proofs: each counts one promise on the real programs and prints its figures, with the seed that makes the run again.
//!
//! A whole run takes minutes and belongs to `cargo xtask soak`; a sample of each runs in `cargo test`. Unlike a
//! measurement, a proof whose promise is broken fails.

pub mod certificates;
pub mod chance;
pub mod claims;
pub mod configurations;
pub mod drift;
pub mod growing;
pub mod hostile_port;
pub mod kill;
pub mod lesser_keys;
pub mod rotation;
pub mod terraform_kill;
pub mod users;
pub mod writers;

use anyhow::Result;

pub use crate::proof;
use proof::Proof;

/// How much of a proof is wanted, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Everything random in the run derives from it.
    pub seed: u64,
    /// How much.
    pub extent: Extent,
}

/// See [`Order::extent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Enough to see that the proof works: seconds.
    Sample,
    /// As much as is promised.
    Whole,
    /// So many rounds, whatever a round is there.
    Rounds(u64),
}

impl Order {
    /// How many rounds to do, where a sample and the whole have these.
    #[must_use]
    pub fn rounds(&self, sample: u64, whole: u64) -> u64 {
        match self.extent {
            Extent::Sample => sample,
            Extent::Whole => whole,
            Extent::Rounds(rounds) => rounds,
        }
    }
}

/// Counts one promise.
pub type Prove = fn(&Order) -> Result<Proof>;

/// All of them by name, in the order in which they run.
pub const PROOFS: &[(&str, Prove)] = &[
    ("writers", writers::prove),
    ("configurations", configurations::prove),
    ("certificates", certificates::prove),
    ("growing", growing::prove),
    ("claims", claims::prove),
    ("drift", drift::prove),
    ("users", users::prove),
    ("hostile-port", hostile_port::prove),
    ("lesser-keys", lesser_keys::prove),
    ("rotation", rotation::prove),
    ("terraform-kill", terraform_kill::prove),
    ("kill", kill::prove),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_how_many() {
        let rounds = |extent| Order { seed: 1, extent }.rounds(3, 1000);
        assert_eq!([Extent::Sample, Extent::Whole, Extent::Rounds(7)].map(rounds), [3, 1000, 7]);
    }
}
