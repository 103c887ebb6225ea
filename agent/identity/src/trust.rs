//! The public half of an authority: everything a host, a plan or a reader may know.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::certificates::CertificatePem;
use crate::document::DocumentPublicKey;
use crate::jwt::Jwt;
use crate::names::AuthorityName;
use crate::nkey::{AccountPublicKey, OperatorPublicKey};

/// Which generation of each rotating key signs. Counting starts at 1.
///
/// While a key's generation is above 1 the one before it is still trusted, which is the overlap of a rotation: two
/// rotations in a row end the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generations {
    /// Keys that sign account JWTs.
    pub operator_signing: u32,
    /// Keys that sign users of accounts without a scope.
    pub account_signing: u32,
    /// CA that vouches for callers of agents.
    pub fleet_ca: u32,
    /// CA that vouches for hosts' issuers.
    pub host_ca: u32,
    /// Key that signs documents.
    pub document: u32,
}

impl Generations {
    /// The generations before these, which are trusted together with them: what they sign is good before, during and
    /// after the rotation to these. The first of a key is its own.
    #[must_use]
    pub fn previous(self) -> Self {
        let previous = |generation: u32| generation.saturating_sub(1).max(1);
        let Self { operator_signing, account_signing, fleet_ca, host_ca, document } = self;
        Self {
            operator_signing: previous(operator_signing),
            account_signing: previous(account_signing),
            fleet_ca: previous(fleet_ca),
            host_ca: previous(host_ca),
            document: previous(document),
        }
    }
}

impl Default for Generations {
    /// The first generation of everything.
    fn default() -> Self {
        Self { operator_signing: 1, account_signing: 1, fleet_ca: 1, host_ca: 1, document: 1 }
    }
}

/// All public facts of an authority. A pure function of root key, name and generations: deriving it again gives the
/// same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The authority's name.
    pub authority: AuthorityName,
    /// Which keys sign now.
    pub generations: Generations,
    /// Operator identity, for ever the same.
    pub operator: OperatorPublicKey,
    /// Operator signing keys, current and previous.
    pub operator_signing_keys: BTreeSet<OperatorPublicKey>,
    /// Operator JWT, signed by the operator identity.
    pub operator_jwt: Jwt,
    /// System account identity, for ever the same.
    pub system_account: AccountPublicKey,
    /// System account JWT.
    pub system_account_jwt: Jwt,
    /// Probe account identity, for ever the same.
    pub probe_account: AccountPublicKey,
    /// Probe account JWT.
    pub probe_account_jwt: Jwt,
    /// CA that vouches for callers of agents.
    pub fleet_ca: CertificatePem,
    /// The fleet CA of the generation before; absent at generation 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_fleet_ca: Option<CertificatePem>,
    /// CA that vouches for hosts' issuers, and so for every server certificate.
    pub host_ca: CertificatePem,
    /// The host CA of the generation before; absent at generation 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_host_ca: Option<CertificatePem>,
    /// Key that documents verify with.
    pub document_key: DocumentPublicKey,
    /// The document key of the generation before; absent at generation 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_document_key: Option<DocumentPublicKey>,
}

impl Trust {
    /// PEM of the fleet CAs to accept callers by: current, then previous.
    #[must_use]
    pub fn fleet_ca_bundle(&self) -> String {
        bundle(&self.fleet_ca, self.previous_fleet_ca.as_ref())
    }

    /// PEM of the host CAs to accept servers by: current, then previous. This is the `ca_file` of nats-server and of
    /// clients.
    #[must_use]
    pub fn host_ca_bundle(&self) -> String {
        bundle(&self.host_ca, self.previous_host_ca.as_ref())
    }

    /// Whether `signature` over `message` in `domain` is the document key's, current or previous.
    #[must_use]
    pub fn verify_document(&self, domain: &str, message: &[u8], signature: &[u8; 64]) -> bool {
        let keys = std::iter::once(&self.document_key).chain(&self.previous_document_key);
        keys.into_iter().any(|key| key.verify(domain, message, signature))
    }
}

fn bundle(current: &CertificatePem, previous: Option<&CertificatePem>) -> String {
    std::iter::once(current).chain(previous).map(CertificatePem::as_str).collect()
}
