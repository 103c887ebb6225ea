//! Natural ids: how a resource is named in state, in references and in `terraform import`. Known at plan, also on creation.

use std::fmt;
use std::str::FromStr;

use identity::{AccountName, AuthorityName, HostName, UserName};

use super::trust::MAX_GENERATION;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no {what} id; it has the form `{form}`")]
pub struct IdError {
    /// What was found.
    pub found: String,
    /// What it should name.
    pub what: &'static str,
    /// The form it should have.
    pub form: &'static str,
    /// What is wrong with one of its parts; absent when the number of parts is wrong.
    #[source]
    pub source: Option<identity::NameError>,
}

/// A `nats_cluster` or `nats_gateway`: `<authority>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SystemId {
    /// The authority that runs it.
    pub authority: AuthorityName,
    /// Cluster or gateway name.
    pub name: String,
}

/// A `nats_account`: `<authority>/<account>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId {
    /// The authority it belongs to.
    pub authority: AuthorityName,
    /// Account name.
    pub account: AccountName,
}

/// A `nats_user`: `<authority>/<account>/<user>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserId {
    /// Its account.
    pub account: AccountId,
    /// User name.
    pub user: UserName,
}

/// A `nats_stream`: `<authority>/<account>/<stream>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Its account.
    pub account: AccountId,
    /// Stream name.
    pub stream: String,
}

/// A `nats_host_enrollment`: `<authority>/<name>/<generation>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnrollmentId {
    /// The authority that claims the host.
    pub authority: AuthorityName,
    /// Host name.
    pub host: HostName,
    /// Which enrolment of the host, from 1.
    pub generation: u32,
}

/// Longest stream name. Source: nats-server 2.15.1 server/jetstream_api.go `JSMaxNameLen`.
pub const MAX_STREAM_NAME_BYTES: usize = 255;

/// Whether a stream may have this name: 1 to [`MAX_STREAM_NAME_BYTES`] bytes that are safe in a subject and in a path.
#[must_use]
pub fn is_stream_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
    !name.is_empty() && name.len() <= MAX_STREAM_NAME_BYTES && !name.contains(bad)
}

/// Splits into exactly `N` parts that are not empty.
fn parts<'a, const N: usize>(
    text: &'a str,
    what: &'static str,
    form: &'static str,
) -> Result<[&'a str; N], IdError> {
    let parts: Vec<&str> = text.split('/').collect();
    <[&str; N]>::try_from(parts)
        .ok()
        .filter(|parts| parts.iter().all(|part| !part.is_empty()))
        .ok_or_else(|| IdError { found: text.to_owned(), what, form, source: None })
}

fn part<T: FromStr<Err = identity::NameError>>(
    part: &str,
    text: &str,
    what: &'static str,
    form: &'static str,
) -> Result<T, IdError> {
    part.parse().map_err(|source| IdError { found: text.to_owned(), what, form, source: Some(source) })
}

impl FromStr for SystemId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (what, form) = ("cluster or gateway", "<authority>/<name>");
        let [authority, name] = parts(text, what, form)?;
        Ok(SystemId { authority: part(authority, text, what, form)?, name: name.to_owned() })
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (what, form) = ("account", "<authority>/<account>");
        let [authority, account] = parts(text, what, form)?;
        Ok(AccountId {
            authority: part(authority, text, what, form)?,
            account: part(account, text, what, form)?,
        })
    }
}

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (what, form) = ("user", "<authority>/<account>/<user>");
        let [authority, account, user] = parts(text, what, form)?;
        Ok(UserId {
            account: AccountId {
                authority: part(authority, text, what, form)?,
                account: part(account, text, what, form)?,
            },
            user: part(user, text, what, form)?,
        })
    }
}

impl FromStr for StreamId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (what, form) = ("stream", "<authority>/<account>/<stream>");
        let [authority, account, stream] = parts(text, what, form)?;
        if !is_stream_name(stream) {
            return Err(IdError { found: text.to_owned(), what, form, source: None });
        }
        Ok(StreamId {
            account: AccountId {
                authority: part(authority, text, what, form)?,
                account: part(account, text, what, form)?,
            },
            stream: stream.to_owned(),
        })
    }
}

impl FromStr for EnrollmentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (what, form) = ("enrolment", "<authority>/<name>/<generation>");
        let [authority, host, generation] = parts(text, what, form)?;
        let number =
            generation.parse().ok().filter(|number: &u32| (1..=MAX_GENERATION).contains(&(*number).into()));
        let wrong = || IdError { found: text.to_owned(), what, form, source: None };
        Ok(EnrollmentId {
            authority: part(authority, text, what, form)?,
            host: part(host, text, what, form)?,
            generation: number.ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.authority, self.name)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.authority, self.account)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.user)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.stream)
    }
}

impl fmt::Display for EnrollmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.authority, self.host, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for text in ["acme/orders", "a/b"] {
            assert_eq!(text.parse::<AccountId>().unwrap().to_string(), text);
            assert_eq!(text.parse::<SystemId>().unwrap().to_string(), text);
        }
        assert_eq!("acme/orders/svc".parse::<UserId>().unwrap().to_string(), "acme/orders/svc");
        assert_eq!("acme/orders/ORDERS".parse::<StreamId>().unwrap().to_string(), "acme/orders/ORDERS");
    }

    #[test]
    fn a_stream_id_names_one_stream() {
        for text in ["acme/orders/a.b", "acme/orders/>", "acme/orders/a b", "acme/orders/"] {
            let error = text.parse::<StreamId>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`{text}` is no stream id; it has the form `<authority>/<account>/<stream>`")
            );
        }
    }

    #[test]
    fn a_wrong_id_says_its_form() {
        for text in ["", "acme", "acme/", "/orders", "a/b/c"] {
            let error = text.parse::<AccountId>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is no account id; it has the form `<authority>/<account>`")
            );
        }
    }
}
