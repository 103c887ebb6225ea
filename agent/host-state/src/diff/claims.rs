//! The resolver's account JWTs against the newest claims section.

use std::collections::BTreeMap;

use super::{ClaimProblem, Difference};
use crate::desired::{Desired, DesiredClaim};
use crate::observed::{ClaimObserved, ClaimsObserved};

/// Each account of the section, and each account of the resolver that no section names.
///
/// With no claims section at all nothing is said about what the resolver holds: not knowing is not "none".
/// Accounts that the configuration preloads (the system account) are the configuration's.
pub(super) fn claims(desired: &Desired, observed: &ClaimsObserved) -> Vec<Difference> {
    let found = match observed {
        ClaimsObserved::Stopped => return Vec::new(),
        ClaimsObserved::Silent { reason } => {
            return vec![Difference::ClaimsSilent { reason: reason.clone() }];
        }
        ClaimsObserved::Answered(found) => found,
    };
    if desired.claims.is_empty() {
        return Vec::new();
    }
    let mut differences: Vec<Difference> = desired
        .claims
        .iter()
        .filter_map(|(account, wanted)| {
            let problem = problem(wanted, found.get(account))?;
            Some(Difference::Claim { account: account.clone(), name: wanted.name.clone(), problem })
        })
        .collect();
    differences.extend(unknown(desired, found));
    differences
}

fn problem(wanted: &DesiredClaim, found: Option<&ClaimObserved>) -> Option<ClaimProblem> {
    let DesiredClaim { name: _, sha256, issued_at, tombstone } = wanted;
    let Some(ClaimObserved { sha256: found_sum, issued_at: found_at }) = found else {
        // A deleted account that is gone is as good as its tombstone.
        return (!tombstone).then_some(ClaimProblem::Missing);
    };
    if found_sum == sha256 {
        return None;
    }
    match found_at {
        Some(found_at) if found_at > issued_at => {
            Some(ClaimProblem::Newer { desired: *issued_at, found: *found_at })
        }
        _ if *tombstone => Some(ClaimProblem::Alive),
        Some(found_at) if found_at == issued_at => {
            Some(ClaimProblem::Changed { desired: sha256.clone(), found: found_sum.clone() })
        }
        found => Some(ClaimProblem::Older { desired: *issued_at, found: *found }),
    }
}

fn unknown(desired: &Desired, found: &BTreeMap<String, ClaimObserved>) -> Vec<Difference> {
    let trust = desired.config.trust.as_ref();
    let is_preloaded = |account: &str| {
        trust.is_some_and(|trust| trust.system_account == account || trust.preload.contains_key(account))
    };
    found
        .keys()
        .filter(|account| !desired.claims.contains_key(*account) && !is_preloaded(account))
        .map(|account| Difference::Claim {
            account: account.clone(),
            name: account.clone(),
            problem: ClaimProblem::Unknown,
        })
        .collect()
}
