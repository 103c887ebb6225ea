//! Lengths of time, written the way Go and so NATS writes them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A length of time of whole nanoseconds, zero to about 292 years (the range of Go's `time.Duration`).
///
/// Parses `2m`, `1h30m`, `1.5s`, `250ms`; displays its non-zero parts, as in `1h30m` or `1s500ms`, and `0s`.
/// In serde it is that text. Source: Go time.ParseDuration; nats-server 2.15.1 server/opts.go
/// (`parseDuration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NatsDuration(u64);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatsDurationError {
    /// Not a sequence of numbers with units.
    #[error(
        "`{found}` is no length of time; allowed are numbers each with a unit of h, m, s, ms, us, ns, as in `1h30m`"
    )]
    Form {
        /// The whole text.
        found: String,
    },
    /// A number without unit, or with one that does not exist.
    #[error("`{found}` has the unit `{unit}`; allowed are h, m, s, ms, us, ns")]
    Unit {
        /// The whole text.
        found: String,
        /// What stands where a unit should be.
        unit: String,
    },
    /// Below zero.
    #[error("`{found}` is negative; allowed is zero or more")]
    Negative {
        /// The whole text.
        found: String,
    },
    /// More than Go's `time.Duration` can hold.
    #[error("`{found}` is too long; allowed are up to 2562047h")]
    TooLong {
        /// The whole text.
        found: String,
    },
}

/// Units and their nanoseconds, largest first; `µs` is read but never written.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl NatsDuration {
    /// So many whole seconds; at most about 292 years, beyond which it stays at that.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000_000)
    }

    /// So many whole milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds as u64 * 1_000_000)
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// Nanoseconds of the digits `whole` and `fraction` (what follows the point) in `unit` nanoseconds.
fn nanoseconds(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut step = unit;
    for digit in fraction.bytes() {
        // Digits below a nanosecond are cut off, as Go does.
        step /= 10;
        total = total.checked_add(u64::from(digit - b'0').checked_mul(step)?)?;
    }
    Some(total)
}

impl FromStr for NatsDuration {
    type Err = NatsDurationError;

    fn from_str(text: &str) -> Result<Self, NatsDurationError> {
        let found = || text.to_owned();
        if text.starts_with('-') {
            return Err(NatsDurationError::Negative { found: found() });
        }
        if text == "0" {
            return Ok(Self(0));
        }
        let mut rest = text;
        let mut total = 0_u64;
        if rest.is_empty() {
            return Err(NatsDurationError::Form { found: found() });
        }
        while !rest.is_empty() {
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let (whole, after) = rest.split_at(digits(rest));
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => after.split_at(digits(after)),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(NatsDurationError::Form { found: found() });
            }
            let end = after.find(|character: char| character.is_ascii_digit() || character == '.');
            let (unit, after) = after.split_at(end.unwrap_or(after.len()));
            let name = if matches!(unit, "\u{b5}s" | "\u{3bc}s") { "us" } else { unit };
            let Some((_, unit_nanoseconds)) = UNITS.iter().find(|(known, _)| *known == name) else {
                return Err(NatsDurationError::Unit { found: found(), unit: unit.to_owned() });
            };
            total = nanoseconds(whole, fraction, *unit_nanoseconds)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| NatsDurationError::TooLong { found: found() })?;
            rest = after;
        }
        if i64::try_from(total).is_err() {
            return Err(NatsDurationError::TooLong { found: found() });
        }
        Ok(Self(total))
    }
}

impl TryFrom<String> for NatsDuration {
    type Error = NatsDurationError;

    fn try_from(text: String) -> Result<Self, NatsDurationError> {
        text.parse()
    }
}

impl TryFrom<Duration> for NatsDuration {
    type Error = NatsDurationError;

    fn try_from(duration: Duration) -> Result<Self, NatsDurationError> {
        i64::try_from(duration.as_nanos())
            .ok()
            .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
            .map(Self)
            .ok_or_else(|| NatsDurationError::TooLong { found: format!("{duration:?}") })
    }
}

impl From<NatsDuration> for String {
    fn from(duration: NatsDuration) -> Self {
        duration.to_string()
    }
}

impl From<NatsDuration> for Duration {
    fn from(duration: NatsDuration) -> Self {
        duration.as_duration()
    }
}

impl fmt::Display for NatsDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in UNITS {
            if rest >= size {
                write!(formatter, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}
