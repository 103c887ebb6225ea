//! What both ends of a connection share: the cryptography, trust anchors, and what a certificate says.

use std::sync::Arc;

use data_encoding::BASE64;
use identity::CertificateInfo;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why a TLS side cannot be set up. Keys are never shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or without a certificate.
    #[error("{what} is no certificate in PEM")]
    Pem {
        /// Which text.
        what: &'static str,
    },
    /// A certificate that is no trust anchor.
    #[error("{what} is no usable certificate authority")]
    Anchor {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// No verifier can be made of the authorities.
    #[error("callers cannot be verified by the {what}")]
    Verifier {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not fit each other, or cannot be used.
    #[error("own certificate or key cannot be used")]
    Identity(#[source] rustls::Error),
    /// The self-signed certificate could not be made.
    #[error("no self-signed certificate can be made of the leaf key")]
    SelfSigned(#[source] rcgen::Error),
}

/// The one set of algorithms, from ring.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Every certificate of a PEM text, at least one.
pub(crate) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    parsed.ok().filter(|list| !list.is_empty()).ok_or(TlsError::Pem { what })
}

/// Trust anchors of a PEM text.
pub(crate) fn roots(what: &'static str, pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        roots.add(certificate).map_err(|source| TlsError::Anchor { what, source })?;
    }
    Ok(roots)
}

/// A PKCS #8 key as rustls takes it. It wipes its copy on drop no more than rustls does.
pub(crate) fn private_key(pkcs8: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()))
}

/// What a certificate says; `None` when it does not parse.
pub(crate) fn info(certificate: &CertificateDer<'_>) -> Option<CertificateInfo> {
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64
            .encode(certificate)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
            .join("\n")
    );
    identity::certificate_info(&pem).ok()
}

/// The keying material of a connection that both sides of a claim bind their proof to.
/// Source: RFC 8446, 7.5 (exporters); RFC 5705, 4 (the label's prefix).
pub(crate) const EXPORTER_BYTES: usize = 32;
