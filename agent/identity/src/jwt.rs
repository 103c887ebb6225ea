//! NATS JWTs as text: header, claims, Ed25519 signature. What the claims mean is said in [`crate::accounts`] and
//! [`crate::users`].
//!
//! Source: nats-io/jwt v2 header.go and claims.go: header `{"typ":"JWT","alg":"ed25519-nkey"}`, base64url without
//! padding, the signature covers `header.payload`.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::nkey::Nkey;

/// Longest JWT that is accepted, in bytes. Source: nats-server 2.15.1 default `max_payload` of 1 MiB bounds
/// `$SYS.REQ.CLAIMS.UPDATE`.
pub const MAX_JWT_LEN: usize = 1 << 20;

const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// The text of a JWT: three base64url parts joined by dots. Its contents are checked by whoever decodes it.
///
/// `Debug` shows the length only, because a bearer user's JWT is a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jwt(String);

/// Why a text is no JWT of ours. Never shows the text.
#[derive(Debug, Error)]
pub enum JwtError {
    /// Above [`MAX_JWT_LEN`].
    #[error("JWT has {0} bytes, at most {MAX_JWT_LEN} are accepted")]
    TooLong(usize),
    /// Not three base64url parts joined by dots.
    #[error("JWT is not three base64url parts joined by dots")]
    Shape,
    /// Another type or algorithm than NATS uses.
    #[error("JWT header is not that of a NATS JWT (`typ` JWT, `alg` ed25519-nkey)")]
    Header,
    /// The claims are not what this version knows.
    #[error("JWT claims are not readable by this version")]
    Claims(#[source] serde_json::Error),
    /// The signature is not the issuer's.
    #[error("JWT signature does not verify for its issuer `{issuer}`")]
    Signature {
        /// Public key the JWT names as issuer.
        issuer: String,
    },
}

impl Jwt {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Signs `claims`. Equal claims and key give equal text.
    pub(crate) fn sign<C: Serialize + HasId>(mut claims: C, key: &Nkey) -> Self {
        claims.set_id(String::new());
        let unnamed = serde_json::to_vec(&claims).expect("claims are plain data with string keys");
        claims.set_id(BASE32_NOPAD.encode(&Sha256::digest(&unnamed)));
        let payload = serde_json::to_vec(&claims).expect("claims are plain data with string keys");
        let mut text =
            format!("{}.{}", BASE64URL_NOPAD.encode(HEADER.as_bytes()), BASE64URL_NOPAD.encode(&payload));
        let signature = key.sign(text.as_bytes());
        text.push('.');
        text.push_str(&BASE64URL_NOPAD.encode(&signature));
        Self(text)
    }

    /// Splits the text into what was signed, the claims' JSON and the signature.
    pub(crate) fn parts(&self) -> Result<JwtParts<'_>, JwtError> {
        let (signed, signature) = self.0.rsplit_once('.').ok_or(JwtError::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Shape)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwtError::Shape);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Header)?;
        if header.typ != "JWT" || header.alg != "ed25519-nkey" {
            return Err(JwtError::Header);
        }
        let signature = decode(signature)?.try_into().map_err(|_| JwtError::Shape)?;
        Ok(JwtParts { signed: signed.as_bytes(), payload: decode(payload)?, signature })
    }
}

/// The decoded parts of a JWT, nothing verified yet.
pub(crate) struct JwtParts<'a> {
    pub(crate) signed: &'a [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// Claims with a `jti`.
pub(crate) trait HasId {
    fn set_id(&mut self, id: String);
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

impl FromStr for Jwt {
    type Err = JwtError;

    fn from_str(text: &str) -> Result<Self, JwtError> {
        if text.len() > MAX_JWT_LEN {
            return Err(JwtError::TooLong(text.len()));
        }
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let count = text.split('.').take(4).filter(|part| is_part(part)).count();
        if count != 3 || text.matches('.').count() != 2 {
            return Err(JwtError::Shape);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt({} bytes)", self.0.len())
    }
}

impl Serialize for Jwt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Jwt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
