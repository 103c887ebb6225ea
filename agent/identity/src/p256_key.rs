//! P-256 keys that sign the same bytes the same way (RFC 6979), so that certificates are pure functions.

use std::fmt;

use p256::SecretKey;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use zeroize::Zeroizing;

/// A P-256 key pair. The secret half is wiped on drop.
#[derive(Clone)]
pub(crate) struct P256Key {
    secret: SecretKey,
    /// The uncompressed point: `04 || x || y`.
    point: Vec<u8>,
}

impl P256Key {
    /// `None` when the bytes are zero or not below the group order.
    pub(crate) fn from_scalar(bytes: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(bytes).ok().map(Self::from_secret)
    }

    fn from_secret(secret: SecretKey) -> Self {
        let point = SigningKey::from(&secret).verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { secret, point }
    }

    /// Reads PKCS #8 PEM.
    pub(crate) fn from_pkcs8_pem(pem: &str) -> Result<Self, p256::pkcs8::Error> {
        SecretKey::from_pkcs8_pem(pem).map(Self::from_secret)
    }

    /// PKCS #8 PEM, one `PRIVATE KEY` block.
    pub(crate) fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.secret.to_pkcs8_pem(LineEnding::LF).expect("a valid P-256 key always encodes")
    }

    /// PKCS #8 DER.
    pub(crate) fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.secret.to_pkcs8_der().expect("a valid P-256 key always encodes").to_bytes()
    }

    /// DER of the SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.secret.public_key().to_public_key_der().expect("a valid P-256 point always encodes").into_vec()
    }
}

impl PublicKeyData for P256Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for P256Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature =
            SigningKey::from(&self.secret).try_sign(message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_bytes().to_vec())
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256Key(redacted)")
    }
}
