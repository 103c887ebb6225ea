//! Waiting for a state to be reached, with a deadline. Must not wait for a moment or an event: those are missed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value; `Ok(None)` and `Err` both mean "not yet".
///
/// # Errors
/// After `timeout`, with `what` and the last error that `look` gave.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= timeout {
            let Some(error) = last else { bail!("{what}: not within {timeout:?}") };
            return Err(error.context(format!("{what}: not within {timeout:?}")));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Looks until `look` answers `true`; otherwise as [`wait_for`].
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, timeout, || Ok(look()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn gives_the_value_once_it_is_there() {
        let mut looks = 0;
        let value = wait_for("third look", Duration::from_secs(5), || {
            looks += 1;
            if looks < 3 { Err(anyhow!("early")) } else { Ok(Some(looks)) }
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn says_what_was_awaited_and_why_it_is_not_there() {
        let never = wait_for::<()>("a leader", Duration::ZERO, || Err(anyhow!("no answer"))).unwrap_err();
        assert_eq!(format!("{never:#}"), "a leader: not within 0ns: no answer");
        let no = wait_until("a leader", Duration::ZERO, || Ok(false)).unwrap_err();
        assert_eq!(format!("{no:#}"), "a leader: not within 0ns");
    }
}
