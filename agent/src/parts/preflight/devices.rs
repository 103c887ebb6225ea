//! The block devices below a file system, through partitions and mappers down to the disks.
//!
//! Source: Linux, Documentation/ABI/stable/sysfs-block, and block/partitions/core.c for `partition`.

use std::path::{Path, PathBuf};

use host_state::preflight::{BlockDevice, Seen};

use super::mountinfo::Entry;
use super::settings::selected;
use super::tree::{Tree, names, read};
use crate::applier::files;

/// Most devices that are followed; more are a loop, or nothing that a person would read.
const MOST: usize = 64;

/// The devices below `mount`, each above those it lies on; none for a file system without a device.
pub(super) fn below(tree: &Tree, mount: &Entry) -> Seen<Vec<BlockDevice>> {
    let Some((major, minor)) = number(tree, mount) else { return Ok(Vec::new()) };
    let link = format!("/sys/dev/block/{major}:{minor}");
    let top = std::fs::canonicalize(tree.path(&link)).map_err(|error| format!("`{link}`: {error}"))?;
    let mut devices = Vec::new();
    let mut next = vec![top];
    let mut seen = Vec::new();
    while let Some(directory) = next.pop() {
        if seen.contains(&directory) || seen.len() >= MOST {
            continue;
        }
        devices.push(device(&directory));
        next.extend(under(&directory));
        seen.push(directory);
    }
    Ok(devices)
}

/// The device's number. btrfs has none of its own in mountinfo, so the number of its source stands for it.
fn number(tree: &Tree, mount: &Entry) -> Option<(u32, u32)> {
    if mount.device.0 != 0 {
        return Some(mount.device);
    }
    let source = Some(mount.source.as_str()).filter(|source| source.starts_with("/dev/"))?;
    files::device_number(&tree.path(source)).ok()
}

/// What a device lies on: the disk of a partition, the slaves of a mapper.
fn under(directory: &Path) -> Vec<PathBuf> {
    if directory.join("partition").exists() {
        return directory.parent().map(Path::to_owned).into_iter().collect();
    }
    let slaves = directory.join("slaves");
    names(&slaves).iter().rev().filter_map(|name| std::fs::canonicalize(slaves.join(name)).ok()).collect()
}

fn device(directory: &Path) -> BlockDevice {
    let text = |file: &str| read(&directory.join(file)).ok().flatten().filter(|text| !text.is_empty());
    let flag = |file: &str| text(file).map(|text| text != "0");
    BlockDevice {
        name: directory.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model: text("device/model"),
        rotational: flag("queue/rotational"),
        scheduler: text("queue/scheduler").map(|text| selected(&text).unwrap_or(&text).to_owned()),
        write_cache: text("queue/write_cache"),
        discards: flag("queue/discard_max_bytes"),
    }
}
