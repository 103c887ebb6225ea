//! How long a lease of somebody else is waited for: as long as its holder shows no sign of life. One whose process was
//! killed runs out within its life. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How much later a lease must end than was seen before, to count as renewed.
const JITTER: Duration = Duration::from_secs(2);
/// Renewals that show that the holder lives. A provider whose terraform was killed goes on for seconds, in which it may
/// renew once.
const SIGNS_OF_LIFE: u32 = 2;

/// Who holds the lease, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// For people.
    pub holder: String,
    /// How long it lasts unless it is renewed.
    pub remaining: Duration,
}

/// What was seen of a lease that is waited for.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Its holder, and when it was to end.
    seen: Option<(String, Instant)>,
    renewals: u32,
}

impl Patience {
    /// Whether to wait on, now that the lease was seen like this.
    pub(super) fn lasts(&mut self, held: &Held, now: Instant) -> bool {
        let ends = now + held.remaining;
        let before = self.seen.replace((held.holder.clone(), ends));
        let Some((holder, expected)) = before else { return true };
        if ends > expected + JITTER {
            self.renewals += 1;
        }
        holder == held.holder && self.renewals < SIGNS_OF_LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these seconds and sees these holders with so many seconds left; whether each look waits on.
    fn looks(seen: &[(u64, &str, u64)]) -> Vec<bool> {
        let (began, mut patience) = (Instant::now(), Patience::default());
        let look = |(at, holder, left): &(u64, &str, u64)| {
            let held = Held { holder: (*holder).to_owned(), remaining: Duration::from_secs(*left) };
            patience.lasts(&held, began + Duration::from_secs(*at))
        };
        seen.iter().map(look).collect()
    }

    #[test]
    fn a_dead_holder_is_waited_out() {
        assert_eq!(looks(&[(0, "a", 29), (10, "a", 19), (28, "a", 1)]), [true; 3]);
    }

    #[test]
    fn one_last_renewal_is_no_life_and_two_are() {
        assert_eq!(looks(&[(0, "a", 25), (5, "a", 30), (34, "a", 1)]), [true; 3]);
        assert_eq!(looks(&[(0, "a", 25), (5, "a", 30), (15, "a", 30)]), [true, true, false]);
    }

    #[test]
    fn another_holder_has_just_come_and_lives() {
        assert_eq!(looks(&[(0, "a", 2), (3, "b", 29)]), [true, false]);
    }
}
