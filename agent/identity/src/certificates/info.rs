//! What a certificate says, and when it needs renewing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::pem::{CertificatePemError, certificates};

/// The parts of a certificate that decisions are made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// First second it is valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Last second it is valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// Subject as text, `CN=...` form.
    pub subject: String,
    /// Issuer as text.
    pub issuer: String,
    /// SHA-256 of the public key's DER, lower-case hexadecimal: nats-server's `pinned_certs` form.
    pub spki_pin: String,
    /// DNS names it is for.
    pub dns: BTreeSet<String>,
    /// Addresses it is for.
    pub ips: BTreeSet<IpAddr>,
    /// URIs it carries; a role is one of them.
    pub uris: BTreeSet<String>,
    /// Whether it may sign certificates.
    pub is_ca: bool,
}

/// Why a text says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateInfoError {
    /// Not PEM.
    #[error("certificate is not readable")]
    Pem(#[from] CertificatePemError),
    /// PEM without a certificate.
    #[error("PEM text holds no certificate")]
    Empty,
    /// The first block is no X.509 certificate.
    #[error("PEM block is no X.509 certificate")]
    X509,
}

/// Reads the first certificate of a PEM text, so that a chain (leaf first) is described by its leaf.
///
/// # Errors
/// When the text is not PEM, holds no certificate, or is above [`super::MAX_PEM_LEN`].
pub fn certificate_info(pem: &str) -> Result<CertificateInfo, CertificateInfoError> {
    let certificates = certificates(pem)?;
    let first = certificates.first().ok_or(CertificateInfoError::Empty)?;
    let (rest, parsed) =
        x509_parser::parse_x509_certificate(first).map_err(|_| CertificateInfoError::X509)?;
    if !rest.is_empty() {
        return Err(CertificateInfoError::X509);
    }
    info_of(&parsed).ok_or(CertificateInfoError::X509)
}

/// `None` when an extension does not parse.
pub(crate) fn info_of(parsed: &X509Certificate<'_>) -> Option<CertificateInfo> {
    let mut info = CertificateInfo {
        not_before: parsed.validity().not_before.to_datetime(),
        not_after: parsed.validity().not_after.to_datetime(),
        serial: HEXLOWER.encode(parsed.raw_serial()),
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        spki_pin: spki_pin(parsed.public_key().raw),
        dns: BTreeSet::new(),
        ips: BTreeSet::new(),
        uris: BTreeSet::new(),
        is_ca: parsed.is_ca(),
    };
    let names = parsed.subject_alternative_name().ok()?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                info.dns.insert((*name).to_owned());
            }
            GeneralName::URI(uri) => {
                info.uris.insert((*uri).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                info.ips.insert(address(bytes)?);
            }
            _ => {}
        }
    }
    Some(info)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6)
}

/// SHA-256 of a SubjectPublicKeyInfo (DER), lower-case hexadecimal: the form of nats-server's `pinned_certs`.
#[must_use]
pub fn spki_pin(spki: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(spki))
}

impl CertificateInfo {
    /// When it should be renewed: after one third of its life.
    #[must_use]
    pub fn renew_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) / 3
    }

    /// When a missing renewal is an alarm: after half of its life.
    #[must_use]
    pub fn alarm_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) / 2
    }
}
