//! The agent's side of TLS: certificates demanded of every caller, the role settled before any request is read.
//!
//! Sessions are never resumed: a resumed one would bring back a certificate without its being verified again.

use std::sync::Arc;

use identity::{AuthorityName, CertificateAuthority, CertificateInfo, Role, caller_role};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use zeroize::Zeroizing;

use crate::tls::{TlsError, certificates, crypto, info, private_key, roots};

/// Most certificates above a caller's own: a host has its issuer, and the authority may follow. Each one more may have
/// signed the one below, by its name, and costs a signature to rule out.
const MAX_ABOVE: usize = 2;

/// Why a chain is not looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0} certificates follow the caller's, at most {MAX_ABOVE} are looked at")]
struct LongChain(usize);

/// What a claimed agent serves with, and whom it takes.
#[derive(Clone)]
pub struct ClaimedTls {
    /// Leaf and issuer, PEM.
    pub chain_pem: String,
    /// PKCS #8 DER of the leaf key.
    pub key: Zeroizing<Vec<u8>>,
    /// Fleet CAs, PEM: who comes under one has the role in its certificate.
    pub fleet_ca: String,
    /// Host CAs, PEM: who comes under one is a peer.
    pub host_ca: String,
    /// The authority that certificates must name.
    pub authority: AuthorityName,
}

/// What an unclaimed agent serves with, and whom it takes: an operator of the authority it was enrolled for.
#[derive(Clone)]
pub struct UnclaimedTls {
    /// Self-signed certificate of the leaf key, see [`self_signed`].
    pub certificate: CertificateDer<'static>,
    /// PKCS #8 DER of the leaf key.
    pub key: Zeroizing<Vec<u8>>,
    /// Fleet CA of the enrolment, PEM.
    pub fleet_ca: String,
    /// The authority of the enrolment.
    pub authority: AuthorityName,
}

/// A checked configuration of one listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Arc<CallerVerifier>,
    pub(super) alpn: &'static [u8],
}

/// The self-signed certificate by which an unclaimed agent shows its leaf key; it says nothing else.
///
/// # Errors
/// When the key is no P-256 key in PKCS #8.
pub fn self_signed(key: &[u8]) -> Result<CertificateDer<'static>, TlsError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key);
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(TlsError::SelfSigned)?;
    let params =
        rcgen::CertificateParams::new(vec!["nats-agent".to_owned()]).map_err(TlsError::SelfSigned)?;
    Ok(params.self_signed(&pair).map_err(TlsError::SelfSigned)?.into())
}

impl ClaimedTls {
    /// Checks certificate, key and authorities.
    ///
    /// # Errors
    /// [`TlsError`], naming the part.
    pub fn build(&self) -> Result<ListenerTls, TlsError> {
        let ClaimedTls { chain_pem, key, fleet_ca, host_ca, authority } = self;
        let verifier = CallerVerifier {
            fleet: web_pki("fleet CA", fleet_ca)?,
            hosts: Some(web_pki("host CA", host_ca)?),
            authority: authority.clone(),
            is_operator_only: false,
        };
        listener(certificates("the leaf", chain_pem)?, key, verifier, crate::ALPN_CLAIMED)
    }
}

impl UnclaimedTls {
    /// Checks certificate, key and authority.
    ///
    /// # Errors
    /// [`TlsError`], naming the part.
    pub fn build(&self) -> Result<ListenerTls, TlsError> {
        let UnclaimedTls { certificate, key, fleet_ca, authority } = self;
        let verifier = CallerVerifier {
            fleet: web_pki("fleet CA", fleet_ca)?,
            hosts: None,
            authority: authority.clone(),
            is_operator_only: true,
        };
        listener(vec![certificate.clone()], key, verifier, crate::ALPN_CLAIM)
    }
}

fn web_pki(what: &'static str, pem: &str) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(what, pem)?), crypto())
        .build()
        .map_err(|source| TlsError::Verifier { what, source })
}

fn listener(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
    verifier: CallerVerifier,
    alpn: &'static [u8],
) -> Result<ListenerTls, TlsError> {
    let verifier = Arc::new(verifier);
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Identity)?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain, private_key(key))
        .map_err(TlsError::Identity)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ListenerTls { config: Arc::new(config), verifier, alpn })
}

/// Verifies callers by both authorities and settles their role.
#[derive(Debug)]
pub(super) struct CallerVerifier {
    fleet: Arc<dyn ClientCertVerifier>,
    hosts: Option<Arc<dyn ClientCertVerifier>>,
    authority: AuthorityName,
    is_operator_only: bool,
}

/// Who holds a certificate that was verified.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) role: Role,
    /// Serial of the certificate, lower-case hex.
    pub(super) serial: String,
    /// As [`Caller::spki_pin`](crate::order::Caller::spki_pin).
    pub(super) spki_pin: String,
}

impl CallerVerifier {
    /// Who the holder of a verified chain is.
    ///
    /// # Errors
    /// The reason to refuse it, as the alert that it becomes.
    pub(super) fn caller(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Holder, rustls::Error> {
        if above.len() > MAX_ABOVE {
            return Err(CertificateError::Other(OtherError(Arc::new(LongChain(above.len())))).into());
        }
        let verified_by = match self.fleet.verify_client_cert(leaf, above, now).map_err(stranger) {
            Ok(_) => CertificateAuthority::Fleet,
            Err(refusal) => {
                let hosts = self.hosts.as_ref().ok_or(refusal.clone())?;
                match hosts.verify_client_cert(leaf, above, now).map_err(stranger) {
                    Ok(_) => CertificateAuthority::Host,
                    Err(_) if !is_unknown_issuer(&refusal) => return Err(refusal),
                    Err(other) => return Err(other),
                }
            }
        };
        // The text of a wrong role is for the agent's log; the caller gets the alert `access_denied`.
        let refuse = || rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let role = caller_role(leaf, verified_by, &self.authority).map_err(|reason| {
            tracing::info!(%reason, "caller refused");
            refuse()
        })?;
        if self.is_operator_only && role != Role::Operator {
            tracing::info!(%role, "caller refused: only an operator may claim");
            return Err(refuse());
        }
        let CertificateInfo { serial, spki_pin, .. } = info(leaf).ok_or(CertificateError::BadEncoding)?;
        Ok(Holder { role, serial, spki_pin })
    }
}

/// CAs of two authorities of the same name have the same subject, and only the signature tells them apart.
fn stranger(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

fn is_unknown_issuer(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.caller(end_entity, intermediates, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.fleet.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.fleet.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.fleet.supported_verify_schemes()
    }
}
