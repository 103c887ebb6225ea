//! From the root key to every other secret: HKDF-SHA256 with one published info string per purpose.
//!
//! `PRK = HKDF-Extract(salt = "nats-authority/v1", root key)`, then
//! `secret = HKDF-Expand(PRK, info, 32 bytes)` with
//! `info = "nats-authority/v1/" authority "/" purpose { "/" part }`. No part may hold `/` or be empty and each purpose
//! has a fixed number of parts, so no two purposes share a string. P-256 keys append `/p256/<attempt>`, attempt
//! counting from 0 until the 32 bytes are a valid scalar (the second attempt is needed once in 2^32).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::names::{AccountName, AuthorityName, HostName, UserName};
use crate::p256_key::P256Key;
use crate::root_key::RootKey;

/// Salt of the extract step and first part of every info string. A change makes another authority of the same root
/// key.
pub const DERIVATION_PREFIX: &str = "nats-authority/v1";

/// What a derived secret is for. One variant, one info string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Operator nkey, for ever.
    OperatorIdentity,
    /// System account nkey, for ever: it names directories on disk.
    SystemAccountIdentity,
    /// Probe account nkey, for ever.
    ProbeAccountIdentity,
    /// Account nkey, for ever: it names directories on disk.
    AccountIdentity(&'a AccountName),
    /// Operator signing nkey of a generation.
    OperatorSigning(u32),
    /// Signing nkey of the system account.
    SystemAccountSigning(u32),
    /// Signing nkey of the probe account.
    ProbeAccountSigning(u32),
    /// Signing nkey of an account.
    AccountSigning(&'a AccountName, u32),
    /// Account nkey that signs the credentials of one user, within that user's scope.
    UserScope(&'a AccountName, &'a UserName, u32),
    /// P-256 key of the CA for callers of agents.
    FleetCa(u32),
    /// P-256 key of the CA for hosts' issuers.
    HostCa(u32),
    /// Ed25519 key that signs documents.
    Document(u32),
    /// One-time token of one host's enrolment.
    Enrollment(&'a HostName, u32),
}

impl Purpose<'_> {
    /// The purpose's word and parts, after the authority's name.
    fn path(&self) -> String {
        match self {
            Self::OperatorIdentity => "operator-identity".to_owned(),
            Self::SystemAccountIdentity => "system-account-identity".to_owned(),
            Self::ProbeAccountIdentity => "probe-account-identity".to_owned(),
            Self::AccountIdentity(account) => format!("account-identity/{account}"),
            Self::OperatorSigning(generation) => format!("operator-signing/{generation}"),
            Self::SystemAccountSigning(generation) => format!("system-account-signing/{generation}"),
            Self::ProbeAccountSigning(generation) => format!("probe-account-signing/{generation}"),
            Self::AccountSigning(account, generation) => format!("account-signing/{account}/{generation}"),
            Self::UserScope(account, user, generation) => format!("user-scope/{account}/{user}/{generation}"),
            Self::FleetCa(generation) => format!("fleet-ca/{generation}"),
            Self::HostCa(generation) => format!("host-ca/{generation}"),
            Self::Document(generation) => format!("document/{generation}"),
            Self::Enrollment(host, generation) => format!("enrollment/{host}/{generation}"),
        }
    }

    /// The info string of the expand step.
    #[must_use]
    pub fn info(&self, authority: &AuthorityName) -> String {
        format!("{DERIVATION_PREFIX}/{authority}/{}", self.path())
    }
}

/// The extracted key of one authority.
pub(crate) struct Derivation {
    hkdf: Hkdf<Sha256>,
    authority: AuthorityName,
}

impl Derivation {
    pub(crate) fn new(root: &RootKey, authority: AuthorityName) -> Self {
        Self { hkdf: Hkdf::new(Some(DERIVATION_PREFIX.as_bytes()), root.expose()), authority }
    }

    /// 32 secret bytes for `purpose`.
    pub(crate) fn secret(&self, purpose: &Purpose<'_>) -> Zeroizing<[u8; 32]> {
        expand(&self.hkdf, &purpose.info(&self.authority))
    }

    /// The P-256 key for `purpose`.
    pub(crate) fn p256(&self, purpose: &Purpose<'_>) -> P256Key {
        p256_from(&self.hkdf, &purpose.info(&self.authority))
    }
}

fn expand(hkdf: &Hkdf<Sha256>, info: &str) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0_u8; 32]);
    hkdf.expand(info.as_bytes(), secret.as_mut())
        .expect("32 bytes are below the 8160 that HKDF-SHA256 can expand");
    secret
}

/// The first valid P-256 scalar in the series of `info`.
pub(crate) fn p256_from(hkdf: &Hkdf<Sha256>, info: &str) -> P256Key {
    (0_u32..=255)
        .find_map(|attempt| P256Key::from_scalar(&expand(hkdf, &format!("{info}/p256/{attempt}"))))
        .expect("256 independent draws, each invalid with probability 2^-32")
}
