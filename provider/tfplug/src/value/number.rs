//! Numbers as Terraform means them: decimal, of any size, without rounding.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};
use thiserror::Error;

/// How many digits a number may have before and after the point. An exact binary fraction of 64 bits has
/// up to 1074 after it.
const MAX_DIGITS: usize = 1100;

/// A decimal number, exact. `digits * 10^exponent`, with no zero at the end of `digits`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number {
    digits: BigInt,
    exponent: i32,
}

/// Why a text or float is no [`Number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NumberError {
    /// Not decimal notation.
    #[error("not a decimal number")]
    Syntax,
    /// Too many digits before or after the point.
    #[error("more than {MAX_DIGITS} digits before or after the point")]
    TooLong,
    /// Infinity or not-a-number.
    #[error("not finite")]
    NotFinite,
}

impl Number {
    fn new(digits: BigInt, exponent: i32) -> Self {
        if digits.is_zero() {
            return Self { digits, exponent: 0 };
        }
        // By text, because dividing by ten again and again is quadratic in a thousand digits.
        let text = digits.to_string();
        let kept = text.trim_end_matches('0');
        let zeros = text.len() - kept.len();
        if zeros == 0 {
            return Self { digits, exponent };
        }
        let digits = BigInt::from_str(kept).expect("a prefix of decimal digits is a decimal number");
        Self { digits, exponent: exponent + i32::try_from(zeros).expect("bounded by MAX_DIGITS") }
    }

    /// The exact value of `float`.
    ///
    /// # Errors
    /// When it is infinite or not a number.
    pub fn from_f64(float: f64) -> Result<Self, NumberError> {
        if !float.is_finite() {
            return Err(NumberError::NotFinite);
        }
        let bits = float.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let biased = i32::try_from((bits >> 52) & 0x7ff).expect("eleven bits fit");
        let (mantissa, exponent) =
            if biased == 0 { (fraction, -1074) } else { (fraction | (1 << 52), biased - 1075) };
        let mut digits = BigInt::from(mantissa);
        if float.is_sign_negative() {
            digits = -digits;
        }
        if exponent >= 0 {
            return Ok(Self::new(digits << exponent.unsigned_abs(), 0));
        }
        // m * 2^-n = m * 5^n * 10^-n
        Ok(Self::new(digits * BigInt::from(5).pow(exponent.unsigned_abs()), exponent))
    }

    /// The whole number, where it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        self.to_integer().and_then(|whole| whole.to_i64())
    }

    /// The whole number that is not negative, where it is one and fits.
    pub fn to_u64(&self) -> Option<u64> {
        self.to_integer().and_then(|whole| whole.to_u64())
    }

    /// The float of exactly this value, where there is one.
    pub fn to_exact_f64(&self) -> Option<f64> {
        let float = self.to_f64_lossy();
        (Self::from_f64(float).ok().as_ref() == Some(self)).then_some(float)
    }

    /// The nearest float; infinite when out of range.
    pub fn to_f64_lossy(&self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The whole number, where it is one.
    fn to_integer(&self) -> Option<BigInt> {
        (self.exponent >= 0).then(|| &self.digits * BigInt::from(10).pow(self.exponent.unsigned_abs()))
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::new(number.into(), 0)
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::new(number.into(), 0)
    }
}

impl FromStr for Number {
    type Err = NumberError;

    /// Decimal notation, with sign, point and exponent: `-1.5e3`.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        if text.len() > 4 * MAX_DIGITS {
            return Err(NumberError::TooLong);
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i32>().map_err(|_| NumberError::Syntax)?)
            }
            None => (text, 0),
        };
        let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !(all_digits(whole) && all_digits(fraction)) || (whole.is_empty() && fraction.is_empty()) {
            return Err(NumberError::Syntax);
        }
        let joined = format!("{whole}{fraction}");
        let significant = joined.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if trimmed.is_empty() {
            return Ok(Self { digits: BigInt::zero(), exponent: 0 });
        }
        let dropped = significant.len() - trimmed.len();
        let exponent = i64::from(exponent) - fraction.len() as i64 + dropped as i64;
        let limit = MAX_DIGITS as i64;
        if exponent < -limit || trimmed.len() as i64 + exponent > limit {
            return Err(NumberError::TooLong);
        }
        let digits = BigInt::from_str(trimmed).map_err(|_| NumberError::Syntax)?;
        let digits = if mantissa.starts_with('-') { -digits } else { digits };
        Ok(Self { digits, exponent: i32::try_from(exponent).map_err(|_| NumberError::TooLong)? })
    }
}

impl fmt::Display for Number {
    /// Decimal notation without exponent.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits.is_negative() { "-" } else { "" };
        let digits = self.digits.abs().to_string();
        if self.exponent >= 0 {
            let zeros = "0".repeat(self.exponent.unsigned_abs() as usize);
            return write!(formatter, "{sign}{digits}{zeros}");
        }
        let places = self.exponent.unsigned_abs() as usize;
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        write!(formatter, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Number({self})")
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let least = self.exponent.min(other.exponent);
        let scaled =
            |number: &Self| &number.digits * BigInt::from(10).pow((number.exponent - least).unsigned_abs());
        scaled(self).cmp(&scaled(other))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
