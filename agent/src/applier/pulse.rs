//! Whether the loop that keeps the host still goes round: what a watchdog asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

/// How long a round of the loop may take. It waits for the front at the longest.
const ROUND: Duration = Duration::from_secs(30);
/// How long a change may take, during which the loop stands still, beside the steps that say how long they take.
const CHANGE: Duration = Duration::from_secs(600);

/// Why the loop is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stuck {
    /// A round took too long.
    #[error("the loop that keeps the host has stood still for {} s", .0.as_secs())]
    Loop(Duration),
    /// A change took too long.
    #[error("a change of the host has been under way for {} s", .0.as_secs())]
    Change(Duration),
}

/// When the loop last went round, and since when the host is being changed.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    round: Instant,
    /// Since when there is a change, and when it must have ended.
    change: Option<(Instant, Instant)>,
}

/// The right to change the host, of one at a time.
#[derive(Debug)]
pub(super) struct Work {
    pulse: Arc<Pulse>,
    _alone: OwnedMutexGuard<()>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        // The loop goes round from here on.
        *state = State { round: Instant::now(), change: None };
    }
}

impl Pulse {
    pub(super) fn new() -> Arc<Pulse> {
        Arc::new(Pulse(Mutex::new(State { round: Instant::now(), change: None })))
    }

    /// The loop goes round.
    pub(super) fn beat(&self) {
        self.state().round = Instant::now();
    }

    /// Whoever holds `alone` begins to change the host.
    pub(super) fn begin(self: &Arc<Pulse>, alone: OwnedMutexGuard<()>) -> Work {
        let now = Instant::now();
        self.state().change = Some((now, now + CHANGE));
        Work { pulse: Arc::clone(self), _alone: alone }
    }

    /// The step that the change begins now may take so long: a download, a server with many streams that stops.
    pub(super) fn expect(&self, longest: Duration) {
        if let Some((_, until)) = &mut self.state().change {
            *until = (*until).max(Instant::now() + longest + CHANGE);
        }
    }

    /// Whether all is well at `now`.
    ///
    /// # Errors
    /// [`Stuck`].
    pub(super) fn check(&self, now: Instant) -> Result<(), Stuck> {
        let State { round, change } = *self.state();
        match change {
            Some((since, until)) if now >= until => Err(Stuck::Change(now.saturating_duration_since(since))),
            Some(_) => Ok(()),
            None => match now.saturating_duration_since(round) {
                long if long >= ROUND => Err(Stuck::Loop(long)),
                _ => Ok(()),
            },
        }
    }

    /// A poisoned lock is taken all the same: its value is replaced whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_and_a_change_each_have_their_time() {
        let (pulse, alone) = (Pulse::new(), Arc::new(tokio::sync::Mutex::new(())));
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        pulse.check(after(29)).unwrap();
        let text = |seconds| pulse.check(after(seconds)).unwrap_err().to_string();
        assert!(text(40).starts_with("the loop that keeps the host has stood still for "), "{}", text(40));
        let work = pulse.begin(Arc::clone(&alone).lock_owned().await);
        pulse.check(after(599)).unwrap();
        assert!(text(610).starts_with("a change of the host has been under way for 6"), "{}", text(610));
        pulse.expect(Duration::from_secs(3600));
        pulse.check(after(4100)).unwrap();
        assert!(matches!(pulse.check(after(4300)), Err(Stuck::Change(_))));
        assert!(alone.try_lock().is_err());
        drop(work);
        assert!(alone.try_lock().is_ok());
        pulse.check(after(29)).unwrap();
        assert!(matches!(pulse.check(after(40)), Err(Stuck::Loop(_))));
        pulse.beat();
        pulse.check(Instant::now()).unwrap();
    }
}
