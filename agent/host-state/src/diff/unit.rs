//! The unit that the server runs in: its drop-in, and whether anything else has a say in it.

use super::{Difference, UnitFault};
use crate::desired::{Desired, Owner};
use crate::layout;
use crate::observed::{FileObserved, UnitObserved, UnitSeen};
use crate::unit::directive_differences;

/// Where packages put units. Source: systemd.unit(5).
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system/", "/lib/systemd/system/"];

/// Everything about the unit; nothing where the server is the agent's child.
pub(super) fn unit(desired: &Desired, observed: &UnitObserved) -> Vec<Difference> {
    if desired.unit.is_none() {
        return Vec::new();
    }
    match observed {
        UnitObserved::None => vec![fault(UnitFault::Unreadable { reason: "nobody looked at it".to_owned() })],
        UnitObserved::Unreadable { reason } => {
            vec![fault(UnitFault::Unreadable { reason: reason.clone() })]
        }
        UnitObserved::Present(seen) => seen_unit(desired, seen),
    }
}

fn fault(fault: UnitFault) -> Difference {
    Difference::Unit(fault)
}

fn seen_unit(desired: &Desired, seen: &UnitSeen) -> Vec<Difference> {
    let UnitSeen { load, fragment, file_state, drop_in, owner, others, is_stale } = seen;
    let mut faults = file(desired, drop_in, *owner);
    match load.as_str() {
        "masked" => faults.push(UnitFault::Masked),
        // What differs in the drop-in may be why, and is put right first.
        "loaded" => {}
        _ if !faults.is_empty() => {}
        other => faults.push(UnitFault::NotLoaded { state: other.to_owned() }),
    }
    if *is_stale && faults.is_empty() {
        faults.push(UnitFault::Stale);
    }
    let is_packaged = PACKAGED.iter().any(|directory| fragment.starts_with(directory));
    if load == "loaded" && !is_packaged {
        faults.push(UnitFault::Replaced { path: fragment.clone() });
    }
    if file_state.starts_with("enabled") {
        faults.push(UnitFault::Enabled);
    }
    faults.extend(others.iter().map(|path| UnitFault::Foreign { path: path.clone() }));
    faults.into_iter().map(fault).collect()
}

fn file(desired: &Desired, found: &FileObserved, owner: Option<Owner>) -> Vec<UnitFault> {
    let Some(wanted) = &desired.unit else { return Vec::new() };
    match found {
        FileObserved::Missing => vec![UnitFault::Missing],
        FileObserved::Unreadable { reason } => vec![UnitFault::Unreadable { reason: reason.clone() }],
        FileObserved::Present { mode, text, sha256: _ } => {
            let mut faults = Vec::new();
            let expected = wanted.text_like(text.as_deref());
            if text.as_ref() != Some(&expected) {
                let settings = directive_differences(&expected, text.as_deref().unwrap_or_default());
                faults.push(UnitFault::Edited { settings });
            }
            if *mode != layout::PUBLIC_MODE {
                faults.push(UnitFault::Mode { found: *mode });
            }
            let root = Owner { uid: 0, gid: 0 };
            let found = owner.filter(|found| *found != root);
            faults.extend(found.map(|found| UnitFault::OtherOwner { found }));
            faults
        }
    }
}
