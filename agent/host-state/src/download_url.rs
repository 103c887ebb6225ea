//! An address that a host downloads from. Only its form is judged here; what is downloaded is judged by its SHA-256.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest address that is taken, in bytes.
pub const MAX_URL_LEN: usize = 2048;

/// An `https://` or `http://` address without user, password and fragment, in characters that need no quoting in a
/// shell's or a systemd unit's double or single quotes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DownloadUrl(String);

/// Why a text is no address to download from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DownloadUrlError {
    /// Another scheme, or none.
    #[error("`{0}` does not start with `https://` or `http://`")]
    Scheme(String),
    /// Nothing, or something that is no host, between scheme and path.
    #[error("`{0}` names no host; write it like `https://HOST/PATH`")]
    Host(String),
    /// User or password in it: they would be kept in state. Not quoted.
    #[error("a URL with a user or a password in it is not taken: it would be kept in state")]
    Credentials,
    /// A character that URLs do not have.
    #[error("a URL holds no {found:?}; write it as percent and two hex digits")]
    Character {
        /// The first one.
        found: char,
    },
    /// Above [`MAX_URL_LEN`].
    #[error("a URL of {0} bytes is too long, at most {MAX_URL_LEN} are taken")]
    TooLong(usize),
}

impl DownloadUrl {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the host, without query: at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        let path = rest.find(['/', '?']).map_or("/", |start| &rest[start..]);
        let path = path.split('?').next().unwrap_or_default();
        if path.is_empty() { "/" } else { path }
    }
}

impl FromStr for DownloadUrl {
    type Err = DownloadUrlError;

    fn from_str(text: &str) -> Result<Self, DownloadUrlError> {
        if text.len() > MAX_URL_LEN {
            return Err(DownloadUrlError::TooLong(text.len()));
        }
        // Source: RFC 3986, 2.2 and 2.3, without `#`, which ends what is asked for, and without `'`, `(`, `)`, `*`, `!`
        // and `$`, which shells read: all may be written by their numbers.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?[]@&+,;=%".contains(c);
        if let Some(found) = text.chars().find(|c| !is_plain(*c)) {
            return Err(DownloadUrlError::Character { found });
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| DownloadUrlError::Scheme(text.to_owned()))?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if host.contains('@') {
            return Err(DownloadUrlError::Credentials);
        }
        if host.is_empty() || host.starts_with([':', '-']) {
            return Err(DownloadUrlError::Host(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DownloadUrl {
    type Error = DownloadUrlError;

    fn try_from(text: String) -> Result<Self, DownloadUrlError> {
        text.parse()
    }
}

impl From<DownloadUrl> for String {
    fn from(url: DownloadUrl) -> String {
        url.0
    }
}

impl fmt::Display for DownloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_downloaded_is_taken_and_its_path_is_found() {
        for (text, path) in [
            ("https://example.com/a/nats-agent_1.0_amd64.deb?sig=x%2Fy", "/a/nats-agent_1.0_amd64.deb"),
            ("http://[fd00::1]:8080/x.rpm", "/x.rpm"),
            ("http://10.0.0.1:8080", "/"),
            ("http://10.0.0.1?x", "/"),
        ] {
            let url: DownloadUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.path()), (text, path));
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for (text, why) in [
            ("ftp://example.com/x", "does not start with `https://`"),
            ("file:///etc/shadow", "does not start with `https://`"),
            ("https:///x", "names no host"),
            ("https://:80/x", "names no host"),
            ("https://me:secret@example.com/x", "user or a password"),
            ("https://example.com/a b", "holds no ' '"),
            ("https://example.com/$(reboot)", "holds no '$'"),
            ("https://example.com/'x", "holds no '\\''"),
            ("https://example.com/x\n", "holds no '\\n'"),
        ] {
            let told = text.parse::<DownloadUrl>().unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_kept_as_it_is(text in "(https?://)?\\PC{0,40}") {
            if let Ok(url) = text.parse::<DownloadUrl>() {
                prop_assert_eq!(url.as_str(), &text);
                prop_assert!(url.path().starts_with('/'));
                let in_need_of_quotes = |c: char| "'\"`$\\!*()<>{}|^ ".contains(c) || !c.is_ascii_graphic();
                prop_assert!(!text.contains(in_need_of_quotes));
            }
        }
    }
}
