//! How long a write takes until it is on the disk: percentiles of single writes, each followed by fdatasync.

use serde::{Deserialize, Serialize};

/// What a probe measured. Times are whole microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// How many writes were made.
    pub writes: u32,
    /// Whether the time was over before all writes were made.
    pub cut_short: bool,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p999_us: u64,
}

impl Latency {
    /// Percentiles of `samples`, in microseconds, by the nearest rank; `None` without samples.
    pub fn of(mut samples: Vec<u64>, cut_short: bool) -> Option<Latency> {
        samples.sort_unstable();
        let rank = |per_mille: usize| {
            let at = (samples.len() * per_mille).div_ceil(1000).saturating_sub(1);
            samples.get(at).copied()
        };
        Some(Latency {
            writes: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            cut_short,
            p50_us: rank(500)?,
            p99_us: rank(990)?,
            p999_us: rank(999)?,
        })
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Latency { writes, cut_short, p50_us, p99_us, p999_us } = self;
        let ms = |us: &u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
        write!(f, "p50 {}, p99 {}, p99.9 {}", ms(p50_us), ms(p99_us), ms(p999_us))?;
        if *cut_short { write!(f, ", only {writes} writes in the time there is") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=3000).rev().collect(), false).unwrap();
        assert_eq!((latency.p50_us, latency.p99_us, latency.p999_us), (1500, 2970, 2997));
        assert_eq!(Latency::of(vec![7], true).map(|one| (one.p50_us, one.p999_us)), Some((7, 7)));
        assert_eq!(Latency::of(Vec::new(), true), None);
        assert_eq!(latency.to_string(), "p50 1.50 ms, p99 2.97 ms, p99.9 2.99 ms");
    }
}
