//! Everything random of a proof: one stream of choices for each seed and number, so that any round can be made again
//! without those before it.

use std::ops::Range;

use anyhow::{Result, anyhow};
use proptest::arbitrary::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A stream of choices.
#[derive(Debug)]
pub struct Chance(TestRunner);

impl Chance {
    /// The stream of round `number` of the run from `seed`.
    #[must_use]
    pub fn of(seed: u64, number: u64) -> Chance {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let config = Config { failure_persistence: None, ..Config::default() };
        Chance(TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)))
    }

    /// A value of `strategy`.
    ///
    /// # Errors
    /// When the strategy finds none.
    pub fn draw<S: Strategy>(&mut self, strategy: &S) -> Result<S::Value> {
        let tree = strategy.new_tree(&mut self.0).map_err(|why| anyhow!("nothing was drawn: {why}"))?;
        Ok(tree.current())
    }

    /// A number in `range`, which must not be empty.
    pub fn below(&mut self, range: Range<usize>) -> usize {
        // A range draws always.
        range.new_tree(&mut self.0).map_or(0, |tree| tree.current())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        any::<u64>().new_tree(&mut self.0).map_or(0, |tree| tree.current())
    }

    /// A number from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.number() >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }

    /// One of `all`; none when there are none.
    pub fn one<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(0..all.len())) }
    }
}
