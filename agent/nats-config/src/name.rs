//! Names of servers and clusters, and the address of a listener somewhere else.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Longest name accepted, in bytes; our own bound, the server has none.
const NAME_LENGTH_MAX: usize = 64;

/// Why a text is no name of a server or cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the name is empty; allowed are 1 to {NAME_LENGTH_MAX} characters")]
    Empty,
    /// The name is longer than [`NAME_LENGTH_MAX`] bytes.
    #[error("the name has {found} characters; allowed are 1 to {NAME_LENGTH_MAX}")]
    TooLong {
        /// Length found, in bytes.
        found: usize,
    },
    /// A character that cannot stand in a name, such as a space.
    #[error("the name `{name}` holds {found:?}; allowed are letters and digits of ASCII, `-`, `_` and `.`")]
    Character {
        /// The whole name.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// The name starts with something other than a letter or digit.
    #[error("the name `{name}` starts with {found:?}; allowed first are letters and digits of ASCII")]
    Start {
        /// The whole name.
        name: String,
        /// Its first character.
        found: char,
    },
}

fn check_name(name: &str) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else { return Err(NameError::Empty) };
    if name.len() > NAME_LENGTH_MAX {
        return Err(NameError::TooLong { found: name.len() });
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if let Some(found) = name.chars().find(|character| !allowed(*character)) {
        return Err(NameError::Character { name: name.to_owned(), found });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Start { name: name.to_owned(), found: first });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text, exactly as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check_name(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// Name of one nats-server, unique in its whole supercluster; its hash is the server's Raft identity.
    ///
    /// 1 to 64 ASCII letters, digits, `-`, `_`, `.`, starting with a letter or digit.
    /// Source: nats-server 2.15.1 server/raft.go (`getHash(s.Name())`), server/opts.go (no spaces).
    ServerName
}

name_type! {
    /// Name of a cluster, which is also the name of its gateway; same alphabet as [`ServerName`].
    ///
    /// Source: nats-server 2.15.1 server/server.go (`validateCluster`: both names must be equal).
    ClusterName
}

/// Why a text is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// There is no `:` that separates a port.
    #[error("`{found}` has no port; allowed is `host:port`, with IPv6 addresses in brackets")]
    NoPort {
        /// The whole text.
        found: String,
    },
    /// The part after the last `:` is no port.
    #[error("`{found}` has the port `{port}`; allowed are 1 to 65535")]
    Port {
        /// The whole text.
        found: String,
        /// What stands where the port should be.
        port: String,
    },
    /// The part before the port is neither an address nor a DNS name.
    #[error(
        "`{found}` has the host `{host}`; allowed are an IPv4 address, an IPv6 address in brackets or a DNS name"
    )]
    Host {
        /// The whole text.
        found: String,
        /// What stands where the host should be.
        host: String,
    },
}

/// Where a listener of another server can be dialled: DNS name or IP address, and a port of 1 to 65535.
///
/// Written `10.20.0.11:5222`, `[fd00::1]:5222` or `east-1.acme.example:5222`; DNS names are kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The address and port of a listener whose address is known.
    ///
    /// # Errors
    /// When `port` is 0, which nats-server reads as "the default port".
    pub fn new(address: IpAddr, port: u16) -> Result<Self, HostPortError> {
        if port == 0 {
            let found = format!("{address}:{port}");
            return Err(HostPortError::Port { found, port: port.to_string() });
        }
        Ok(Self { host: address.to_string(), port })
    }

    /// The DNS name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whether `text` is a DNS name whose last label is not all digits (that would be a broken IPv4 address).
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253
        && text.split('.').all(label)
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let found = || text.to_owned();
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(HostPortError::NoPort { found: found() });
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { port.parse::<u16>().ok() } else { None };
        let Some(number) = number.filter(|number| *number != 0) else {
            return Err(HostPortError::Port { found: found(), port: port.to_owned() });
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
            None if host.parse::<std::net::Ipv4Addr>().is_ok() || is_dns_name(host) => {
                Some(host.to_ascii_lowercase())
            }
            None => None,
        };
        match host {
            Some(host) => Ok(Self { host, port: number }),
            None => {
                let host = text.rsplit_once(':').map_or(text, |(host, _)| host).to_owned();
                Err(HostPortError::Host { found: found(), host })
            }
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;

    fn try_from(text: String) -> Result<Self, HostPortError> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(host_port: HostPort) -> Self {
        host_port.to_string()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}
