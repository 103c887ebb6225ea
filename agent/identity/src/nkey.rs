//! nkeys: Ed25519 keys in NATS's text form, public halves typed by kind.
//!
//! The text form is done here rather than by the `nkeys` crate because that one keeps unwiped copies of each seed;
//! tests hold both to the same results. Source: nats-io/nkeys strkey.go (prefix bytes, CRC-16/XMODEM, base32).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

const PREFIX_SEED: u8 = 18 << 3;
const PREFIX_OPERATOR: u8 = 14 << 3;
const PREFIX_ACCOUNT: u8 = 0;
const PREFIX_USER: u8 = 20 << 3;
/// Characters of a public nkey.
const PUBLIC_LEN: usize = 56;
/// Characters of a seed.
const SEED_LEN: usize = 58;

/// Kind of an nkey that this crate handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NkeyKind {
    /// `O...`
    Operator,
    /// `A...`
    Account,
    /// `U...`
    User,
}

impl NkeyKind {
    fn prefix(self) -> u8 {
        match self {
            Self::Operator => PREFIX_OPERATOR,
            Self::Account => PREFIX_ACCOUNT,
            Self::User => PREFIX_USER,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Account => "account",
            Self::User => "user",
        }
    }
}

/// Why a text is not the nkey it should be. Never shows the text, which may be a seed in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NkeyError {
    /// Another number of characters.
    #[error("{kind} key has {length} characters, it needs {expected}")]
    Length {
        /// Kind that was expected, in words.
        kind: &'static str,
        /// Characters found.
        length: usize,
        /// Characters needed.
        expected: usize,
    },
    /// Not base32, or its checksum is wrong.
    #[error("{kind} key is damaged: its encoding or checksum is wrong")]
    Damaged {
        /// Kind that was expected, in words.
        kind: &'static str,
    },
    /// An nkey of another kind.
    #[error("key is an nkey of another kind, not of kind `{kind}`")]
    Kind {
        /// Kind that was expected, in words.
        kind: &'static str,
    },
    /// Not a point of the curve.
    #[error("{kind} key is no valid Ed25519 public key")]
    Point {
        /// Kind that was expected, in words.
        kind: &'static str,
    },
}

fn crc16(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

fn encode(head: &[u8], key: &[u8; 32]) -> Zeroizing<String> {
    let mut raw = Zeroizing::new(Vec::with_capacity(36));
    raw.extend_from_slice(head);
    raw.extend_from_slice(key);
    let crc = crc16(&raw);
    raw.extend_from_slice(&crc.to_le_bytes());
    Zeroizing::new(BASE32_NOPAD.encode(&raw))
}

/// Checks length and checksum; returns head and key.
fn decode(text: &str, expected: usize, kind: &'static str) -> Result<Zeroizing<Vec<u8>>, NkeyError> {
    if text.len() != expected {
        return Err(NkeyError::Length { kind, length: text.len(), expected });
    }
    let mut raw =
        Zeroizing::new(BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| NkeyError::Damaged { kind })?);
    let body = raw.len() - 2;
    if crc16(&raw[..body]).to_le_bytes() != raw[body..] {
        return Err(NkeyError::Damaged { kind });
    }
    raw.truncate(body);
    Ok(raw)
}

macro_rules! public_key {
    ($(#[$doc:meta])* $type:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The key's text form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether `signature` is this key's over `message`.
            #[must_use]
            pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
                verify(&self.0, message, signature)
            }
        }

        impl FromStr for $type {
            type Err = NkeyError;

            fn from_str(text: &str) -> Result<Self, NkeyError> {
                check_public(text, $kind)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

public_key!(
    /// Public operator nkey, `O` and 55 characters.
    OperatorPublicKey,
    NkeyKind::Operator
);
public_key!(
    /// Public account nkey, `A` and 55 characters.
    AccountPublicKey,
    NkeyKind::Account
);
public_key!(
    /// Public user nkey, `U` and 55 characters.
    UserPublicKey,
    NkeyKind::User
);

fn check_public(text: &str, kind: NkeyKind) -> Result<(), NkeyError> {
    let word = kind.word();
    let raw = decode(text, PUBLIC_LEN, word)?;
    if raw[0] != kind.prefix() {
        return Err(NkeyError::Kind { kind: word });
    }
    point(&raw[1..]).map(|_| ()).ok_or(NkeyError::Point { kind: word })
}

fn point(bytes: &[u8]) -> Option<VerifyingKey> {
    bytes.try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok())
}

fn verify(text: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    let raw = decode(text, PUBLIC_LEN, "public").expect("the type only holds checked keys");
    let key = point(&raw[1..]).expect("the type only holds checked keys");
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// A secret nkey, wiped on drop.
#[derive(Clone)]
pub struct Nkey {
    kind: NkeyKind,
    key: SigningKey,
}

impl Nkey {
    /// The key of a 32-byte Ed25519 seed.
    #[must_use]
    pub fn from_seed_bytes(kind: NkeyKind, seed: &[u8; 32]) -> Self {
        Self { kind, key: SigningKey::from_bytes(seed) }
    }

    /// Reads the text form `SO...`, `SA...` or `SU...`.
    ///
    /// # Errors
    /// When the text is no seed, damaged, or a seed of another kind.
    pub fn from_seed(kind: NkeyKind, text: &str) -> Result<Self, NkeyError> {
        let word = kind.word();
        let raw = decode(text, SEED_LEN, word)?;
        let found = ((raw[0] & 7) << 5) | (raw[1] >> 3);
        if raw[0] & 0xf8 != PREFIX_SEED || found != kind.prefix() {
            return Err(NkeyError::Kind { kind: word });
        }
        let mut seed = Zeroizing::new([0_u8; 32]);
        seed.copy_from_slice(&raw[2..]);
        Ok(Self::from_seed_bytes(kind, &seed))
    }

    /// The seed's text form. A secret.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<String> {
        let prefix = self.kind.prefix();
        let seed = Zeroizing::new(self.key.to_bytes());
        encode(&[PREFIX_SEED | (prefix >> 5), (prefix & 31) << 3], &seed)
    }

    /// The public half's text form.
    #[must_use]
    pub fn public_text(&self) -> String {
        encode(&[self.kind.prefix()], self.key.verifying_key().as_bytes()).as_str().to_owned()
    }

    /// Ed25519 signature; deterministic.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    pub(crate) fn operator(&self) -> OperatorPublicKey {
        debug_assert_eq!(self.kind, NkeyKind::Operator);
        OperatorPublicKey(self.public_text())
    }

    pub(crate) fn account(&self) -> AccountPublicKey {
        debug_assert_eq!(self.kind, NkeyKind::Account);
        AccountPublicKey(self.public_text())
    }

    pub(crate) fn user(&self) -> UserPublicKey {
        debug_assert_eq!(self.kind, NkeyKind::User);
        UserPublicKey(self.public_text())
    }
}

impl fmt::Debug for Nkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nkey({} {}, seed redacted)", self.kind.word(), self.public_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_agree_with_the_nkeys_crate() {
        let kinds = [
            (NkeyKind::Operator, nkeys::KeyPairType::Operator),
            (NkeyKind::Account, nkeys::KeyPairType::Account),
            (NkeyKind::User, nkeys::KeyPairType::User),
        ];
        for (kind, theirs) in kinds {
            for fill in [1_u8, 77, 255] {
                let ours = Nkey::from_seed_bytes(kind, &[fill; 32]);
                let theirs = nkeys::KeyPair::new_from_raw(theirs.clone(), [fill; 32]).unwrap();
                assert_eq!(ours.public_text(), theirs.public_key());
                assert_eq!(*ours.seed(), theirs.seed().unwrap());
                assert_eq!(ours.sign(b"nonce").to_vec(), theirs.sign(b"nonce").unwrap());
                assert_eq!(Nkey::from_seed(kind, &ours.seed()).unwrap().public_text(), ours.public_text());
            }
        }
    }

    #[test]
    fn wrong_kinds_and_damage_are_refused_without_showing_the_text() {
        let account = Nkey::from_seed_bytes(NkeyKind::Account, &[9; 32]);
        let text = account.public_text();
        assert_eq!(
            text.parse::<UserPublicKey>().unwrap_err().to_string(),
            "key is an nkey of another kind, not of kind `user`"
        );
        let damaged = format!("{}{}", &text[..55], if text.ends_with('A') { 'B' } else { 'A' });
        assert_eq!(
            damaged.parse::<AccountPublicKey>().unwrap_err().to_string(),
            "account key is damaged: its encoding or checksum is wrong"
        );
        let seed = account.seed();
        let error = seed.parse::<AccountPublicKey>().unwrap_err().to_string();
        assert_eq!(error, "account key has 58 characters, it needs 56");
        assert!(Nkey::from_seed(NkeyKind::User, &seed).is_err());
        assert!(!format!("{account:?}").contains(seed.as_str()));
    }

    #[test]
    fn signatures_bind_message_and_key() {
        let key = Nkey::from_seed_bytes(NkeyKind::User, &[3; 32]);
        let signature = key.sign(b"one");
        assert!(key.user().verify(b"one", &signature));
        assert!(!key.user().verify(b"two", &signature));
        assert!(!Nkey::from_seed_bytes(NkeyKind::User, &[4; 32]).user().verify(b"one", &signature));
    }
}
