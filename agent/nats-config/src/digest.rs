//! The digest by which nats-server names a configuration, computed without a server.

use std::{fmt, str::FromStr};

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
    /// A key with an escaped character: the server knows no escapes in keys.
    #[error("the key {key:?} in `{section}` holds a character that nats-server reads differently in keys")]
    Key {
        /// Dotted path of the object that holds the key; empty for the outermost.
        section: String,
        /// The key as JSON means it.
        key: String,
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
/// When the text is no JSON object, or holds a number or key that the server reads otherwise. Escapes that JSON has and
/// nats-server refuses (`\u0041`, `\/`) are not told apart: such a text gets a digest that no server shows.
pub fn digest_of_text(text: &str) -> Result<ConfigDigest, DigestError> {
    let value: Value = serde_json::from_str(text).map_err(DigestError::NotJson)?;
    match &value {
        Value::Object(_) => {}
        Value::Null => return Err(DigestError::NotAnObject { found: "null" }),
        Value::Bool(_) => return Err(DigestError::NotAnObject { found: "a boolean" }),
        Value::Number(_) => return Err(DigestError::NotAnObject { found: "a number" }),
        Value::String(_) => return Err(DigestError::NotAnObject { found: "a string" }),
        Value::Array(_) => return Err(DigestError::NotAnObject { found: "an array" }),
    }
    check_readable("", &value)?;
    Ok(digest_of_value(&value))
}

/// The digest of settings already parsed; numbers beyond the server's make it one that no server shows.
pub(crate) fn digest_of_value(value: &Value) -> ConfigDigest {
    let mut text = String::new();
    write_value(&mut text, value);
    text.push('\n');
    ConfigDigest(Sha256Hex::of(text.as_bytes()))
}

/// Whether a server reads `number` as the number that it is: a signed 64-bit integer, or a decimal that is
/// written without exponent. Source: nats-server 2.15.1 conf/lex.go (no exponents), tried: `1e1` is a string.
pub(crate) fn is_readable(number: &serde_json::Number) -> bool {
    let plain = |decimal: f64| decimal == 0.0 || (1e-5..1e16).contains(&decimal.abs());
    number.as_i64().is_some() || (number.is_f64() && number.as_f64().is_some_and(plain))
}

/// Whether a server reads `key` as it is meant: it takes everything between the quotes, escapes included.
/// Source: nats-server 2.15.1 conf/lex.go (`lexDubQuotedKey`), tried.
pub(crate) fn is_readable_key(key: &str) -> bool {
    !key.chars().any(|one| one < ' ' || one == '"' || one == '\\')
}

/// Refuses the first number or key that the server would read as something else.
fn check_readable(path: &str, value: &Value) -> Result<(), DigestError> {
    match value {
        Value::Number(number) if !is_readable(number) => {
            Err(DigestError::Number { setting: path.to_owned(), found: number.to_string() })
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check_readable(&format!("{path}[{index}]"), item)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            if !is_readable_key(key) {
                return Err(DigestError::Key { section: path.to_owned(), key: key.clone() });
            }
            let dot = if path.is_empty() { "" } else { "." };
            check_readable(&format!("{path}{dot}{key}"), item)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Appends `value` as Go's `json.Encoder` writes it: compact, keys sorted by bytes.
fn write_value(text: &mut String, value: &Value) {
    match value {
        // The server's own language has no null: the word is a string. Tried on 2.15.1.
        Value::Null => text.push_str("\"null\""),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number_text(number)),
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, item);
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
                write_value(text, item);
            }
            text.push('}');
        }
    }
}

/// An int64 as it is, a decimal in the shortest form that reads back the same, which for readable numbers is
/// Go's form too. Source: Go encoding/json encode.go (`floatEncoder`: no exponent within 1e-6..1e21).
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(decimal) if number.is_f64() => decimal.to_string(),
        _ => number.to_string(),
    }
}

/// Appends a string in quotes with Go's escapes, which include those for HTML.
/// Source: Go encoding/json encode.go (`appendString` with escapeHTML).
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
