//! The key that signs documents, confirmations and cancellations.
//!
//! A signature covers the domain as well as the bytes, so that a signed message of one kind is never one of another.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Signs documents. Wiped on drop.
#[derive(Clone)]
pub struct DocumentKey(SigningKey);

/// Verifies documents; text form: standard base64 of 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentPublicKey(VerifyingKey);

/// Why a text is no document key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DocumentKeyError {
    /// Not base64 of 32 bytes.
    #[error("document key is not base64 of 32 bytes")]
    Encoding,
    /// Not a point of the curve.
    #[error("document key is no valid Ed25519 public key")]
    Point,
}

/// `"nats-document/v1" 0 domain-length domain bytes`; lengths are 64-bit big-endian.
fn message(domain: &str, bytes: &[u8]) -> Vec<u8> {
    const TAG: &[u8] = b"nats-document/v1\0";
    let mut message = Vec::with_capacity(TAG.len() + 8 + domain.len() + bytes.len());
    message.extend_from_slice(TAG);
    message.extend_from_slice(&(domain.len() as u64).to_be_bytes());
    message.extend_from_slice(domain.as_bytes());
    message.extend_from_slice(bytes);
    message
}

impl DocumentKey {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Deterministic Ed25519 signature over domain and bytes.
    #[must_use]
    pub fn sign(&self, domain: &str, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(&message(domain, bytes)).to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> DocumentPublicKey {
        DocumentPublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentKey(redacted)")
    }
}

impl DocumentPublicKey {
    /// Whether `signature` was made by this key for `bytes` in `domain`.
    #[must_use]
    pub fn verify(&self, domain: &str, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(&message(domain, bytes), &Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for DocumentPublicKey {
    type Err = DocumentKeyError;

    fn from_str(text: &str) -> Result<Self, DocumentKeyError> {
        if text.len() != 44 {
            return Err(DocumentKeyError::Encoding);
        }
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| DocumentKeyError::Encoding)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| DocumentKeyError::Encoding)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| DocumentKeyError::Point)
    }
}

impl fmt::Display for DocumentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0.as_bytes()))
    }
}

impl Serialize for DocumentPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DocumentPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_binds_domain_bytes_and_key() {
        let key = DocumentKey::from_seed(&[5; 32]);
        let signature = key.sign("apply", b"document");
        assert!(key.public().verify("apply", b"document", &signature));
        assert!(!key.public().verify("confirm", b"document", &signature));
        assert!(!key.public().verify("applyd", b"ocument", &signature));
        assert!(!DocumentKey::from_seed(&[6; 32]).public().verify("apply", b"document", &signature));
        assert_eq!(key.public().to_string().parse::<DocumentPublicKey>().unwrap(), key.public());
        assert_eq!(format!("{key:?}"), "DocumentKey(redacted)");
    }
}
