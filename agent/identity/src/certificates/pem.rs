//! One certificate as PEM text, checked and bounded.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest PEM text of one certificate that is read, in bytes.
pub const MAX_PEM_LEN: usize = 64 * 1024;

/// Exactly one certificate in PEM: one `CERTIFICATE` block in lines of 64 characters, ending in a newline.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificatePem {
    text: String,
    der: CertificateDer<'static>,
}

/// Why a text is not one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CertificatePemError {
    /// Above [`MAX_PEM_LEN`].
    #[error("certificate text has {0} bytes, at most {MAX_PEM_LEN} are read")]
    TooLong(usize),
    /// Not PEM.
    #[error("certificate text is not PEM")]
    Pem,
    /// None or several certificates, or something else beside one.
    #[error("PEM text holds {0} certificates, it needs exactly 1")]
    Count(usize),
    /// Its block does not parse as X.509.
    #[error("PEM block is no X.509 certificate")]
    X509,
}

impl CertificatePem {
    pub(crate) fn from_der(der: CertificateDer<'static>) -> Self {
        let body = BASE64.encode(&der);
        let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so every index is a character boundary.
            let (line, tail) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = tail;
        }
        text.push_str("-----END CERTIFICATE-----\n");
        Self { text, der }
    }

    /// The PEM text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

/// All certificates of a PEM text, in order; other blocks are skipped.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificatePemError> {
    if text.len() > MAX_PEM_LEN {
        return Err(CertificatePemError::TooLong(text.len()));
    }
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| CertificatePemError::Pem)
}

/// Whether the bytes are one X.509 certificate and nothing after it.
pub(crate) fn is_certificate(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
}

impl FromStr for CertificatePem {
    type Err = CertificatePemError;

    /// Reads one block; the text is normalised, so that equal certificates are equal values.
    fn from_str(text: &str) -> Result<Self, CertificatePemError> {
        let mut certificates = certificates(text)?;
        if certificates.len() != 1 {
            return Err(CertificatePemError::Count(certificates.len()));
        }
        let der = certificates.remove(0);
        if !is_certificate(&der) {
            return Err(CertificatePemError::X509);
        }
        Ok(Self::from_der(der))
    }
}

impl fmt::Display for CertificatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CertificatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificatePem({} bytes)", self.der.len())
    }
}

impl Serialize for CertificatePem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for CertificatePem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
