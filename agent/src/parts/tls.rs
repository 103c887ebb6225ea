//! The host's certificate: minted here, under the issuer that the authority signed, for the host's one leaf key.
//!
//! The newest leaf is kept beside the renditions, with the issuer, CA and names it was made from, so that a rollback
//! of the configuration keeps it. One leaf serves nats-server and the agent's own listener.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use host_state::document::HostTls;
use host_state::report::CertificateStatus;
use identity::{
    CertificateInfo, CertificateInfoError, CertificatePem, CertificatePemError, HostName, HostNames,
    HostSecret, IssueError, LeafPem, certificate_info, mint_leaf,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::applier::files::FileError;
use crate::applier::ledger::{Kept, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects};

/// Life of a leaf; renewed at one third.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// File of the newest leaf, below the state directory. Holds no key.
pub const LEAF_FILE: &str = "leaf.json";

/// What a leaf is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Material {
    /// The host's issuer.
    pub issuer: CertificatePem,
    /// CA certificates that peers are verified by, PEM.
    pub host_ca: String,
    /// Names and addresses of the host.
    pub names: HostNames,
}

/// A leaf and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// What it was made from.
    pub material: Material,
    /// The leaf itself.
    pub certificate: CertificatePem,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The issuer in a document.
    #[error("the issuer certificate cannot be read")]
    IssuerPem(#[source] CertificatePemError),
    /// The host's name in a document.
    #[error("the host name cannot stand in a certificate")]
    Name(#[source] identity::NameError),
    /// The issuer is not one of the host CA.
    #[error("the issuer certificate is not signed by the host CA")]
    NotOurs,
    /// A certificate that says nothing.
    #[error("a certificate cannot be read")]
    Info(#[source] CertificateInfoError),
    /// Minting.
    #[error("no certificate can be made under the issuer")]
    Mint(#[source] IssueError),
    /// Keeping it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kept one.
    #[error("`{LEAF_FILE}` cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl Material {
    /// What a document asks of the host's certificate.
    ///
    /// # Errors
    /// When issuer or name cannot be read, or the issuer is not signed by the CA beside it.
    pub fn of(host: &str, tls: &HostTls) -> Result<Material, LeafError> {
        let HostTls { issuer, host_ca, fleet_ca: _, dns_names, addresses } = tls;
        let issuer: CertificatePem = issuer.parse().map_err(LeafError::IssuerPem)?;
        let host: HostName = host.parse().map_err(LeafError::Name)?;
        let dns: BTreeSet<String> = dns_names.iter().filter(|name| *name != host.as_str()).cloned().collect();
        let material = Material {
            issuer,
            host_ca: host_ca.clone(),
            names: HostNames { host, dns, ips: addresses.clone() },
        };
        material.verify()?;
        Ok(material)
    }

    /// Checks that the issuer is signed by one of the CA certificates beside it.
    ///
    /// # Errors
    /// [`LeafError::NotOurs`] when it is not.
    pub fn verify(&self) -> Result<(), LeafError> {
        let (_, issuer) =
            x509_parser::parse_x509_certificate(self.issuer.der()).map_err(|_| LeafError::NotOurs)?;
        let authorities = x509_parser::pem::Pem::iter_from_buffer(self.host_ca.as_bytes());
        let is_signed = authorities.filter_map(Result::ok).any(|pem| {
            pem.parse_x509().is_ok_and(|ca| {
                ca.is_ca()
                    && ca.subject() == issuer.issuer()
                    && issuer.verify_signature(Some(ca.public_key())).is_ok()
            })
        });
        if is_signed { Ok(()) } else { Err(LeafError::NotOurs) }
    }

    /// Mints a leaf, valid from now.
    ///
    /// # Errors
    /// When the issuer is for another key, has ended, or does not permit a name.
    pub fn mint(self, secret: &HostSecret, now: OffsetDateTime) -> Result<Leaf, LeafError> {
        let LeafPem { leaf, issuer: _ } =
            mint_leaf(secret, &self.issuer, &self.names, now, LEAF_VALIDITY).map_err(LeafError::Mint)?;
        Ok(Leaf { material: self, certificate: leaf })
    }
}

impl Leaf {
    /// The newest leaf, as kept; `None` before the first.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(state_dir: &Path) -> Result<Option<Leaf>, LeafError> {
        match read_checked(&state_dir.join(LEAF_FILE)) {
            Kept::Missing => Ok(None),
            Kept::Valid(leaf) => Ok(Some(leaf)),
            Kept::Unreadable { reason } => Err(LeafError::Unreadable { reason }),
        }
    }

    /// Keeps this leaf as the newest. May be repeated.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, effects: &Effects, state_dir: &Path) -> Result<(), LeafError> {
        Ok(write_checked(effects, Effect::WriteLeaf, &state_dir.join(LEAF_FILE), self)?)
    }

    /// Leaf and issuer, PEM, as a server's `cert_file` holds them.
    #[must_use]
    pub fn chain(&self) -> String {
        format!("{}{}", self.certificate.as_str(), self.material.issuer.as_str())
    }

    /// SHA-256 of the leaf's DER, 64 lower-case hex digits: what a listener must be seen to serve.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(self.certificate.der()))
    }

    /// What the leaf says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn info(&self) -> Result<CertificateInfo, LeafError> {
        certificate_info(self.certificate.as_str()).map_err(LeafError::Info)
    }

    /// Whether a new one should be minted under the same issuer: one third of its life is over and a new one would
    /// live longer.
    ///
    /// # Errors
    /// When leaf or issuer cannot be read.
    pub fn is_due(&self, now: OffsetDateTime) -> Result<bool, LeafError> {
        let (leaf, issuer) =
            (self.info()?, certificate_info(self.material.issuer.as_str()).map_err(LeafError::Info)?);
        Ok(now >= leaf.renew_at() && leaf.not_after < issuer.not_after && now < issuer.not_after)
    }
}

/// A certificate for a report.
///
/// # Errors
/// When it cannot be read.
pub fn status(pem: &str) -> Result<CertificateStatus, LeafError> {
    let info = certificate_info(pem).map_err(LeafError::Info)?;
    Ok(CertificateStatus {
        not_before: info.not_before.unix_timestamp(),
        not_after: info.not_after.unix_timestamp(),
        renew_at: info.renew_at().unix_timestamp(),
        serial: info.serial,
    })
}
