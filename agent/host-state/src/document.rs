//! Signed documents: a host's desired state, made of sections with one owner and one generation each.
//!
//! A section travels as canonical JSON text, because that text is what is hashed and signed; it is parsed
//! once, here, and refused whole when it holds anything unknown. Signing and verifying are the callers'
//! (`identity` holds keys); this module only says which bytes are signed.

mod claims;
mod cluster;
mod gateway;

pub use claims::{ClaimEntry, ClaimsSection};
pub use cluster::{
    AgentUsers, BinarySource, ClusterSection, FirewallIntent, HostTls, OnDrift, Peer, PeerUsers, Profile,
    Release, ServerBinary, StoreIdentity, StoreSpec,
};
pub use gateway::{GatewayHost, GatewaySection};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// Which part of a host's document a section is. One owner each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionKind {
    /// Owned by one `nats_cluster`: server, configuration, certificates, store.
    Cluster,
    /// Owned by one `nats_gateway`: the other clusters, pins between them, the release.
    Gateway,
    /// Owned by the authority: accounts and their JWTs. The same text on every host.
    Claims,
}

impl SectionKind {
    /// The word used in paths, messages and ledger file names.
    pub fn as_str(self) -> &'static str {
        match self {
            SectionKind::Cluster => "cluster",
            SectionKind::Gateway => "gateway",
            SectionKind::Claims => "claims",
        }
    }
}

impl std::fmt::Display for SectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a section's body text, as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(String);

impl ContentHash {
    /// The hash of `body`.
    pub fn of(body: &str) -> ContentHash {
        ContentHash(data_encoding::HEXLOWER.encode(&Sha256::digest(body.as_bytes())))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContentHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(ContentHash(text))
        } else {
            Err(format!(
                "a content hash is 64 lower-case hex digits, found {} characters",
                text.chars().count()
            ))
        }
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        hash.0
    }
}

/// What a section says of itself. Everything here is signed together with the content hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionHeader {
    /// Operator public key (`O...`) of the authority that signed.
    pub authority: String,
    /// Which section.
    pub section: SectionKind,
    /// The Terraform object that owns the section, like `nats_cluster/east`; for claims `nats_authority/acme`.
    pub owner: String,
    /// The host it is for; absent exactly for `claims`, which every host of the authority takes.
    pub host: Option<String>,
    /// The claim it is bound to, so that a re-enrolled host takes nothing that was signed before; absent exactly for `claims`.
    pub claim_id: Option<String>,
    /// Counts up from 1 for each owner and host.
    pub generation: u64,
    /// Content hash of the generation this one was made from; absent only when nothing came before.
    pub parent: Option<ContentHash>,
    /// Hash of the body.
    pub content: ContentHash,
    /// Which document key signed, from 1.
    pub document_key: u32,
    /// Who wrote it, for the message that a losing writer gets, like `ci@runner-7 (run 3f2a)`. No secret.
    pub writer: String,
}

/// A section as it travels and as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedSection {
    /// What it says of itself.
    pub header: SectionHeader,
    /// Canonical JSON of a [`ClusterSection`], [`GatewaySection`] or [`ClaimsSection`].
    pub body: String,
    /// Ed25519 over [`SectionHeader::signed_bytes`], base64 with padding.
    pub signature: String,
}

/// The domain that a document key signs section headers under, so that no other signature can pass for one.
pub const SECTION_DOMAIN: &str = "nats-agent/section/v1";

/// Largest body accepted, in bytes. 5,000 users over 200 accounts need about 2 MiB of claims.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

impl SectionHeader {
    /// The bytes that are signed: this header as canonical JSON. It holds the content hash, so the body is covered.
    pub fn signed_bytes(&self) -> Vec<u8> {
        canonical(self).into_bytes()
    }
}

/// JSON with sorted keys and no white space: one text for one value.
pub fn canonical<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("document types hold only string-keyed maps");
    value.to_string()
}

/// Why a body was refused.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Larger than [`MAX_BODY_BYTES`].
    #[error("the `{section}` section has {found} bytes, at most {MAX_BODY_BYTES} are accepted")]
    TooLarge {
        /// Which section.
        section: SectionKind,
        /// Its size in bytes.
        found: usize,
    },
    /// The header's hash is not that of the body.
    #[error("the `{section}` section's content hash is `{said}` in its header and `{found}` in its body")]
    Hash {
        /// Which section.
        section: SectionKind,
        /// Hash in the header.
        said: ContentHash,
        /// Hash of the body.
        found: ContentHash,
    },
    /// Not the JSON of such a section.
    #[error("the `{section}` section cannot be read")]
    Body {
        /// Which section.
        section: SectionKind,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A cluster section was asked for and another came, or the like.
    #[error("expected a `{expected}` section, found `{found}`")]
    Kind {
        /// What was asked for.
        expected: SectionKind,
        /// What came.
        found: SectionKind,
    },
}

/// A body type that belongs to one section.
pub trait Section: Serialize + DeserializeOwned {
    /// Which section this is the body of.
    const KIND: SectionKind;
}

impl SignedSection {
    /// Parses the body, after checking its size and hash. Does not check the signature.
    ///
    /// # Errors
    /// [`ParseError`], naming the section.
    pub fn body<T: Section>(&self) -> Result<T, ParseError> {
        let section = self.header.section;
        if section != T::KIND {
            return Err(ParseError::Kind { expected: T::KIND, found: section });
        }
        if self.body.len() > MAX_BODY_BYTES {
            return Err(ParseError::TooLarge { section, found: self.body.len() });
        }
        let found = ContentHash::of(&self.body);
        if found != self.header.content {
            return Err(ParseError::Hash { section, said: self.header.content.clone(), found });
        }
        serde_json::from_str(&self.body).map_err(|source| ParseError::Body { section, source })
    }
}
