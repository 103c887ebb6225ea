//! Whether a server is the agent that is meant: host CA, name, key.
//!
//! An expired certificate is accepted for exactly one key, the pinned one: TLS has then proven that the peer holds
//! it, and a host that missed its renewal is not locked out. Nothing else about the certificate is forgiven.

use std::sync::{Arc, Mutex, PoisonError};

use identity::spki_pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Expected;
use crate::tls::info;

/// Why a server is not the agent that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not under our host CA.
    Authority(String),
    /// Not valid now.
    Expired(String),
    /// Another host of ours.
    Host { expected: String, found: Vec<String> },
    /// Another key.
    Key { expected: String, found: String },
}

/// Verifies one connection, and keeps why it was refused.
#[derive(Debug)]
pub(super) struct HostVerifier {
    roots: RootCertStore,
    expected: Expected,
    crypto: Arc<CryptoProvider>,
    verdict: Mutex<Option<Verdict>>,
}

impl HostVerifier {
    pub(super) fn new(roots: RootCertStore, expected: Expected, crypto: Arc<CryptoProvider>) -> HostVerifier {
        HostVerifier { roots, expected, crypto, verdict: Mutex::new(None) }
    }

    /// Why the last server was refused; `None` when none was.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Verdict> {
        let unreadable = |_| Verdict::Authority("its certificate cannot be read".to_owned());
        let parsed = ParsedCertificate::try_from(leaf).map_err(unreadable)?;
        let pin = spki_pin(&parsed.subject_public_key_info());
        let is_pinned = self.expected.pin.as_ref().is_some_and(|expected| *expected == pin);
        match self.chain(&parsed, above, now) {
            Ok(()) => {}
            Err(error) if is_expired(&error) && is_pinned => self.once_valid(leaf, &parsed, above)?,
            Err(error) if is_expired(&error) || is_early(&error) => {
                return Err(Verdict::Expired(error.to_string()));
            }
            Err(error) => return Err(Verdict::Authority(error.to_string())),
        }
        if let Some(expected) = self.expected.host.as_ref() {
            let expected = expected.to_string();
            let is_named = ServerName::try_from(expected.as_str())
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
            if !is_named {
                let found = info(leaf).map(|info| info.dns.into_iter().collect()).unwrap_or_default();
                return Err(Verdict::Host { expected, found });
            }
        }
        match &self.expected.pin {
            Some(expected) if !is_pinned => Err(Verdict::Key { expected: expected.clone(), found: pin }),
            Some(_) | None => Ok(()),
        }
    }

    fn chain(
        &self,
        leaf: &ParsedCertificate<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.crypto.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(leaf, &self.roots, above, now, algorithms)
    }

    /// Whether the chain was in order in the last second of the leaf.
    fn once_valid(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        above: &[CertificateDer<'_>],
    ) -> Result<(), Verdict> {
        let unreadable = || Verdict::Authority("its certificate cannot be read".to_owned());
        let last = info(leaf).ok_or_else(unreadable)?.not_after.unix_timestamp();
        let last = u64::try_from(last).map_err(|_| unreadable())?;
        let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(last));
        self.chain(parsed, above, then).map_err(|error| Verdict::Authority(error.to_string()))
    }
}

fn is_expired(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

fn is_early(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        )
    )
}

impl ServerCertVerifier for HostVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.check(end_entity, intermediates, now).err();
        let refused = verdict.is_some();
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        if refused {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}
