//! Sizes in bytes, written the way NATS writes them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A count of bytes, at most `i64::MAX` because the server counts in signed 64-bit numbers.
///
/// Parses `1024`, `512MiB`, `16GB`, `200G`, `200Gi`; every unit is binary, upper or lower case. (The server
/// itself reads an unquoted `200G` as 200e9 and a quoted one as 200 GiB, so configuration files get plain
/// integers.) Displays in the largest binary unit that divides it, as in `16GiB`, and as an integer in serde.
/// Source: nats-server 2.15.1 conf/parse.go, server/opts.go (`getStorageSize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ByteSize(u64);

/// Why a text or number is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// No digits at the start, or a sign, a point or a space where a digit was expected.
    #[error("`{found}` is no size; allowed is a whole number and optionally one of {UNITS_ALLOWED}")]
    Number {
        /// The whole text.
        found: String,
    },
    /// What follows the number is no unit.
    #[error("`{found}` has the unit `{unit}`; allowed are {UNITS_ALLOWED}, all of them binary")]
    Unit {
        /// The whole text.
        found: String,
        /// What follows the digits.
        unit: String,
    },
    /// The size does not fit the server's signed 64-bit numbers.
    #[error("`{found}` is more than 9223372036854775807 bytes, the most that nats-server can count")]
    TooLarge {
        /// The whole text or number.
        found: String,
    },
}

/// The units as error texts list them.
const UNITS_ALLOWED: &str = "K, KB, Ki, KiB and likewise with M, G, T, P, E";

/// Canonical unit names and their power of two, largest first.
const UNITS: [(&str, u32); 6] =
    [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl ByteSize {
    /// So many bytes.
    ///
    /// # Errors
    /// When the number exceeds `i64::MAX`.
    pub fn from_bytes(bytes: u64) -> Result<Self, ByteSizeError> {
        if i64::try_from(bytes).is_err() {
            return Err(ByteSizeError::TooLarge { found: bytes.to_string() });
        }
        Ok(Self(bytes))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// The power of two that a unit stands for; the empty unit is bytes.
fn shift_of(unit: &str) -> Option<u32> {
    let lower = unit.to_ascii_lowercase();
    if lower.is_empty() || lower == "b" {
        return Some(0);
    }
    UNITS.iter().find_map(|(name, shift)| {
        let letter = name[..1].to_ascii_lowercase();
        let rest = lower.strip_prefix(letter.as_str())?;
        matches!(rest, "" | "b" | "i" | "ib").then_some(*shift)
    })
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let found = || text.to_owned();
        let end = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, unit) = text.split_at(end);
        if digits.is_empty() || unit.starts_with(['.', ',', ' ', '_']) {
            return Err(ByteSizeError::Number { found: found() });
        }
        let Some(shift) = shift_of(unit) else {
            return Err(ByteSizeError::Unit { found: found(), unit: unit.to_owned() });
        };
        let number = digits.parse::<u64>().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift));
        match bytes.filter(|bytes| i64::try_from(*bytes).is_ok()) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(ByteSizeError::TooLarge { found: found() }),
        }
    }
}

impl TryFrom<u64> for ByteSize {
    type Error = ByteSizeError;

    fn try_from(bytes: u64) -> Result<Self, ByteSizeError> {
        Self::from_bytes(bytes)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let unit = UNITS.iter().find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
        match unit {
            Some((name, shift)) => write!(formatter, "{}{name}", bytes >> shift),
            None => write!(formatter, "{bytes}"),
        }
    }
}
