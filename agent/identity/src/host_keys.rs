//! The keys a host makes for itself at its first start and keeps for ever.
//!
//! The secret half is for one file of mode 0600 and never leaves the host; the public half travels to the authority.

use std::fmt;

use data_encoding::BASE64;
use hkdf::Hkdf;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::certificates::spki_pin;
use crate::derivation::p256_from;
use crate::nkey::{Nkey, NkeyError, NkeyKind, UserPublicKey};
use crate::p256_key::P256Key;
use crate::secret_text::SecretText;

/// Longest text of a [`HostSecret`] that is read, in bytes; real ones have about 700.
pub const MAX_HOST_SECRET_LEN: usize = 16 * 1024;

/// A P-256 public key as SubjectPublicKeyInfo (DER); text form: standard base64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKeyInfo(Vec<u8>);

/// Why bytes are no public key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublicKeyInfoError {
    /// Not base64.
    #[error("public key is not base64")]
    Encoding,
    /// Not a P-256 SubjectPublicKeyInfo in its one DER form.
    #[error("public key is no P-256 key in DER")]
    Key,
}

impl PublicKeyInfo {
    /// Takes DER.
    ///
    /// # Errors
    /// When it is not a P-256 key, or not in the one form that DER allows.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyInfoError> {
        let key = p256::PublicKey::from_public_key_der(der).map_err(|_| PublicKeyInfoError::Key)?;
        let canonical = key.to_public_key_der().map_err(|_| PublicKeyInfoError::Key)?.into_vec();
        if canonical == der { Ok(Self(canonical)) } else { Err(PublicKeyInfoError::Key) }
    }

    /// The DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 in lower-case hexadecimal, as nats-server's `pinned_certs` wants it.
    #[must_use]
    pub fn pin(&self) -> String {
        spki_pin(&self.0)
    }
}

impl fmt::Display for PublicKeyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl Serialize for PublicKeyInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKeyInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let der = BASE64
            .decode(text.as_bytes())
            .map_err(|_| serde::de::Error::custom(PublicKeyInfoError::Encoding))?;
        Self::from_der(&der).map_err(serde::de::Error::custom)
    }
}

/// The public half of a host's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostKeys {
    /// Key of the host's issuer.
    pub issuer_spki: PublicKeyInfo,
    /// Key of the host's leaf, the same in every renewal.
    pub leaf_spki: PublicKeyInfo,
    /// The host's user in the system account.
    pub system_user: UserPublicKey,
    /// The host's user in the probe account.
    pub probe_user: UserPublicKey,
}

impl HostKeys {
    /// What other servers' `pinned_certs` must list to let this host in.
    #[must_use]
    pub fn leaf_pin(&self) -> String {
        self.leaf_spki.pin()
    }
}

/// 32 random bytes for each of a host's keys.
pub struct HostSeeds {
    /// For the issuer's key.
    pub issuer: Zeroizing<[u8; 32]>,
    /// For the leaf's key.
    pub leaf: Zeroizing<[u8; 32]>,
    /// For the system user.
    pub system_user: Zeroizing<[u8; 32]>,
    /// For the probe user.
    pub probe_user: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for HostSeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostSeeds(redacted)")
    }
}

/// The secret half of a host's keys. Wiped on drop.
#[derive(Clone)]
pub struct HostSecret {
    issuer: P256Key,
    leaf: P256Key,
    system_user: Nkey,
    probe_user: Nkey,
}

/// Why a text is no host secret. Never shows the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostSecretError {
    /// Above [`MAX_HOST_SECRET_LEN`].
    #[error("host keys have {0} bytes, at most {MAX_HOST_SECRET_LEN} are read")]
    TooLong(usize),
    /// Not the JSON that this version writes.
    #[error("host keys are not the JSON that this version writes")]
    Json,
    /// Written by another version.
    #[error("host keys are of version {0}, this version reads 1")]
    Version(u32),
    /// One of the P-256 keys is unreadable.
    #[error("host key `{0}` is no P-256 key in PKCS #8 PEM")]
    P256(&'static str),
    /// One of the nkeys is unreadable.
    #[error("host key `{field}` is no user seed")]
    Nkey {
        /// Which one.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: NkeyError,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    issuer_key: SecretText,
    leaf_key: SecretText,
    system_user: SecretText,
    probe_user: SecretText,
}

impl HostSecret {
    /// The keys of these seeds: always the same ones.
    #[must_use]
    pub fn from_seeds(seeds: &HostSeeds) -> Self {
        let HostSeeds { issuer, leaf, system_user, probe_user } = seeds;
        let p256 = |seed: &[u8; 32], info| p256_from(&Hkdf::<Sha256>::new(Some(b"nats-host/v1"), seed), info);
        Self {
            issuer: p256(issuer, "nats-host/v1/issuer"),
            leaf: p256(leaf, "nats-host/v1/leaf"),
            system_user: Nkey::from_seed_bytes(NkeyKind::User, system_user),
            probe_user: Nkey::from_seed_bytes(NkeyKind::User, probe_user),
        }
    }

    /// The public half.
    #[must_use]
    pub fn keys(&self) -> HostKeys {
        HostKeys {
            issuer_spki: PublicKeyInfo(self.issuer.spki()),
            leaf_spki: PublicKeyInfo(self.leaf.spki()),
            system_user: self.system_user.user(),
            probe_user: self.probe_user.user(),
        }
    }

    /// The leaf's key in PKCS #8 PEM, as a server's `key_file` holds it. A secret.
    #[must_use]
    pub fn leaf_key_pem(&self) -> Zeroizing<String> {
        self.leaf.to_pkcs8_pem()
    }

    /// The leaf's key in PKCS #8 DER, for a TLS library. A secret.
    #[must_use]
    pub fn leaf_key_der(&self) -> Zeroizing<Vec<u8>> {
        self.leaf.to_pkcs8_der()
    }

    /// The nkey of the host's user in the system account.
    #[must_use]
    pub fn system_user(&self) -> &Nkey {
        &self.system_user
    }

    /// The nkey of the host's user in the probe account.
    #[must_use]
    pub fn probe_user(&self) -> &Nkey {
        &self.probe_user
    }

    pub(crate) fn issuer_key(&self) -> &P256Key {
        &self.issuer
    }

    pub(crate) fn leaf_key(&self) -> &P256Key {
        &self.leaf
    }

    /// JSON for a file of mode 0600. A secret.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let wire = Wire {
            version: 1,
            issuer_key: self.issuer.to_pkcs8_pem().into(),
            leaf_key: self.leaf.to_pkcs8_pem().into(),
            system_user: self.system_user.seed().into(),
            probe_user: self.probe_user.seed().into(),
        };
        Zeroizing::new(serde_json::to_string_pretty(&wire).expect("host keys are plain data"))
    }

    /// Reads [`HostSecret::to_json`].
    ///
    /// # Errors
    /// When it is too long, of another version, or any key in it is unreadable.
    pub fn from_json(text: &str) -> Result<Self, HostSecretError> {
        if text.len() > MAX_HOST_SECRET_LEN {
            return Err(HostSecretError::TooLong(text.len()));
        }
        // The parser's own message may quote a key, so it is not kept.
        let wire: Wire = serde_json::from_str(text).map_err(|_| HostSecretError::Json)?;
        if wire.version != 1 {
            return Err(HostSecretError::Version(wire.version));
        }
        let p256 = |field, pem: &str| P256Key::from_pkcs8_pem(pem).map_err(|_| HostSecretError::P256(field));
        let nkey = |field, seed: &str| {
            Nkey::from_seed(NkeyKind::User, seed).map_err(|source| HostSecretError::Nkey { field, source })
        };
        Ok(Self {
            issuer: p256("issuer_key", wire.issuer_key.as_str())?,
            leaf: p256("leaf_key", wire.leaf_key.as_str())?,
            system_user: nkey("system_user", wire.system_user.as_str())?,
            probe_user: nkey("probe_user", wire.probe_user.as_str())?,
        })
    }
}

impl fmt::Debug for HostSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostSecret(redacted)")
    }
}
