//! Kills terraform, the provider or both with SIGKILL at random moments of create, update and destroy, and applies
//! again: nothing is tainted, nothing is made twice, nothing is left over, and no message is lost.
//!
//! Each lane is one real system that lives through many such runs. Lanes run side by side, because most of a recovery
//! is waiting for the lease of the dead to run out.

mod lane;
mod moment;
mod operation;
mod tally;
mod there;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

use self::lane::Lane;
use self::operation::Layout;
use self::tally::{Promised, Tally};
use super::chance::Chance;
use super::proof::Proof;
use super::{Extent, Order};

/// Runs that are promised.
const WHOLE: u64 = 200;

/// Layouts of the whole, each with its share of the runs.
const LANES: [(Layout, u64); 5] =
    [(Layout::Alone, 2), (Layout::Alone, 2), (Layout::Alone, 2), (Layout::Alone, 2), (Layout::Gateway, 1)];

/// The proof `terraform-kill`.
///
/// # Errors
/// When a recovery does not succeed, or what is there cannot be looked at.
pub fn prove(order: &Order) -> Result<Proof> {
    let rounds = order.rounds(3, WHOLE);
    let is_sample = order.extent == Extent::Sample;
    let lanes = if is_sample { &LANES[..1] } else { &LANES[..] };
    let shares: u64 = lanes.iter().map(|(_, share)| share).sum();
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        let mut seeds = Chance::of(order.seed, 0);
        let start = |(layout, share): &(Layout, u64)| {
            let (layout, rounds, tally) = (*layout, (rounds * share).div_ceil(shares), &tally);
            let seed = seeds.number();
            scope.spawn(move || {
                let mut lane = if is_sample {
                    Lane::small(layout, seed, tally)
                } else {
                    Lane::new(layout, seed, tally)
                }?;
                lane.run(rounds)
            })
        };
        let running: Vec<_> = lanes.iter().map(start).collect();
        let ended = running.into_iter().map(|lane| {
            lane.join().unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(anyhow!("a lane ended: {}", text.unwrap_or_default()))
            })
        });
        // All are waited for before the first failure is told.
        ended.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let systems: BTreeMap<&str, usize> = lanes.iter().fold(BTreeMap::new(), |mut systems, (layout, _)| {
        *systems.entry(layout.text()).or_default() += 1;
        systems
    });
    let systems: Vec<String> = systems.iter().map(|(text, count)| format!("{count} × {text}")).collect();
    let systems = if is_sample { "a cluster of two servers".to_owned() } else { systems.join(", ") };
    let what = format!(
        "Terraform, provider or both killed with SIGKILL at a random moment, then applied again; {systems}"
    );
    let promised = if order.extent == Extent::Whole { Promised::Whole } else { Promised::Sample };
    Ok(Proof { what, rows: tally.rows(rounds, promised) })
}
