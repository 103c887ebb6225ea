//! One account's change joined with the newest claims section, so that two writers of different accounts both win.
//!
//! Tombstones are entries like any other and stay for ever: they are what keeps a server that was away from
//! bringing an account back.

use crate::document::{ClaimEntry, ClaimsSection};

/// The new entry of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimChange {
    /// Account public key (`A...`).
    pub account: String,
    /// What it becomes.
    pub entry: ClaimEntry,
}

/// Why a change cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Servers keep the JWT with the newest `iat`, so one that is not newer would never arrive everywhere.
    #[error(
        "the JWT of account `{account}` was issued at {found}, not after {current} of the one it replaces"
    )]
    NotNewer {
        /// The account's name.
        account: String,
        /// `iat` of what is there.
        current: i64,
        /// `iat` of what came.
        found: i64,
    },
}

/// `current` with one entry replaced or added, every other one as it was. The same entry again changes nothing.
///
/// # Errors
/// [`MergeError::NotNewer`] when the `iat` does not strictly increase.
pub fn merge_claims(
    current: Option<&ClaimsSection>,
    change: ClaimChange,
) -> Result<ClaimsSection, MergeError> {
    let ClaimChange { account, entry } = change;
    let mut accounts = current.map(|section| section.accounts.clone()).unwrap_or_default();
    if let Some(before) = accounts.get(&account)
        && *before != entry
        && before.issued_at >= entry.issued_at
    {
        let (current, found) = (before.issued_at, entry.issued_at);
        return Err(MergeError::NotNewer { account: entry.name, current, found });
    }
    accounts.insert(account, entry);
    Ok(ClaimsSection { accounts })
}

/// The `iat` that the next JWT of `account` is to carry: now, or one second after the last one where clocks differ.
pub fn next_issued_at(current: Option<&ClaimsSection>, account: &str, now: i64) -> i64 {
    let last = current.and_then(|section| section.accounts.get(account)).map(|entry| entry.issued_at);
    last.map_or(now, |last| now.max(last.saturating_add(1)))
}

#[cfg(test)]
mod tests;
