//! The lease that keeps two applies apart, over restarts of the agent.

use std::path::Path;

use data_encoding::BASE64;
use host_state::lease::{self, Lease, LeaseAnswer, Wish};
use host_state::{document::canonical, layout};
use identity::Trust;

use super::files::{self, FileError};
use super::ledger::{Kept, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects};

/// The domain that a document key signs leases under.
pub(super) const LEASE_DOMAIN: &str = "nats-agent/lease/v1";

/// Whether `signature` (base64) by the document key says that `holder` may hold `lease_id`.
#[must_use]
pub(super) fn is_signed(trust: &Trust, lease_id: &str, holder: &str, signature: &str) -> bool {
    let bytes = BASE64.decode(signature.as_bytes()).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    bytes.is_some_and(|bytes| {
        trust.verify_document(LEASE_DOMAIN, canonical(&[lease_id, holder]).as_bytes(), &bytes)
    })
}

/// The lease as kept. One that cannot be read is none: it would have ended within a minute anyway.
#[must_use]
pub(super) fn current(state_dir: &Path) -> Option<Lease> {
    match read_checked(&state_dir.join(layout::LEASE_FILE)) {
        Kept::Valid(lease) => Some(lease),
        Kept::Missing | Kept::Unreadable { .. } => None,
    }
}

/// Grants, renews or ends the lease, durably.
///
/// # Errors
/// When the new lease cannot be kept; the old one then stands.
pub(super) fn decide(
    effects: &Effects,
    state_dir: &Path,
    wish: &Wish,
    now_ms: u64,
) -> Result<LeaseAnswer, FileError> {
    let before = current(state_dir);
    let (after, answer) = lease::decide(before.as_ref(), wish, now_ms);
    let path = state_dir.join(layout::LEASE_FILE);
    match &after {
        Some(lease) if after != before => write_checked(effects, Effect::WriteLease, &path, lease)?,
        None if before.is_some() => files::remove_file(effects, Effect::WriteLease, &path)?,
        Some(_) | None => {}
    }
    tell(before.as_ref(), after.as_ref(), now_ms);
    Ok(answer)
}

/// Logs who holds the lease when that has changed, and until when whoever held it before might have.
fn tell(before: Option<&Lease>, after: Option<&Lease>, now_ms: u64) {
    let holder = |lease: Option<&Lease>| lease.map(|lease| lease.lease_id.clone());
    if holder(before) == holder(after) {
        return;
    }
    let left_ms = before.map_or(0, |before| before.expires_ms.saturating_sub(now_ms));
    match (before, after) {
        (_, Some(Lease { lease_id, holder, .. })) => {
            tracing::info!(lease_id, holder, left_ms, "lease granted");
        }
        (Some(Lease { lease_id, holder, .. }), None) => {
            tracing::info!(lease_id, holder, left_ms, "lease ended");
        }
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use host_state::lease::LeaseAction;

    use super::*;

    #[test]
    fn a_lease_outlives_the_agent_and_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let ask = |id: &str, action, now| {
            let wish = Wish { lease_id: id.into(), holder: format!("run {id}"), action, ttl_ms: 1000 };
            decide(&Effects::default(), directory.path(), &wish, now).unwrap()
        };
        assert!(ask("a", LeaseAction::Acquire, 0).granted);
        let refused = ask("b", LeaseAction::Acquire, 500);
        assert_eq!((refused.granted, refused.holder.as_str(), refused.remaining_ms), (false, "run a", 500));
        assert!(ask("b", LeaseAction::Acquire, 1001).granted);
        assert!(!ask("b", LeaseAction::Release, 1002).granted);
        assert_eq!(current(directory.path()), None);
    }
}
