//! The names an authority derives keys for, checked once at the edge.
//!
//! Every name is also a part of a derivation string (see [`crate::derivation`]), so none may hold `/`, and none may
//! be empty: that is what keeps those strings unambiguous.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Account names the authority keeps for itself, compared without case.
pub const RESERVED_ACCOUNTS: [&str; 2] = [SYSTEM_ACCOUNT, PROBE_ACCOUNT];
/// Name shown in the system account's JWT.
pub const SYSTEM_ACCOUNT: &str = "SYS";
/// Name shown in the JWT of the account that mesh probes travel in.
pub const PROBE_ACCOUNT: &str = "nats-agent-probe";

/// Why a name was refused. Names are no secret, so the text shows them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("{kind} `{text}` has {length} characters, it needs 1 to {max}")]
    Length {
        /// What was being named.
        kind: &'static str,
        /// The refused text, cut to 80 characters.
        text: String,
        /// Its length in characters.
        length: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// A character that this kind of name does not allow.
    #[error("{kind} `{text}` holds `{character}`, allowed are {allowed}")]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The refused text.
        text: String,
        /// The first character that is not allowed.
        character: char,
        /// The allowed ones, in words.
        allowed: &'static str,
    },
    /// First or last character is no letter or digit, or two dots meet.
    #[error("{kind} `{text}` must start and end with a letter or digit and hold no empty part between dots")]
    Shape {
        /// What was being named.
        kind: &'static str,
        /// The refused text.
        text: String,
    },
    /// A name that the authority uses itself.
    #[error("account name `{text}` is reserved")]
    Reserved {
        /// The refused text.
        text: String,
    },
}

fn check(
    kind: &'static str,
    text: &str,
    max: usize,
    is_allowed: fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), NameError> {
    let length = text.chars().count();
    if length == 0 || length > max {
        return Err(NameError::Length { kind, text: text.chars().take(80).collect(), length, max });
    }
    if let Some(character) = text.chars().find(|c| !is_allowed(*c)) {
        return Err(NameError::Character { kind, text: text.to_owned(), character, allowed });
    }
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let parts_hold =
        text.split('.').all(|part| is_edge(part.chars().next()) && is_edge(part.chars().next_back()));
    if !parts_hold {
        return Err(NameError::Shape { kind, text: text.to_owned() });
    }
    Ok(())
}

fn is_lower_label(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn is_lower_host(c: char) -> bool {
    is_lower_label(c) || c == '.'
}

fn is_mixed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:literal, $allow:expr, $words:literal $(, $extra:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, text, $max, $allow, $words)?;
                $(($extra)(text)?;)?
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// Name of an authority: one lower-case DNS label, 1 to 63 characters (it is the host part of role URIs).
    AuthorityName,
    "authority name",
    63,
    is_lower_label,
    "a-z, 0-9 and `-`"
);
name!(
    /// Name of a host, which is also its server name: lower-case DNS labels joined by dots, 1 to 63 characters.
    HostName,
    "host name",
    63,
    is_lower_host,
    "a-z, 0-9, `-` and `.`"
);
name!(
    /// Name of a NATS account, 1 to 64 characters of `A-Z a-z 0-9 - _ .`; not one of [`RESERVED_ACCOUNTS`].
    AccountName,
    "account name",
    64,
    is_mixed,
    "A-Z, a-z, 0-9, `-`, `_` and `.`",
    |text: &str| match RESERVED_ACCOUNTS.iter().any(|reserved| reserved.eq_ignore_ascii_case(text)) {
        true => Err(NameError::Reserved { text: text.to_owned() }),
        false => Ok(()),
    }
);
name!(
    /// Name of a NATS user within its account, 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
    UserName,
    "user name",
    64,
    is_mixed,
    "A-Z, a-z, 0-9, `-`, `_` and `.`"
);

impl AccountName {
    /// The name of the system account, which nobody else's account may have.
    pub(crate) fn system() -> Self {
        Self(SYSTEM_ACCOUNT.to_owned())
    }

    /// The name of the probe account, which nobody else's account may have.
    pub(crate) fn probe() -> Self {
        Self(PROBE_ACCOUNT.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_refusals_are_readable() {
        let refused = |text: &str| text.parse::<AuthorityName>().unwrap_err().to_string();
        assert_eq!(refused(""), "authority name `` has 0 characters, it needs 1 to 63");
        assert_eq!(refused("a/b"), "authority name `a/b` holds `/`, allowed are a-z, 0-9 and `-`");
        assert_eq!(refused("Acme"), "authority name `Acme` holds `A`, allowed are a-z, 0-9 and `-`");
        assert_eq!(
            "east..1".parse::<HostName>().unwrap_err().to_string(),
            "host name `east..1` must start and end with a letter or digit and hold no empty part between dots"
        );
        assert_eq!("sys".parse::<AccountName>().unwrap_err().to_string(), "account name `sys` is reserved");
        assert!("-a".parse::<UserName>().is_err());
        for fine in ["orders", "Orders_2.eu-west"] {
            assert_eq!(fine.parse::<AccountName>().unwrap().as_str(), fine);
        }
    }

    #[test]
    fn a_name_from_json_is_checked_too() {
        assert!(serde_json::from_str::<HostName>("\"a/b\"").is_err());
        assert_eq!(serde_json::from_str::<HostName>("\"east-1\"").unwrap().to_string(), "east-1");
    }
}
