//! TLS towards the local nats-server: verified against the host CA, or only looked at.
//!
//! [`verified`] is what every connection that carries anything uses. [`LeafSeen`] accepts any certificate because
//! seeing which one a port serves is the whole purpose; such a connection is closed without a byte of payload.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Why no TLS configuration came about.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The host CA is not PEM.
    #[error("the host CA is not a PEM certificate")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The host CA is no certificate that can be trusted.
    #[error("the host CA cannot be used as a trust anchor")]
    Anchor(#[source] Error),
    /// It holds no certificate.
    #[error("the host CA holds no certificate")]
    Empty,
    /// rustls refused the configuration.
    #[error("TLS cannot be configured")]
    Config(#[source] Error),
}

/// A configuration that accepts exactly a server whose certificate chains to `host_ca_pem` and names `address`,
/// wherever it is dialled: a server that listens on every address is dialled on loopback and named by its own.
///
/// # Errors
/// [`ServerTlsError`] when the host CA cannot be read.
pub fn verified(host_ca_pem: &str, address: IpAddr) -> Result<ClientConfig, ServerTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(host_ca_pem.as_bytes()) {
        roots.add(certificate.map_err(ServerTlsError::Pem)?).map_err(ServerTlsError::Anchor)?;
    }
    if roots.is_empty() {
        return Err(ServerTlsError::Empty);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| ServerTlsError::Config(Error::General(error.to_string())))?;
    let verifier = AddressVerifier { inner, name: ServerName::IpAddress(address.into()) };
    configured(provider, Arc::new(verifier))
}

fn configured(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, ServerTlsError> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// The ordinary verifier, but for one fixed address in place of the dialled one.
#[derive(Debug)]
struct AddressVerifier {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for AddressVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Remembers the first leaf whose owner proved to hold its key.
#[derive(Debug)]
pub struct LeafSeen {
    provider: Arc<CryptoProvider>,
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

impl LeafSeen {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Arc<LeafSeen> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(LeafSeen { provider, leaf: Mutex::new(None) })
    }

    /// A configuration for one look.
    ///
    /// # Errors
    /// [`ServerTlsError::Config`], which would be our own fault.
    pub fn config(self: &Arc<Self>) -> Result<ClientConfig, ServerTlsError> {
        configured(Arc::clone(&self.provider), Arc::clone(self) as Arc<dyn ServerCertVerifier>)
    }

    /// What was seen; absent when the handshake did not come so far.
    pub fn take(&self) -> Option<CertificateDer<'static>> {
        self.leaf.lock().expect("nobody panics while holding this lock").take()
    }

    fn remember(&self, certificate: &CertificateDer<'_>) {
        let mut leaf = self.leaf.lock().expect("nobody panics while holding this lock");
        leaf.get_or_insert_with(|| certificate.clone().into_owned());
    }
}

impl ServerCertVerifier for LeafSeen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)?;
        self.remember(certificate);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let valid = rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)?;
        self.remember(certificate);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
