//! What may be due any number of times: the first goes on record by itself, more of the same within a minute by their
//! number.
//!
//! Whoever flushes the firewall every second would fill the disk otherwise: nothing is ever removed from the audit log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long more of the same is only counted. Also what a crash may lose the number of.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// What is on record, and how often it was since.
#[derive(Debug, Default)]
pub(super) struct Often(BTreeMap<String, Since>);

#[derive(Debug)]
struct Since {
    first: Instant,
    more: u64,
}

impl Often {
    /// Whether `what`, which is due at `now`, is to go on record by itself; otherwise it is counted.
    pub(super) fn is_first(&mut self, what: &str, now: Instant) -> bool {
        match self.0.get_mut(what) {
            Some(since) if now.saturating_duration_since(since.first) < COUNTED_FOR => {
                since.more = since.more.saturating_add(1);
                false
            }
            _ => {
                self.0.insert(what.to_owned(), Since { first: now, more: 0 });
                true
            }
        }
    }

    /// What of it has to be told by its number at `now`, one line each; it is forgotten with that. To be asked before
    /// [`Often::is_first`], which begins anew.
    pub(super) fn over(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        self.0.retain(|what, Since { first, more }| {
            let is_over = now.saturating_duration_since(*first) >= COUNTED_FOR;
            if is_over && *more > 0 {
                told.push(format!("{what}, {more} more times within {} s", COUNTED_FOR.as_secs()));
            }
            !is_over
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flush_every_second_two_lines_a_minute_are_left() {
        let (begin, mut often, mut lines) = (Instant::now(), Often::default(), Vec::new());
        for second in 0..=180 {
            let now = begin + Duration::from_secs(second);
            lines.extend(often.over(now));
            if second < 150 && often.is_first("taken away", now) {
                lines.push(format!("taken away at {second}"));
            }
        }
        assert_eq!(
            lines,
            [
                "taken away at 0",
                "taken away, 59 more times within 60 s",
                "taken away at 60",
                "taken away, 59 more times within 60 s",
                "taken away at 120",
                "taken away, 29 more times within 60 s",
            ]
        );
    }

    #[test]
    fn another_thing_is_no_more_of_the_same_and_once_is_told_once() {
        let (now, mut often) = (Instant::now(), Often::default());
        assert!(often.is_first("trial 1 is over", now) && often.is_first("trial 2 is over", now));
        assert_eq!(often.over(now + COUNTED_FOR), Vec::<String>::new());
    }
}
