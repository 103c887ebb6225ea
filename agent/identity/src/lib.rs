//! One root key to everything: authority, operator, accounts, users, certificates.
//!
//! Pure: no files, processes, clock or randomness. Times and random seeds are arguments, and equal inputs sign equal
//! bytes, so everything public can be planned, compared and derived again.
//!
#![doc = include_str!("../key-derivation.md")]
//!
//! # Certificates
//! Two CAs: the *fleet CA* signs callers (operator, reader, account), the *host CA* signs hosts' issuers. Agents verify
//! callers by the fleet CA only, so no host can mint a caller whatever its issuer signs. A role is believed only
//! together with the CA that verified it: [`caller_role`].
//!
//! # Current limitations
//! - Accounts have no imports, exports, subject mappings, tiered limits or cluster traffic setting; JWTs that hold any
//!   are refused rather than cut.
//! - The root key itself cannot be rotated while identities stay: that needs identities from one root and signing keys
//!   from another.
//! - Certificates carry no wildcard names.
//! - Trust overlaps two generations of a key; an account JWT signed three generations ago must be signed anew first.

mod account_jwt;
mod account_key;
mod accounts;
mod authority;
mod certificates;
mod derivation;
mod document;
mod enrollment;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod host_keys;
mod jwt;
mod names;
mod nkey;
mod p256_key;
mod root_key;
mod secret_text;
mod trust;
mod users;
#[cfg(test)]
mod vectors;

pub use account_jwt::{DecodeAccountError, DecodedAccount, EncodeAccountError, decode_account};
pub use account_key::{AccountKey, AccountKeyError, MAX_ACCOUNT_KEY_LEN};
pub use accounts::{
    AccountClaims, AccountLimits, ClaimsProblem, ConnectionType, JetStreamLimits, MAX_32_BIT_LIMIT,
    ResponsePermission, Revoked, SubjectPermissions, UserScope, UserTemplate,
};
pub use authority::{AUTHORITY_ISSUED_AT, AdminUserError, Authority, DeriveError, MAX_ADMIN_MINUTES};
pub use certificates::{
    CallerPem, CallerPemError, CertificateAuthority, CertificateInfo, CertificateInfoError, CertificatePem,
    CertificatePemError, ClientCertificateError, ClientIdentity, HostNames, HostNamesProblem, IssueError,
    LeafPem, MAX_HOST_NAMES, MAX_PEM_LEN, Role, RoleError, caller_role, certificate_info, mint_leaf, role_of,
    spki_pin,
};
pub use derivation::{DERIVATION_PREFIX, Purpose};
pub use document::{DocumentKey, DocumentKeyError, DocumentPublicKey};
pub use enrollment::{
    ClaimSide, Enrollment, EnrollmentError, EnrollmentToken, MAX_ENROLLMENT_LEN, claim_proof,
    verify_claim_proof,
};
pub use host_keys::{
    HostKeys, HostSecret, HostSecretError, HostSeeds, MAX_HOST_SECRET_LEN, PublicKeyInfo, PublicKeyInfoError,
};
pub use jwt::{Jwt, JwtError, MAX_JWT_LEN};
pub use names::{
    AccountName, AuthorityName, HostName, NameError, PROBE_ACCOUNT, RESERVED_ACCOUNTS, SYSTEM_ACCOUNT,
    UserName,
};
pub use nkey::{AccountPublicKey, Nkey, NkeyError, NkeyKind, OperatorPublicKey, UserPublicKey};
pub use root_key::{ROOT_KEY_LEN, RootKey, RootKeyError};
pub use trust::{Generations, Trust};
pub use users::{
    AdminPurpose, AdminUser, Credentials, CredentialsError, MONITOR_ENDPOINTS, PROBE_SUBJECTS, UserIssuer,
    is_monitoring, user_issuer,
};
