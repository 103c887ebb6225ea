//! Operator mode: whom a server believes, and where it keeps the claims of accounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::NatsDuration;

/// Operator mode. Everything in it is public: JWTs are signed statements, not secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorTrust {
    /// The operator's JWT itself, never a file name.
    pub operator_jwt: String,
    /// Public key of the system account: `A` and 55 more letters and digits of base32.
    pub system_account: String,
    /// Where claims of accounts are kept.
    pub resolver: FullResolver,
    /// Account public key to account JWT, for accounts that must be known at the first start. Holds the system
    /// account.
    pub preload: BTreeMap<String, String>,
}

/// The resolver that keeps every account's claim on each server's own disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullResolver {
    /// Directory of the claims, one server's own. The server, and `nats-server -t` too, creates it.
    pub dir: String,
    /// Whether claims can be deleted through the system account.
    pub allow_delete: bool,
    /// How often servers compare their claims; the server's default is `1m`.
    pub interval: NatsDuration,
    /// How long a server asks its peers for a claim.
    pub timeout: NatsDuration,
    /// Most claims kept; at least one.
    pub limit: u64,
}
