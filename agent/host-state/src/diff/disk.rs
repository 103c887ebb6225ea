//! The file system below the store: a server that cannot write, or writes where no disk is mounted, is not started.
//!
//! Which disk it is, its identity file says (`store`); numbers and names of devices change with every boot.

use super::{Difference, StoreDanger};
use crate::desired::Desired;
use crate::document::Profile;
use crate::observed::{StoreDisk, StoreObserved};

/// What keeps a server from starting. That nothing can be written does so under any profile.
pub(super) fn disk(
    desired: &Desired,
    store: &StoreObserved,
    observed: &Result<StoreDisk, String>,
) -> Vec<Difference> {
    if desired.config.jetstream.is_none() {
        return Vec::new();
    }
    let is_strict = desired.profile == Profile::Production;
    let disk = match observed {
        Ok(disk) => disk,
        // A store that cannot be looked at is told once.
        Err(_) if !is_strict || matches!(store, StoreObserved::Unreadable { .. }) => return Vec::new(),
        Err(reason) => {
            return vec![Difference::StoreDanger(StoreDanger::Unreadable { reason: reason.clone() })];
        }
    };
    let (directory, label) = (desired.store.directory.clone(), disk.mount.label());
    let mut dangers = Vec::new();
    if is_strict && disk.on_root && !desired.store.on_root {
        dangers.push(StoreDanger::OnRoot { directory: directory.clone(), disk: label.clone() });
    }
    if disk.mount.is_read_only() {
        let point = disk.mount.point.clone();
        dangers.push(StoreDanger::ReadOnly { directory, disk: label, point });
    } else if disk.is_full() {
        let has_ballast = disk.ballast.is_some();
        dangers.push(StoreDanger::Full { directory, disk: label, has_ballast });
    }
    dangers.into_iter().map(Difference::StoreDanger).collect()
}

/// The ballast file of a production store that nothing speaks against.
pub(super) fn ballast(desired: &Desired, observed: &Result<StoreDisk, String>) -> Option<Difference> {
    let disk = observed.as_ref().ok()?;
    let is_wanted = desired.config.jetstream.is_some() && desired.profile == Profile::Production;
    let (due, found) = (disk.ballast_due(), disk.ballast);
    (is_wanted && found.unwrap_or(0) < due).then(|| Difference::StoreBallast {
        desired: due,
        found,
        has_room: disk.has_room_for_ballast(),
    })
}
