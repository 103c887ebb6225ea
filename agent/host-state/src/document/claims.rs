//! The `claims` section: every account of an authority, signed once and the same on every host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Section, SectionKind};

/// Accounts and their JWTs, all public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimsSection {
    /// By account public key (`A...`). System and probe account stand in each server's configuration, and here as well once
    /// users of lost hosts are revoked in them.
    pub accounts: BTreeMap<String, ClaimEntry>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimEntry {
    /// The account's name.
    pub name: String,
    /// The account JWT, operator-signed. For a tombstone it allows no connection and revokes every user.
    pub jwt: String,
    /// Seconds since 1970 of the JWT's `iat`; strictly increases per account.
    pub issued_at: i64,
    /// True when the account was deleted: kept so that a server that was away cannot bring it back.
    pub tombstone: bool,
    /// What the person declared that no JWT can hold, in the provider's own words, so that an import finds it again.
    /// Null when there is nothing; agents read nothing in it.
    pub declared: serde_json::Value,
}

impl Section for ClaimsSection {
    const KIND: SectionKind = SectionKind::Claims;
}
