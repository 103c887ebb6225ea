//! One root key to everything: authority, operator, accounts, users, certificates.
//!
//! Pure: no files, processes, clock or randomness. Times and random seeds are arguments, and equal inputs sign equal
//! bytes, so everything public can be planned, compared and derived again.
//!
//! # Keys
//! Secrets derive by HKDF-SHA256: `PRK = Extract(salt = "nats-authority/v1", root key)`,
//! `secret = Expand(PRK, info, 32)` with `info = "nats-authority/v1/" authority "/" path`. No name may hold `/`.
//!
//! | path | makes | lives |
//! |---|---|---|
//! | `operator-identity` | operator nkey | for ever |
//! | `system-account-identity` | system account nkey | for ever: it names directories on disk |
//! | `probe-account-identity` | probe account nkey | for ever |
//! | `account-identity/<account>` | account nkey | for ever: it names directories on disk |
//! | `operator-signing/<generation>` | operator signing nkey | rotates |
//! | `system-account-signing/<generation>` | account nkey that signs the system account's users | rotates |
//! | `probe-account-signing/<generation>` | account nkey that signs the probe account's users | rotates |
//! | `account-signing/<account>/<generation>` | account nkey that signs unscoped users | rotates |
//! | `user-scope/<account>/<user>/<generation>` | account nkey that signs one user's credentials | rotates |
//! | `fleet-ca/<generation>` | P-256 key of the CA for callers | rotates |
//! | `host-ca/<generation>` | P-256 key of the CA for hosts' issuers | rotates |
//! | `document/<generation>` | Ed25519 key that signs documents | rotates |
//! | `enrollment/<host>/<generation>` | one-time token | until the host is claimed |
//!
//! An nkey's secret is its Ed25519 seed. A P-256 key appends `/p256/<attempt>` to its info, attempt counting from 0
//! until the 32 bytes (big-endian) are a valid scalar. `tests/golden/vectors.json` holds test vectors.
//!
//! # Certificates
//! Two CAs: the *fleet CA* signs callers (operator, reader, account), the *host CA* signs hosts' issuers. Agents verify
//! callers by the fleet CA only, so no host can mint a caller whatever its issuer signs.
//!
//! # Current limitations
//! - Accounts have no imports, exports, subject mappings, tiered limits or cluster traffic setting; JWTs that hold any
//!   are refused rather than cut.
//! - The root key itself cannot be rotated while identities stay: that needs identities from one root and signing keys
//!   from another.
//! - Trust overlaps two generations of a key; an account JWT signed three generations ago must be signed anew first.

mod account_jwt;
mod accounts;
mod authority;
mod certificates;
mod derivation;
mod document;
mod enrollment;
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
pub use accounts::{
    AccountClaims, AccountLimits, ClaimsProblem, ConnectionType, JetStreamLimits, MAX_32_BIT_LIMIT,
    ResponsePermission, Revoked, SubjectPermissions, UserScope, UserTemplate,
};
pub use authority::{AUTHORITY_ISSUED_AT, AdminUserError, Authority, DeriveError, MAX_ADMIN_MINUTES};
pub use certificates::{
    CertificateAuthority, CertificateInfo, CertificateInfoError, CertificatePem, CertificatePemError,
    ClientCertificateError, ClientIdentity, HostNames, HostNamesProblem, IssueError, LeafPem, MAX_HOST_NAMES,
    MAX_PEM_LEN, Role, RoleError, caller_role, certificate_info, mint_leaf, role_of, spki_pin,
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
pub use users::{AdminPurpose, AdminUser, Credentials, CredentialsError, MONITOR_ENDPOINTS, PROBE_SUBJECTS};
