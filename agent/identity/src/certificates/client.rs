//! Certificates of callers: people and pipelines, for minutes, in memory.

use std::fmt;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::role::{CertificateAuthority, Role};
use super::roots::Root;
use super::template::{CLOCK_SKEW, Template};
use crate::names::AuthorityName;
use crate::p256_key::P256Key;

/// A certificate and its key. `Debug` hides the key, which is wiped on drop.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate; the fleet CA signed it directly, so the chain is one long.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8 DER of the P-256 key.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({} certificates, key redacted)", self.chain.len())
    }
}

/// Why no caller's certificate was made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientCertificateError {
    /// Peers are agents; their own issuers sign them.
    #[error("role `{0}` belongs to hosts, the fleet CA does not give it")]
    NotGiven(Role),
    /// The end of the validity is not a date.
    #[error("validity ends beyond the calendar")]
    Validity,
}

pub(crate) fn client_certificate(
    root: &Root,
    authority: &AuthorityName,
    role: &Role,
    key: &P256Key,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<ClientIdentity, ClientCertificateError> {
    if !role.is_given_by(CertificateAuthority::Fleet) {
        return Err(ClientCertificateError::NotGiven(role.clone()));
    }
    let not_before = now.checked_sub(CLOCK_SKEW).ok_or(ClientCertificateError::Validity)?;
    let not_after = time::Duration::try_from(validity).ok().and_then(|validity| now.checked_add(validity));
    let not_after = not_after.filter(|at| at.year() <= 9999).ok_or(ClientCertificateError::Validity)?;
    let uri = role.uri(authority).try_into().expect("a role URI is ASCII");
    let template = Template {
        authority,
        common_name: role.to_string(),
        not_before,
        not_after,
        names: vec![SanType::URI(uri)],
    };
    let mut params = template.end_entity(key);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate =
        params.signed_by(key, &root.issuer()).expect("checked names and a valid key always encode");
    Ok(ClientIdentity { chain: vec![certificate.into()], key: key.to_pkcs8_der() })
}
