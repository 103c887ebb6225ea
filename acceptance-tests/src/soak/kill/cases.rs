//! Which runs there are: every moment of every operation by everything that can strike there, then pairs at random.

use std::collections::{BTreeMap, BTreeSet};

use nats_agent::parts::effects::{Effect, Moment};

use super::operation::Operation;
use super::point::{Fault, Point};
use super::run::Case;
use super::strikes::Strike;
use crate::soak::chance::Chance;

/// The moments of each operation, in order.
pub type Moments = BTreeMap<Operation, Vec<(Effect, Moment)>>;

/// How far after a first strike a second one falls.
const NEAR: usize = 40;
/// How long a start is, in moments, at most.
const START: usize = 60;

/// Each moment of each operation, by each fault that fits it: once, and where it can last, lastingly.
#[must_use]
pub fn all(moments: &Moments, seed: u64) -> Vec<Case> {
    let mut chance = Chance::of(seed, 0);
    let mut cases = Vec::new();
    for (operation, moments) in moments {
        for (at, (effect, moment)) in moments.iter().enumerate() {
            // Half a minute each: only what no other operation reaches.
            if *operation == Operation::Stubborn && *effect != Effect::KillServer {
                continue;
            }
            for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(effect.form(), *moment)) {
                let can_last = fault.lasts(effect.form(), *moment);
                for lasting in [false, true].into_iter().filter(|lasting| !lasting || can_last) {
                    let strikes =
                        vec![Strike { at, fault, lasting, torn_at: chance.number().to_le_bytes()[0] }];
                    let restarts = chance.below(0..2) == 0;
                    cases.push(Case { operation: *operation, strikes, then: None, restarts });
                }
            }
        }
    }
    // Those that take longest begin first.
    cases.sort_by_key(|case| case.operation != Operation::Stubborn);
    cases
}

/// `cases`, and two strikes at random beside them until there are `count`: one more in what follows the first, or in the
/// start after it.
#[must_use]
pub fn at_least(mut cases: Vec<Case>, count: usize, moments: &Moments, seed: u64) -> Vec<Case> {
    let mut chance = Chance::of(seed, 1);
    let operations: Vec<(&Operation, usize)> = moments
        .iter()
        .filter(|(operation, _)| **operation != Operation::Stubborn)
        .map(|(operation, moments)| (operation, moments.len()))
        .collect();
    while cases.len() < count {
        let (operation, length) = operations[chance.below(0..operations.len())];
        let first = chance.below(0..length.max(1));
        let fault = |chance: &mut Chance| Fault::ALL[chance.below(0..Fault::ALL.len())];
        let strike = |chance: &mut Chance, at, fault| Strike {
            at,
            fault,
            lasting: chance.below(0..4) == 0,
            torn_at: chance.number().to_le_bytes()[0],
        };
        let (kind, restarts) = (fault(&mut chance), chance.below(0..2) == 0);
        let mut strikes = vec![strike(&mut chance, first, kind)];
        let then = if chance.below(0..2) == 0 {
            let (at, kind) = (chance.below(0..START), fault(&mut chance));
            Some(strike(&mut chance, at, kind))
        } else {
            let (at, kind) = (first + 1 + chance.below(0..NEAR), fault(&mut chance));
            strikes.push(strike(&mut chance, at, kind));
            None
        };
        cases.push(Case { operation: *operation, strikes, then, restarts });
    }
    cases
}

/// `count` of `cases`, at random; all when there are no more.
#[must_use]
pub fn some(mut cases: Vec<Case>, count: usize, seed: u64) -> Vec<Case> {
    let mut chance = Chance::of(seed, 2);
    for place in 0..cases.len().min(count) {
        let other = place + chance.below(0..cases.len() - place);
        cases.swap(place, other);
    }
    cases.truncate(count);
    cases
}

/// The fewest of `cases` that strike every point which any of them strikes and which is wanted: the first one of each.
#[must_use]
pub fn covering(cases: &[Case], moments: &Moments, is_wanted: impl Fn(&Point) -> bool) -> Vec<Case> {
    let mut covered = BTreeSet::new();
    let is_new = |case: &&Case| {
        let [Strike { at, fault, lasting: false, .. }] = case.strikes[..] else { return false };
        let (effect, moment) = moments[&case.operation][at];
        let point = Point { effect, moment, fault };
        is_wanted(&point) && covered.insert(point)
    };
    cases.iter().filter(is_new).cloned().collect()
}

/// Points that no operation comes to. Where the stubborn server was left out for its half minute, its own point counts as
/// come to.
#[must_use]
pub fn out_of_reach(moments: &Moments) -> Vec<Point> {
    let reached: BTreeSet<(Effect, Moment)> = moments.values().flatten().copied().collect();
    let is_left_out =
        |point: &Point| point.effect == Effect::KillServer && !moments.contains_key(&Operation::Stubborn);
    let is_out = |point: &Point| !reached.contains(&(point.effect, point.moment)) && !is_left_out(point);
    super::point::all().into_iter().filter(is_out).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Moments {
        let effects = [Effect::WriteLeaf, Effect::ReloadServer];
        let moments = effects
            .iter()
            .flat_map(|effect| effect.form().moments().iter().map(move |moment| (*effect, *moment)));
        Moments::from([(Operation::Reload, moments.collect())])
    }

    #[test]
    fn every_point_of_what_is_reached_is_struck_and_once_is_enough_to_cover() {
        let cases = all(&moments(), 7);
        let wanted = super::super::point::all()
            .into_iter()
            .filter(|point| matches!(point.effect, Effect::WriteLeaf | Effect::ReloadServer))
            .count();
        assert_eq!(covering(&cases, &moments(), |_| true).len(), wanted);
        assert!(cases.len() > wanted, "some faults last");
        let out = out_of_reach(&moments());
        assert_eq!(out.len() + wanted + 4, super::super::point::all().len(), "a stubborn server is left out");
        assert!(out.iter().any(|point| point.effect == Effect::WriteClaim));
    }

    #[test]
    fn the_same_seed_makes_the_same_runs() {
        let pairs = |seed| at_least(all(&moments(), seed), 100, &moments(), seed);
        assert_eq!(pairs(3), pairs(3));
        assert_ne!(pairs(3), pairs(4));
        assert_eq!((pairs(3).len(), some(pairs(3), 10, 3).len()), (100, 10));
    }
}
