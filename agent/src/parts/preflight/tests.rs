//! A host made of files in a scratch directory, and this host.

use std::os::unix::fs::symlink;

use host_state::document::Profile;
use host_state::preflight::{PortRange, Verdict, Wanted, preflight};

use super::*;
use crate::parts::effects::Effects;

struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    fn new(files: &[(&str, &str)]) -> Made {
        let made = Made { directory: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(path, text)| made.write(path, text));
        made
    }

    fn tree(&self) -> Tree {
        Tree::at(self.directory.path().to_owned())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.tree().path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.tree().path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn names(&self, number: (u32, u32), source: &str) -> Vec<String> {
        let line = format!("1 1 {}:{} / / rw - x {source} rw", number.0, number.1);
        let entry = mountinfo::parse(&line).unwrap().remove(0);
        devices::below(&self.tree(), &entry).unwrap().into_iter().map(|device| device.name).collect()
    }
}

/// dm-0 over a partition of sda and over nvme0n1, as LVM over two disks looks.
fn mapped() -> Made {
    let made = Made::new(&[
        ("/sys/devices/virtual/block/dm-0/queue/rotational", "0\n"),
        ("/sys/devices/pci/ata/block/sda/queue/rotational", "1\n"),
        ("/sys/devices/pci/ata/block/sda/queue/scheduler", "mq-deadline kyber [bfq] none\n"),
        ("/sys/devices/pci/ata/block/sda/queue/write_cache", "write back\n"),
        ("/sys/devices/pci/ata/block/sda/device/model", "ST4000NM0035    \n"),
        ("/sys/devices/pci/ata/block/sda/sda1/partition", "1\n"),
        ("/sys/devices/pci/nvme/nvme0n1/queue/discard_max_bytes", "2199023255040\n"),
    ]);
    made.link("/sys/dev/block/253:0", "../../devices/virtual/block/dm-0");
    made.link("/sys/dev/block/8:1", "../../devices/pci/ata/block/sda/sda1");
    made.link("/sys/devices/virtual/block/dm-0/slaves/sda1", "../../../../pci/ata/block/sda/sda1");
    made.link("/sys/devices/virtual/block/dm-0/slaves/nvme0n1", "../../../../pci/nvme/nvme0n1");
    made
}

#[test]
fn devices_are_followed_through_mappers_and_partitions() {
    let made = mapped();
    assert_eq!(made.names((253, 0), "/dev/mapper/data"), ["dm-0", "nvme0n1", "sda1", "sda"]);
    assert_eq!(made.names((8, 1), "/dev/sda1"), ["sda1", "sda"]);
    assert_eq!(made.names((0, 40), "tmpfs"), Vec::<String>::new());
    let entry = mountinfo::parse("1 1 8:1 / / rw - x y rw").unwrap().remove(0);
    let disk = devices::below(&made.tree(), &entry).unwrap().remove(1);
    assert_eq!(
        (disk.model.as_deref(), disk.rotational, disk.scheduler.as_deref(), disk.write_cache.as_deref()),
        (Some("ST4000NM0035"), Some(true), Some("bfq"), Some("write back"))
    );
    assert_eq!(disk.discards, None);
    let gone = mountinfo::parse("1 1 9:9 / / rw - x y rw").unwrap().remove(0);
    assert!(devices::below(&made.tree(), &gone).unwrap_err().contains("/sys/dev/block/9:9"));
}

#[test]
fn mappers_that_lie_on_each_other_come_to_an_end() {
    let made = Made::new(&[("/sys/block/dm-0/dev", "1"), ("/sys/block/dm-1/dev", "2")]);
    made.link("/sys/dev/block/253:0", "../../block/dm-0");
    made.link("/sys/block/dm-0/slaves/dm-1", "../../dm-1");
    made.link("/sys/block/dm-1/slaves/dm-0", "../../dm-0");
    assert_eq!(made.names((253, 0), "/dev/dm-0"), ["dm-0", "dm-1"]);
}

#[test]
fn the_machine_is_read_and_what_is_missing_says_so() {
    let made = Made::new(&[
        ("/proc/sys/fs/file-max", "9223372036854775807\n"),
        ("/proc/sys/vm/swappiness", "60\n"),
        ("/proc/swaps", "Filename\tType\tSize\n/dev/sda2 partition 1024 0 -2\n"),
        ("/proc/sys/net/core/somaxconn", "lots\n"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "1025\t65535\n"),
        ("/proc/sys/net/ipv4/ip_local_reserved_ports", "4222,8000-9000\n"),
        ("/proc/12/limits", "Max open files            1024                 4096                 files\n"),
        ("/run/systemd/timesync/synchronized", ""),
    ]);
    let tree = made.tree();
    let files = open_files(&tree, &LimitOf::Server(12));
    let seen = settings::machine(&tree, files);
    assert_eq!(seen.swap, Ok(1 << 20));
    assert_eq!(seen.clock, Ok((true, "by systemd-timesyncd".to_owned())));
    assert_eq!(seen.huge_pages, Ok("never".to_owned()));
    assert_eq!(seen.local_ports, Ok(PortRange { first: 1025, last: 65_535 }));
    assert_eq!(seen.reserved_ports.unwrap().len(), 2);
    assert_eq!(seen.open_files.unwrap().hard, Some(4096));
    assert_eq!(seen.somaxconn.unwrap_err(), "`/proc/sys/net/core/somaxconn` is `lots`, which is no count");
    assert_eq!(seen.kernel.unwrap_err(), "`/proc/sys/kernel/osrelease` is not there");
    assert!(open_files(&tree, &LimitOf::Nobody).is_err());
    std::fs::remove_file(tree.path("/run/systemd/timesync/synchronized")).unwrap();
    assert!(!settings::machine(&tree, Err(String::new())).clock.unwrap().0);
}

#[test]
fn this_host_is_read_and_probed() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("not/yet/there");
    let tree = Tree::default();
    let probe =
        probe::run(&Effects::default(), &tree, &store, std::time::Duration::from_millis(300)).unwrap();
    assert!(probe.latency.writes > 0 && probe.latency.p50_us <= probe.latency.p999_us, "{probe:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let facts = look(&tree, &store, &LimitOf::Own, Ok(probe));
    assert_eq!(facts.store.owner, Ok(None));
    let wanted = Wanted {
        profile: Profile::Development,
        max_storage: Some(1),
        on_root: true,
        uid: None,
        ports: [4222].into(),
        connections: 1,
        assets: 0,
    };
    let found = preflight(&wanted, &facts);
    let value = |name: &str| found.checks.iter().find(|check| check.name == name).unwrap();
    for known in ["store_mount", "file_system", "mount_options", "capacity", "usage", "open_files", "kernel"]
    {
        assert!(!value(known).value.starts_with("unknown"), "{:?}", value(known));
    }
    assert_eq!(value("kernel").verdict, Verdict::Pass);
    assert!(value("fsync_latency").value.contains("p99.9"), "{:?}", value("fsync_latency"));
}

#[test]
fn what_may_not_be_entered_is_not_taken_for_what_lies_above() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = disk(&Tree::default(), &file.join("store")).unwrap_err();
    assert!(error.contains("file/store"), "{error}");
    assert_eq!(nearest(&directory.path().join("a/b")).unwrap(), directory.path().canonicalize().unwrap());
}

#[test]
fn one_probe_at_a_time_and_its_result_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (effects, tree) = (Effects::default(), Tree::default());
    let path = directory.path().join(layout::PROBE_FILE);
    let held = files::open_probe(&effects, &path, 10).unwrap().unwrap();
    let run = || probe::run(&effects, &tree, directory.path(), std::time::Duration::from_millis(50));
    assert!(matches!(run().unwrap_err(), probe::ProbeError::UnderWay { .. }));
    drop(held);
    assert_eq!(probe::kept(directory.path()), Err("no probe was run yet".to_owned()));
    let probe = run().unwrap();
    assert!(!path.exists());
    probe::keep(&effects, directory.path(), &probe).unwrap();
    assert_eq!(probe::kept(directory.path()), Ok(probe));
    std::fs::write(directory.path().join(layout::PROBE_RESULT_FILE), "{").unwrap();
    assert!(probe::kept(directory.path()).unwrap_err().starts_with("the kept probe"));
}
