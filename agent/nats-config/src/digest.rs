//! The digest by which nats-server names a configuration, computed without a server.

use std::{fmt, fmt::Write as _, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Digest of a configuration as `/varz` shows it in `config_digest`: `sha256:` and 64 hexadecimal digits.
///
/// It covers the parsed settings, so neither layout nor order nor the content of certificate files change it.
/// Source: nats-server 2.15.1 conf/parse.go (`ParseFileWithChecksDigest`), `nats-server -t`, `/varz`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigDigest(Sha256Hex);

/// A SHA-256 sum as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

/// Why a text is no SHA-256 sum or digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Sha256HexError {
    /// Not exactly 64 hexadecimal digits.
    #[error("`{found}` is no SHA-256 sum; allowed are exactly 64 hexadecimal digits")]
    Form {
        /// The whole text.
        found: String,
    },
    /// A configuration digest that does not start with its algorithm.
    #[error("`{found}` is no configuration digest; allowed is `sha256:` and 64 hexadecimal digits")]
    Prefix {
        /// The whole text.
        found: String,
    },
}

/// Why a text has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The text is not JSON. It may still be a valid configuration in NATS's own form, which only the server
    /// can read.
    #[error("the configuration is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The text is JSON, but its outermost value is no object.
    #[error("the configuration is {found} instead of a JSON object")]
    NotAnObject {
        /// The kind of value found, with its article.
        found: &'static str,
    },
    /// A number beyond the server's signed 64 bits.
    #[error("`{setting}` is `{found}`, which is no signed 64-bit integer nor a plain decimal number")]
    Number {
        /// Dotted path of the setting.
        setting: String,
        /// The number as written.
        found: String,
    },
}

impl Sha256Hex {
    /// The sum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(bytes)))
    }

    /// The 64 lower-case digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256Hex {
    type Err = Sha256HexError;

    fn from_str(text: &str) -> Result<Self, Sha256HexError> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Sha256HexError::Form { found: text.to_owned() })
        }
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = Sha256HexError;

    fn try_from(text: String) -> Result<Self, Sha256HexError> {
        text.parse()
    }
}

impl From<Sha256Hex> for String {
    fn from(sum: Sha256Hex) -> Self {
        sum.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ConfigDigest {
    type Err = Sha256HexError;

    fn from_str(text: &str) -> Result<Self, Sha256HexError> {
        let Some(sum) = text.strip_prefix("sha256:") else {
            return Err(Sha256HexError::Prefix { found: text.to_owned() });
        };
        sum.parse().map(Self)
    }
}

impl TryFrom<String> for ConfigDigest {
    type Error = Sha256HexError;

    fn try_from(text: String) -> Result<Self, Sha256HexError> {
        text.parse()
    }
}

impl From<ConfigDigest> for String {
    fn from(digest: ConfigDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for ConfigDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.0)
    }
}

/// The digest of a configuration file that is JSON, as an agent or a person left it on disk.
///
/// # Errors
/// When the text is no JSON object, or holds a number that the server cannot.
pub fn digest_of_text(text: &str) -> Result<ConfigDigest, DigestError> {
    let value: Value = serde_json::from_str(text).map_err(DigestError::NotJson)?;
    match &value {
        Value::Object(_) => digest_of_value(&value),
        Value::Null => Err(DigestError::NotAnObject { found: "null" }),
        Value::Bool(_) => Err(DigestError::NotAnObject { found: "a boolean" }),
        Value::Number(_) => Err(DigestError::NotAnObject { found: "a number" }),
        Value::String(_) => Err(DigestError::NotAnObject { found: "a string" }),
        Value::Array(_) => Err(DigestError::NotAnObject { found: "an array" }),
    }
}

/// The digest of settings already parsed.
///
/// # Errors
/// When a number is beyond the server's signed 64 bits.
pub(crate) fn digest_of_value(value: &Value) -> Result<ConfigDigest, DigestError> {
    let mut text = String::new();
    write_value(&mut text, "", value)?;
    text.push('\n');
    Ok(ConfigDigest(Sha256Hex::of(text.as_bytes())))
}

/// Appends `value` as Go's `json.Encoder` writes it: compact, keys sorted by bytes.
fn write_value(text: &mut String, path: &str, value: &Value) -> Result<(), DigestError> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(text, path, number)?,
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, &format!("{path}[{index}]"), item)?;
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            text.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(text, key);
                text.push(':');
                write_value(
                    text,
                    &if path.is_empty() { key.clone() } else { format!("{path}.{key}") },
                    item,
                )?;
            }
            text.push('}');
        }
    }
    Ok(())
}

/// Appends a number: an int64 as it is, a decimal in the shortest form that reads back the same.
fn write_number(text: &mut String, path: &str, number: &serde_json::Number) -> Result<(), DigestError> {
    let refused = || DigestError::Number { setting: path.to_owned(), found: number.to_string() };
    if let Some(integer) = number.as_i64() {
        text.push_str(&integer.to_string());
        return Ok(());
    }
    // Go switches to exponents outside 1e-6..1e21; the server's lexer knows no exponents, so such numbers
    // cannot be in a configuration that it reads.
    let decimal = number.as_f64().filter(|_| number.is_f64()).ok_or_else(refused)?;
    if decimal != 0.0 && !(1e-6..1e21).contains(&decimal.abs()) {
        return Err(refused());
    }
    write!(text, "{decimal}").map_err(|_| refused())
}

/// Appends a string in quotes with Go's escapes, which include those for HTML.
/// Source: Go encoding/json encode.go (`appendString`, escapeHTML).
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
