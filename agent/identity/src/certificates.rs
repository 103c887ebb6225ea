//! X.509 certificates: the two CAs, hosts' issuers, leaves and callers' certificates.
//!
//! Everything is P-256 with RFC 6979 signatures: the same inputs give the same bytes.

mod caller_pem;
mod client;
mod host;
mod info;
mod pem;
mod role;
mod roots;
mod template;

pub use caller_pem::{CallerPem, CallerPemError};
pub use client::{ClientCertificateError, ClientIdentity};
pub use host::{HostNames, HostNamesProblem, IssueError, LeafPem, MAX_HOST_NAMES, mint_leaf};
pub use info::{CertificateInfo, CertificateInfoError, certificate_info, spki_pin};
pub use pem::{CertificatePem, CertificatePemError, MAX_PEM_LEN};
pub use role::{CertificateAuthority, Role, RoleError, caller_role, role_of};

pub(crate) use client::client_certificate;
pub(crate) use host::{direct_leaf, issuer};
pub(crate) use roots::{Root, fleet_ca, host_ca};
