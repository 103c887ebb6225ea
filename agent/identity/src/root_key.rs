//! The root key: the one secret from which an authority's keys derive.
//!
//! It must never reach a log, an error text, `Debug` or Terraform state.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of a root key in bytes.
pub const ROOT_KEY_LEN: usize = 32;

/// 32 secret bytes, wiped on drop. `openssl rand -base64 32` makes one.
#[derive(Clone)]
pub struct RootKey(Zeroizing<[u8; ROOT_KEY_LEN]>);

/// Why a text is no root key. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RootKeyError {
    /// Neither standard nor URL base64.
    #[error("root key is not base64, make one with `openssl rand -base64 32`")]
    Encoding,
    /// Base64 of another number of bytes.
    #[error("root key has {0} bytes, it needs exactly 32, make one with `openssl rand -base64 32`")]
    Length(usize),
    /// All bytes equal: a placeholder, not a key.
    #[error("root key is one byte repeated, make one with `openssl rand -base64 32`")]
    Placeholder,
}

impl RootKey {
    /// Takes the raw bytes.
    ///
    /// # Errors
    /// [`RootKeyError::Placeholder`] when all bytes are equal.
    pub fn from_bytes(bytes: [u8; ROOT_KEY_LEN]) -> Result<Self, RootKeyError> {
        let bytes = Zeroizing::new(bytes);
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(RootKeyError::Placeholder);
        }
        Ok(Self(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; ROOT_KEY_LEN] {
        &self.0
    }
}

impl FromStr for RootKey {
    type Err = RootKeyError;

    /// Standard or URL base64, padded or not; white space around it is ignored (files end in a newline).
    fn from_str(text: &str) -> Result<Self, RootKeyError> {
        let text = text.trim();
        // 44 characters encode 32 bytes; longer ones are measured, not decoded.
        if text.len() > 64 {
            return Err(RootKeyError::Length(text.len() / 4 * 3));
        }
        let decoded = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
            .into_iter()
            .find_map(|encoding| encoding.decode(text.as_bytes()).ok().map(Zeroizing::new))
            .ok_or(RootKeyError::Encoding)?;
        let mut bytes = Zeroizing::new([0_u8; ROOT_KEY_LEN]);
        if decoded.len() != ROOT_KEY_LEN {
            return Err(RootKeyError::Length(decoded.len()));
        }
        bytes.copy_from_slice(&decoded);
        Self::from_bytes(*bytes)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_spellings_are_one_key() {
        let bytes: [u8; 32] = std::array::from_fn(|i| 255 - (i as u8) * 3);
        for encoding in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
            let key: RootKey = format!("{}\n", encoding.encode(&bytes)).parse().unwrap();
            assert_eq!(key.expose(), &bytes);
        }
    }

    #[test]
    fn refusals_never_show_the_text() {
        let cases = [
            ("", RootKeyError::Length(0)),
            ("c2VjcmV0", RootKeyError::Length(6)),
            ("not base64!", RootKeyError::Encoding),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", RootKeyError::Placeholder),
        ];
        for (text, expected) in cases {
            let error = text.parse::<RootKey>().unwrap_err();
            assert_eq!(error, expected);
            assert!(text.is_empty() || !format!("{error} {error:?}").contains(text));
        }
        assert!(matches!("A".repeat(100).parse::<RootKey>().unwrap_err(), RootKeyError::Length(_)));
    }
}
