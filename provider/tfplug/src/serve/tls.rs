//! TLS in which both sides know the other's one certificate beforehand.
//!
//! Terraform's client key is ECDSA P-521, which ring cannot verify; a server that does not offer that
//! scheme never sees the client's certificate. So everything is ring's except this one verification, which
//! aws-lc-rs lends: using it for more would cost 30 to 110 ms at each start of the process.

use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivateKeyDer, PrivatePkcs8KeyDer,
    SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Why TLS could not be set up.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    #[error("cannot make the server's certificate")]
    Certificate(#[source] rcgen::Error),
    #[error("cannot configure tls")]
    Configuration(#[source] Error),
}

/// Our side of the connection.
pub(super) struct Tls {
    certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// A fresh key and certificate, and a server that lets in only who holds the key of `client`.
    pub(super) fn new(client: &CertificateDer<'static>) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Certificate)?;
        // Terraform verifies against the name `localhost`. Source: go-plugin v1.6.0 mtls.go.
        let mut params = CertificateParams::new(["localhost".to_owned()]).map_err(TlsError::Certificate)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(TlsError::Certificate)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = CryptoProvider {
            signature_verification_algorithms: *ALGORITHMS,
            ..rustls::crypto::ring::default_provider()
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Configuration)?
            .with_client_cert_verifier(Arc::new(OnlyClient { certificate: client.clone() }))
            .with_single_cert(vec![certificate.clone()], key)
            .map_err(TlsError::Configuration)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { certificate, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The certificate Terraform is to expect, as DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What does the handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

/// Lets in exactly one certificate, byte for byte, and checks that the client holds its key.
#[derive(Debug)]
struct OnlyClient {
    certificate: CertificateDer<'static>,
}

impl ClientCertVerifier for OnlyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if end_entity.as_ref() == self.certificate.as_ref() {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("tls 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// Ring's algorithms and P-521. The slices live as long as the process, once.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    static P521: Algorithms = &[&EcdsaP521Sha512];
    static ALL: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> =
        LazyLock::new(|| [ring_algorithms().all, P521].concat());
    static MAPPING: LazyLock<Vec<(SignatureScheme, Algorithms)>> = LazyLock::new(|| {
        let mut mapping = ring_algorithms().mapping.to_vec();
        mapping.push((SignatureScheme::ECDSA_NISTP521_SHA512, P521));
        mapping
    });
    WebPkiSupportedAlgorithms { all: &ALL, mapping: &MAPPING }
});

fn ring_algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// ECDSA over P-521 with SHA-512, verified by aws-lc-rs.
#[derive(Debug)]
struct EcdsaP521Sha512;

impl SignatureVerificationAlgorithm for EcdsaP521Sha512 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let algorithm = &aws_lc_rs::signature::ECDSA_P521_SHA512_ASN1;
        aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_the_scheme_terraform_signs_with() {
        assert!(ALGORITHMS.supported_schemes().contains(&SignatureScheme::ECDSA_NISTP521_SHA512));
    }

    #[test]
    fn only_the_same_bytes_are_let_in() {
        let certificate = |name: &str| {
            let key = KeyPair::generate().unwrap();
            CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
        };
        let (right, wrong) = (certificate("localhost"), certificate("localhost"));
        let verifier = OnlyClient { certificate: right.clone() };
        assert!(verifier.verify_client_cert(&right, &[], UnixTime::now()).is_ok());
        assert!(verifier.verify_client_cert(&wrong, &[], UnixTime::now()).is_err());
        assert!(verifier.client_auth_mandatory());
    }
}
