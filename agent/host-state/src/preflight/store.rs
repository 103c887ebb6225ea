//! Checks of the store directory and of the disk below it.

use nats_config::ByteSize;

use super::{BlockDevice, Check, Found, Owner, Probe, Seen, StoreFacts, Wanted, found, size};
use crate::layout;
use crate::observed::{Mount, StoreDisk};

/// File systems that nats-server's file store is known to live well on.
/// Source: docs.nats.io and rpk's checkers recommend XFS, ext4 is the default of every distribution tried.
const GOOD_FILE_SYSTEMS: [&str; 2] = ["xfs", "ext4"];
/// File systems that lose data with the host, or whose answers do not mean that data is on a disk.
/// Source: nats-server issue 2792 (a stale NFS handle stopped JetStream); overlayfs and tmpfs end with their container
/// or host.
const BAD_FILE_SYSTEMS: [&str; 12] =
    ["9p", "afs", "aufs", "ceph", "cifs", "glusterfs", "nfs", "nfs4", "overlay", "ramfs", "smb3", "tmpfs"];
/// 99 of 100 writes may take so long, in microseconds. Source: etcd, docs/v3.5/op-guide/hardware: p99 of fdatasync < 10 ms.
const GOOD_P99_US: u64 = 10 * MILLISECOND_US;
/// From here on acknowledgements are refused to be promised. Source: etcd, the p99 of a backend commit < 25 ms.
const MOST_P99_US: u64 = 25 * MILLISECOND_US;
const MILLISECOND_US: u64 = 1_000;
/// Percent of the file system in use from which there is a warning: a full one has cost data.
/// Source: nats-server issue 5382.
const USAGE_PERCENT: u64 = 85;
/// Room that `max_storage` leaves free, one part of so many of the file system.
const RESERVE_SHARE: u64 = 20;
/// Least room that it leaves free, in bytes.
const MIN_RESERVE: u64 = 2 << 30;
/// Schedulers that leave the order of writes to the disk. Source: redpanda rpk, tuners/redpanda_checkers.go.
const GOOD_SCHEDULERS: [&str; 3] = ["none", "noop", "mq-deadline"];
/// Largest ballast file, in bytes.
pub const MAX_BALLAST: u64 = 1 << 30;
/// The ballast takes one part of so many of its file system.
pub const BALLAST_SHARE: u64 = 100;

/// Bytes of a ballast file on a file system of `size` bytes: whole MiB, none on a tiny one.
pub fn ballast_size(size: u64) -> u64 {
    let whole = (size / BALLAST_SHARE).min(MAX_BALLAST);
    whole >> 20 << 20
}

/// Bytes that `max_storage` leaves free on a file system of `size` bytes.
pub fn reserve(size: u64) -> u64 {
    (size / RESERVE_SHARE).max(MIN_RESERVE)
}

pub(super) fn checks(wanted: &Wanted, facts: &StoreFacts) -> Vec<Check> {
    let StoreFacts { directory, owner, disk, devices, probe } = facts;
    let probe = of_this_disk(probe, disk);
    let options = "writable, with barriers, data=ordered";
    vec![
        found(owner, |owner| directory_rule(wanted, directory, owner.as_ref()))
            .check("store_directory", "for its owner alone, and of the server's user"),
        found(disk, |disk| mount_rule(wanted, directory, disk))
            .check("store_mount", "a file system of its own, or `store_on_root`"),
        found(disk, |disk| file_system_rule(&disk.mount))
            .check("file_system", GOOD_FILE_SYSTEMS.join(" or ")),
        found(disk, |disk| options_rule(&disk.mount)).check("mount_options", options),
        found(devices, |devices| disk_rule(devices, &probe))
            .check("disk", "solid state by what it says of itself, or by its measured latency"),
        found(devices, |devices| scheduler_rule(devices))
            .check("scheduler", format!("one of {}", GOOD_SCHEDULERS.join(", "))),
        found(&probe, latency_rule).check(
            "fsync_latency",
            format!(
                "p99 at most {} ms; above {} ms it is refused",
                GOOD_P99_US / MILLISECOND_US,
                MOST_P99_US / MILLISECOND_US
            ),
        ),
        found(disk, |disk| capacity_rule(wanted, disk)).check(
            "capacity",
            format!(
                "`max_storage` at most the file system less {} %, at least {} less",
                100 / RESERVE_SHARE,
                size(MIN_RESERVE)
            ),
        ),
        found(disk, |disk| usage_rule(directory, disk)).check("usage", format!("at most {USAGE_PERCENT} %")),
        found(disk, |disk| ballast_rule(directory, disk)).check(
            "ballast",
            format!(
                "`{}` of {} % of the file system, at most {}",
                layout::STORE_BALLAST_FILE,
                100 / BALLAST_SHARE,
                size(MAX_BALLAST)
            ),
        ),
    ]
}

/// The probe, unless it was of another disk than the one that is there.
fn of_this_disk(probe: &Seen<Probe>, disk: &Seen<StoreDisk>) -> Seen<Probe> {
    let probe = probe.clone()?;
    match disk {
        Ok(disk) if disk.mount.label() != probe.disk => {
            Err(format!("the last probe was of {}, and this is {}", probe.disk, disk.mount.label()))
        }
        Ok(_) | Err(_) => Ok(probe),
    }
}

fn directory_rule(wanted: &Wanted, directory: &str, owner: Option<&Owner>) -> Found {
    let Some(Owner { uid, gid, mode }) = owner else {
        return Found::pass(format!("`{directory}`, not there yet"));
    };
    let value = format!("`{directory}` of {uid}:{gid}, mode {mode:04o}");
    if mode & 0o077 != 0 {
        return Found::warn(value, format!("`chmod 0700 {directory}`; an apply does so too"));
    }
    match wanted.uid {
        Some(wanted) if wanted != *uid => {
            Found::warn(value, format!("give it to the server's user: `chown -R {wanted} {directory}`"))
        }
        Some(_) | None => Found::pass(value),
    }
}

fn mount_rule(wanted: &Wanted, directory: &str, disk: &StoreDisk) -> Found {
    let Mount { point, .. } = &disk.mount;
    let value = format!("{} at `{point}`", disk.mount.label());
    match (disk.on_root, wanted.on_root) {
        (false, _) => Found::pass(value),
        (true, true) => Found::pass(format!("{value}, the root file system, which `store_on_root` allows")),
        (true, false) => Found::refuse(
            format!("{value}, the root file system"),
            format!(
                "mount a disk at `{directory}` or above it; where the root disk is meant, set \
                 `jetstream.store_on_root = true`"
            ),
        ),
    }
}

fn file_system_rule(mount: &Mount) -> Found {
    let kind = mount.fs_type.as_str();
    if GOOD_FILE_SYSTEMS.contains(&kind) {
        Found::pass(kind)
    } else if BAD_FILE_SYSTEMS.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.") {
        Found::refuse(kind, format!("put the store on a local disk with {}", GOOD_FILE_SYSTEMS.join(" or ")))
    } else {
        Found::warn(
            kind,
            format!("try it under load before you trust it, or use {}", GOOD_FILE_SYSTEMS.join(" or ")),
        )
    }
}

fn options_rule(mount: &Mount) -> Found {
    let value = mount.options.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let has = |option: &str| mount.options.contains(option);
    if mount.is_read_only() {
        return Found::refuse(
            value,
            "a file system with errors is remounted read-only: look at `dmesg`, repair it, mount it `rw` and restart \
             `nats-agent-applier.service`, which sees mounts as they were when it started",
        );
    }
    match ["nobarrier", "barrier=0", "data=writeback"].into_iter().find(|option| has(option)) {
        Some(option) => Found::warn(value, format!("mount without `{option}`: a power cut may lose writes")),
        None => Found::pass(value),
    }
}

/// Whether the disks are solid state, as far as they say; `None` when one of them cannot say.
///
/// A mapper only repeats what the disks below it say, and a virtual disk says anything.
/// Source: measured, virtio says 1 and loop says 0 for the same solid state disk; kubevirtci issue 666.
fn solid_state(devices: &[BlockDevice]) -> Option<bool> {
    const MAPPERS: [&str; 3] = ["dm-", "md", "bcache"];
    const VIRTUAL: [&str; 7] = ["vd", "xvd", "loop", "zram", "nbd", "rbd", "drbd"];
    let mut answers = Vec::new();
    for device in devices {
        let is_one_of = |names: &[&str]| names.iter().any(|name| device.name.starts_with(name));
        if device.name.starts_with("nvme") {
            answers.push(Some(true));
        } else if is_one_of(&VIRTUAL) {
            answers.push(None);
        } else if !is_one_of(&MAPPERS)
            && let Some(rotates) = device.rotational
        {
            answers.push(Some(!rotates));
        }
    }
    if answers.contains(&Some(false)) {
        Some(false)
    } else if answers.contains(&None) || answers.is_empty() {
        None
    } else {
        Some(true)
    }
}

fn disk_rule(devices: &[BlockDevice], probe: &Seen<Probe>) -> Found {
    if devices.is_empty() {
        return Found::warn("no block device", "put the store on a local disk");
    }
    let value = devices.iter().map(described).collect::<Vec<_>>().join(" on ");
    let is_fast = probe.as_ref().is_ok_and(|probe| is_quick(probe) == Quick::Enough);
    match (solid_state(devices), is_fast) {
        (Some(true), _) => Found::pass(format!("{value}, solid state")),
        (None, true) => Found::pass(format!("{value}, fast enough by its latency")),
        (None, false) => Found::warn(
            format!("unknown: {value} does not say truly whether it is solid state"),
            "run `nats-agent preflight` with its probe: the latency decides",
        ),
        (Some(false), _) => Found::warn(format!("{value}, rotating"), "use a solid state disk"),
    }
}

fn described(device: &BlockDevice) -> String {
    let BlockDevice { name, model, rotational: _, scheduler: _, write_cache, discards } = device;
    let facts = [
        model.clone(),
        write_cache.clone(),
        discards.map(|can| if can { "discards" } else { "no discards" }.to_owned()),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { name.clone() } else { format!("{name} ({})", facts.join(", ")) }
}

fn scheduler_rule(devices: &[BlockDevice]) -> Found {
    let named: Vec<(&str, &str)> = devices
        .iter()
        .filter_map(|device| Some((device.name.as_str(), device.scheduler.as_deref()?)))
        .collect();
    let value = named.iter().map(|(name, scheduler)| format!("{name}: {scheduler}")).collect::<Vec<_>>();
    let value = value.join(", ");
    match named.iter().find(|(_, scheduler)| !GOOD_SCHEDULERS.contains(scheduler)) {
        _ if named.is_empty() => Found::warn("unknown: no device names one", "look at the disk below"),
        None => Found::pass(value),
        Some((name, _)) => {
            Found::warn(value, format!("write `none` to `/sys/block/{name}/queue/scheduler`, by a udev rule"))
        }
    }
}

#[derive(PartialEq, Eq)]
enum Quick {
    Enough,
    Barely,
    No,
}

fn is_quick(probe: &Probe) -> Quick {
    let latency = &probe.latency;
    match latency.p99_us {
        _ if latency.cut_short => Quick::No,
        us if us <= GOOD_P99_US => Quick::Enough,
        us if us <= MOST_P99_US => Quick::Barely,
        _ => Quick::No,
    }
}

fn latency_rule(probe: &Probe) -> Found {
    let value = probe.latency.to_string();
    match is_quick(probe) {
        Quick::Enough => Found::pass(value),
        Quick::Barely => {
            Found::warn(value, "each acknowledgement waits so long; a disk with less latency helps")
        }
        Quick::No => Found::refuse(
            value,
            "use a disk with less latency; when something else was busy on it, run `nats-agent preflight` again",
        ),
    }
}

fn capacity_rule(wanted: &Wanted, disk: &StoreDisk) -> Found {
    let room = disk.size.saturating_sub(reserve(disk.size));
    let of = format!("of {} there may be {}", size(disk.size), size(room));
    match wanted.max_storage {
        None => Found::warn(
            format!("unknown: nobody said `max_storage`; {of}"),
            "say `--max-storage 200GiB`, or what it is to be",
        ),
        Some(bytes) if bytes <= room => Found::pass(format!("{}; {of}", size(bytes))),
        Some(bytes) => {
            let larger = "use a larger disk".to_owned();
            let remedy = match typeable(room) {
                None => larger,
                Some(most) => format!("set `max_storage = \"{most}\"` or less, or {larger}"),
            };
            Found::refuse(format!("{}; {of}", size(bytes)), remedy)
        }
    }
}

/// The largest round size that is not more than `bytes`, as a person writes it: whole GiB, or MiB where there are few of
/// them. `None` below one MiB.
fn typeable(bytes: u64) -> Option<ByteSize> {
    let shift = if bytes >= 10 << 30 { 30 } else { 20 };
    ByteSize::from_bytes(bytes >> shift << shift).ok().filter(|size| size.bytes() > 0)
}

fn usage_rule(directory: &str, disk: &StoreDisk) -> Found {
    let used = disk.size.saturating_sub(disk.free);
    let percent = used.saturating_mul(100).checked_div(disk.size).unwrap_or(100);
    let value = format!("{percent} %, {} free", size(disk.free));
    if disk.is_full() {
        return Found::refuse(
            value,
            format!(
                "delete `{directory}/{}` to make room, then remove data or enlarge the disk",
                layout::STORE_BALLAST_FILE
            ),
        );
    }
    if percent > USAGE_PERCENT {
        Found::warn(value, "remove data or enlarge the disk before it is full")
    } else {
        Found::pass(value)
    }
}

fn ballast_rule(directory: &str, disk: &StoreDisk) -> Found {
    let due = disk.ballast_due();
    let value = disk.ballast.map_or("none".to_owned(), size);
    let remedy = format!(
        "an apply makes `{directory}/{}`; delete it when the disk is full",
        layout::STORE_BALLAST_FILE
    );
    match disk.ballast {
        _ if due == 0 => Found::warn(
            format!("{value}; a file keeps no room on {}", disk.mount.fs_type),
            format!("watch its free space yourself, or use {}", GOOD_FILE_SYSTEMS.join(" or ")),
        ),
        Some(found) if found >= due => Found::pass(value),
        Some(_) | None => Found::warn(format!("{value}, of {}", size(due)), remedy),
    }
}
