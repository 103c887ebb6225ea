//! Who a certificate speaks for. The role stands in one place: a URI among the subject alternative names,
//! `nats-agent://<authority>/role/<role>`.

use std::fmt;

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::names::{AccountName, AuthorityName};

const SCHEME: &str = "nats-agent://";

/// What the holder of a certificate may ask of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything.
    Operator,
    /// Looking, changing nothing.
    Reader,
    /// Assets of one account through the tunnel.
    Account(AccountName),
    /// Another agent of the same authority: fetching claims.
    Peer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Reader => f.write_str("reader"),
            Self::Account(account) => write!(f, "account:{account}"),
            Self::Peer => f.write_str("peer"),
        }
    }
}

/// Which of the two CAs a chain was verified against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateAuthority {
    /// Vouches for people and pipelines.
    Fleet,
    /// Vouches for hosts.
    Host,
}

/// Why a certificate has no usable role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RoleError {
    /// Not an X.509 certificate.
    #[error("certificate does not parse")]
    Certificate,
    /// No role URI.
    #[error("certificate carries no role")]
    Missing,
    /// More than one role URI.
    #[error("certificate carries more than one role")]
    Several,
    /// A role URI of a form that this version does not know.
    #[error("certificate carries the unknown role `{uri}`")]
    Unknown {
        /// The URI, cut to 200 characters.
        uri: String,
    },
    /// A role of another authority.
    #[error("certificate is of authority `{found}`, not `{expected}`")]
    Authority {
        /// The one it names.
        found: AuthorityName,
        /// The one asked for.
        expected: AuthorityName,
    },
    /// A role that the CA behind the certificate may not give.
    #[error("role `{role}` is not given by the {authority} CA")]
    NotGiven {
        /// The role it names.
        role: String,
        /// `fleet` or `host`.
        authority: &'static str,
    },
}

impl Role {
    /// The URI that carries the role.
    #[must_use]
    pub fn uri(&self, authority: &AuthorityName) -> String {
        format!("{SCHEME}{authority}/role/{self}")
    }

    fn from_uri(uri: &str) -> Option<(AuthorityName, Self)> {
        let (authority, role) = uri.strip_prefix(SCHEME)?.split_once("/role/")?;
        let role = match role {
            "operator" => Self::Operator,
            "reader" => Self::Reader,
            "peer" => Self::Peer,
            other => Self::Account(other.strip_prefix("account:")?.parse().ok()?),
        };
        Some((authority.parse().ok()?, role))
    }

    /// Whether a certificate below `authority` may carry the role: hosts are peers and nothing else.
    #[must_use]
    pub fn is_given_by(&self, authority: CertificateAuthority) -> bool {
        match (self, authority) {
            (Self::Operator | Self::Reader | Self::Account(_), CertificateAuthority::Fleet) => true,
            (Self::Peer, CertificateAuthority::Host) => true,
            (Self::Peer, CertificateAuthority::Fleet) => false,
            (Self::Operator | Self::Reader | Self::Account(_), CertificateAuthority::Host) => false,
        }
    }
}

/// The role that a certificate carries, and of which authority. Says nothing about whether the certificate is
/// genuine: verify its chain first, then ask [`caller_role`].
///
/// # Errors
/// When it does not parse, or carries no role, several or an unknown one.
pub fn role_of(certificate: &CertificateDer<'_>) -> Result<(AuthorityName, Role), RoleError> {
    let (rest, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| RoleError::Certificate)?;
    if !rest.is_empty() {
        return Err(RoleError::Certificate);
    }
    role_in(&parsed)
}

pub(crate) fn role_in(certificate: &X509Certificate<'_>) -> Result<(AuthorityName, Role), RoleError> {
    let names = certificate.subject_alternative_name().map_err(|_| RoleError::Certificate)?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
        _ => None,
    });
    let uri = uris.next().ok_or(RoleError::Missing)?;
    if uris.next().is_some() {
        return Err(RoleError::Several);
    }
    Role::from_uri(uri).ok_or_else(|| RoleError::Unknown { uri: uri.chars().take(200).collect() })
}

/// The role of a caller whose chain was verified against `verified_by`.
///
/// # Errors
/// As [`role_of`]; also when the role is of another authority, or one that this CA does not give.
pub fn caller_role(
    certificate: &CertificateDer<'_>,
    verified_by: CertificateAuthority,
    authority: &AuthorityName,
) -> Result<Role, RoleError> {
    let (found, role) = role_of(certificate)?;
    if found != *authority {
        return Err(RoleError::Authority { found, expected: authority.clone() });
    }
    if !role.is_given_by(verified_by) {
        let authority = match verified_by {
            CertificateAuthority::Fleet => "fleet",
            CertificateAuthority::Host => "host",
        };
        return Err(RoleError::NotGiven { role: role.to_string(), authority });
    }
    Ok(role)
}
