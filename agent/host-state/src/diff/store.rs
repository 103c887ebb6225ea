//! The store directory: what is missing is marked, what could be somebody else's stops the start.

use super::{Difference, StoreDanger, StoreUnmarked};
use crate::desired::{Desired, Owner, Run};
use crate::document::StoreIdentity;
use crate::layout;
use crate::observed::{StoreFile, StoreMark, StoreObserved};

/// The directory, its mode, its identity file and the data in it.
pub(super) fn store(desired: &Desired, observed: &StoreObserved) -> Vec<Difference> {
    if desired.config.jetstream.is_none() {
        return Vec::new();
    }
    match observed {
        StoreObserved::Missing => vec![match (&desired.store_id, &desired.lineage) {
            (Some(_), Some(_)) => danger(StoreDanger::Gone { directory: desired.store.directory.clone() }),
            (Some(_) | None, Some(_) | None) => Difference::StoreUnmarked(StoreUnmarked::NoDirectory),
        }],
        StoreObserved::Unreadable { reason } => {
            vec![danger(StoreDanger::Unreadable { reason: reason.clone() })]
        }
        StoreObserved::Present {
            mode,
            identity,
            identity_mode,
            has_data,
            accounts,
            uid,
            gid,
            data_uid,
            device: _,
            inode: _,
        } => {
            let readable_otherwise = identity_mode.is_some_and(|mode| mode != layout::PUBLIC_MODE);
            let mark = other_accounts(desired, accounts).or_else(|| match identity {
                StoreMark::Missing => unmarked(desired, *has_data, StoreUnmarked::NoIdentity),
                StoreMark::Unreadable { reason: _ } => unmarked(desired, *has_data, StoreUnmarked::Damaged),
                StoreMark::Found(file) => marked(desired, file, *has_data).or_else(|| {
                    readable_otherwise.then_some(Difference::StoreUnmarked(StoreUnmarked::OtherMode))
                }),
            });
            let mark = match mark {
                Some(Difference::StoreDanger(_)) => mark,
                other => data_owner(desired, *data_uid).or(other),
            };
            // Nothing is changed on a store that may be another's, not even its mode.
            let is_ours = !matches!(mark, Some(Difference::StoreDanger(_)));
            let mode_differs = is_ours && *mode != desired.store.mode;
            let mode =
                mode_differs.then_some(Difference::StoreMode { desired: desired.store.mode, found: *mode });
            let found = Owner { uid: *uid, gid: *gid };
            let owner = desired.owner.filter(|wanted| is_ours && *wanted != found);
            let owner = owner.map(|desired| Difference::StoreOwner { desired, found });
            mark.into_iter().chain(mode).chain(owner).collect()
        }
    }
}

fn danger(danger: StoreDanger) -> Difference {
    Difference::StoreDanger(danger)
}

/// A disk of another host, where the same user has another number.
fn data_owner(desired: &Desired, found: Option<u32>) -> Option<Difference> {
    let (wanted, found) = (desired.owner?.uid, found?);
    let directory = desired.store.directory.clone();
    (wanted != found).then(|| danger(StoreDanger::DataOwner { directory, desired: wanted, found }))
}

/// nats-server keeps the meta group under the system account's directory, so data without it is another system's.
fn other_accounts(desired: &Desired, accounts: &[String]) -> Option<Difference> {
    let ours = &desired.store.identity.system_account;
    (!accounts.is_empty() && !accounts.contains(ours))
        .then(|| danger(StoreDanger::OtherAccounts { desired: ours.clone(), found: accounts.to_vec() }))
}

/// No usable identity file: written anew where the ledger knows the store or where it holds nothing.
fn unmarked(desired: &Desired, has_data: bool, why: StoreUnmarked) -> Option<Difference> {
    let directory = desired.store.directory.clone();
    Some(match (has_data, &desired.store_id) {
        (true, None) => danger(StoreDanger::Unknown { directory }),
        (false, Some(_)) if desired.lineage.is_some() => danger(StoreDanger::Emptied { directory }),
        (true, Some(_)) | (false, _) => Difference::StoreUnmarked(why),
    })
}

/// An identity file that can be read: whose is it, and of which meta group.
fn marked(desired: &Desired, file: &StoreFile, has_data: bool) -> Option<Difference> {
    let StoreFile { store, identity, meta_lineage, formed } = file;
    if let Some((field, desired, found)) = other_field(&desired.store.identity, identity) {
        return Some(danger(StoreDanger::Another { field, desired, found }));
    }
    if let Some(known) = desired.store_id.as_ref().filter(|known| *known != store) {
        let (desired, found) = (known.clone(), store.clone());
        return Some(danger(StoreDanger::Another { field: "store id", desired, found }));
    }
    let wanted = wanted_lineage(desired);
    match (wanted, meta_lineage) {
        (Some(wanted), Some(found)) if wanted != found && (has_data || *formed) => {
            Some(danger(StoreDanger::Lineage { desired: wanted.clone(), found: found.clone() }))
        }
        (Some(wanted), found) if found.as_ref() != Some(wanted) => {
            Some(Difference::StoreUnmarked(StoreUnmarked::NoLineage))
        }
        (Some(_), Some(_)) if desired.formed && !formed => {
            Some(Difference::StoreUnmarked(StoreUnmarked::NoLineage))
        }
        (Some(_) | None, Some(_) | None) => ledger_lineage(desired),
    }
}

/// A release into another meta group than the one that the ledger knows as formed.
fn ledger_lineage(desired: &Desired) -> Option<Difference> {
    let (Some(known), Run::Released(release)) = (&desired.lineage, &desired.run) else { return None };
    (desired.formed && *known != release.meta_lineage)
        .then(|| danger(StoreDanger::Lineage { desired: release.meta_lineage.clone(), found: known.clone() }))
}

/// The meta group that the store should be of: the release's, else the one that the ledger remembers.
pub(crate) fn wanted_lineage(desired: &Desired) -> Option<&String> {
    match &desired.run {
        Run::Released(release) => Some(&release.meta_lineage),
        Run::Held => desired.lineage.as_ref(),
    }
}

fn other_field(desired: &StoreIdentity, found: &StoreIdentity) -> Option<(&'static str, String, String)> {
    let StoreIdentity { authority, cluster, server_name, system_account } = desired;
    [
        ("authority", authority, &found.authority),
        ("system account", system_account, &found.system_account),
        ("cluster", cluster, &found.cluster),
        ("server name", server_name, &found.server_name),
    ]
    .into_iter()
    .find(|(_, desired, found)| desired != found)
    .map(|(field, desired, found)| (field, desired.clone(), found.clone()))
}
