//! The lease that keeps two applies apart: one holder, a short life, renewed while it works.
//!
//! Times are milliseconds of any clock that the caller keeps to; this module only compares them. A lease that
//! seems to live longer than [`MAX_TTL_MS`] from now is cut to that, so that a clock set back cannot lock a host.

use serde::{Deserialize, Serialize};

/// Life that is granted when none is asked for.
pub const DEFAULT_TTL_MS: u32 = 30_000;
/// Longest life that is granted at once.
pub const MAX_TTL_MS: u32 = 60_000;

/// Who may change hosts now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Chosen by the holder once per process, 32 lower-case hex digits.
    pub lease_id: String,
    /// Who it is, for the message that others get.
    pub holder: String,
    /// When it ends, in milliseconds.
    pub expires_ms: u64,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// See [`Lease::lease_id`].
    pub lease_id: String,
    /// See [`Lease::holder`].
    pub holder: String,
    /// Get, keep or give back.
    pub action: LeaseAction,
    /// Wanted life in milliseconds; 0 asks for [`DEFAULT_TTL_MS`], more than [`MAX_TTL_MS`] is cut to it.
    pub ttl_ms: u32,
}

/// See [`Wish::action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAction {
    /// Get it; also by who holds it already.
    Acquire,
    /// Keep it. Refused when it ran out, so that the holder learns that there was a gap.
    Renew,
    /// Give it back; a no-op for who does not hold it.
    Release,
}

/// What the asker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Whether the asker holds it now.
    pub granted: bool,
    /// Who holds it; empty when nobody does.
    pub holder: String,
    /// Milliseconds until it ends; 0 when nobody holds it.
    pub remaining_ms: u32,
}

/// The lease afterwards, and what the asker is told.
pub fn decide(current: Option<&Lease>, wish: &Wish, now_ms: u64) -> (Option<Lease>, LeaseAnswer) {
    let held = live(current, now_ms);
    let is_own = held.as_ref().is_some_and(|lease| lease.lease_id == wish.lease_id);
    let after = match wish.action {
        LeaseAction::Acquire if is_own || held.is_none() => Some(granted(wish, now_ms)),
        LeaseAction::Renew if is_own => Some(granted(wish, now_ms)),
        LeaseAction::Release if is_own => None,
        LeaseAction::Acquire | LeaseAction::Renew | LeaseAction::Release => held,
    };
    let answer = answer(after.as_ref(), &wish.lease_id, now_ms);
    (after, answer)
}

/// Whether `lease_id` holds the lease at `now_ms`.
pub fn is_held_by(current: Option<&Lease>, lease_id: &str, now_ms: u64) -> bool {
    live(current, now_ms).is_some_and(|lease| lease.lease_id == lease_id)
}

/// The lease when it has not run out, its end cut to the longest life.
fn live(current: Option<&Lease>, now_ms: u64) -> Option<Lease> {
    let lease = current.filter(|lease| lease.expires_ms > now_ms)?;
    let expires_ms = lease.expires_ms.min(now_ms.saturating_add(MAX_TTL_MS.into()));
    Some(Lease { expires_ms, ..lease.clone() })
}

fn granted(wish: &Wish, now_ms: u64) -> Lease {
    let ttl_ms = if wish.ttl_ms == 0 { DEFAULT_TTL_MS } else { wish.ttl_ms.min(MAX_TTL_MS) };
    Lease {
        lease_id: wish.lease_id.clone(),
        holder: wish.holder.clone(),
        expires_ms: now_ms.saturating_add(ttl_ms.into()),
    }
}

fn answer(after: Option<&Lease>, lease_id: &str, now_ms: u64) -> LeaseAnswer {
    let Some(lease) = after else {
        return LeaseAnswer { granted: false, holder: String::new(), remaining_ms: 0 };
    };
    let remaining = lease.expires_ms.saturating_sub(now_ms).min(MAX_TTL_MS.into());
    LeaseAnswer {
        granted: lease.lease_id == lease_id,
        holder: lease.holder.clone(),
        remaining_ms: u32::try_from(remaining).unwrap_or(MAX_TTL_MS),
    }
}

#[cfg(test)]
mod tests;
