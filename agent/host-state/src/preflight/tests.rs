//! A good host, and each thing that can be wrong with one: what is said is golden (`UPDATE_GOLDEN=1` rewrites it).

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::observed::{Mount, StoreDisk};

const GIB: u64 = 1 << 30;

fn wanted() -> Wanted {
    Wanted {
        profile: Profile::Production,
        max_storage: Some(200 * GIB),
        on_root: false,
        uid: Some(997),
        ports: BTreeSet::from([4222, 5222, 7222, 7777, 8222, 8442]),
        connections: 65_536,
        assets: 1_000,
    }
}

fn options(text: &str) -> BTreeSet<String> {
    text.split(',').map(str::to_owned).collect()
}

fn good() -> Facts {
    let device = BlockDevice {
        name: "nvme1n1".to_owned(),
        model: Some("Amazon Elastic Block Store".to_owned()),
        rotational: Some(false),
        scheduler: Some("none".to_owned()),
        write_cache: Some("write through".to_owned()),
        discards: Some(true),
    };
    let mount = Mount {
        point: "/data".to_owned(),
        source: "/dev/nvme1n1".to_owned(),
        fs_type: "xfs".to_owned(),
        options: options("rw,noatime"),
    };
    let latency = Latency { writes: 3000, cut_short: false, p50_us: 350, p99_us: 1_400, p999_us: 9_870 };
    Facts {
        store: StoreFacts {
            directory: "/data/jetstream".to_owned(),
            owner: Ok(Some(Owner { uid: 997, gid: 997, mode: 0o700 })),
            disk: Ok(StoreDisk {
                mount,
                on_root: false,
                size: 250 * GIB,
                free: 240 * GIB,
                ballast: Some(GIB),
            }),
            devices: Ok(vec![device]),
            probe: Ok(Probe { taken_at: 1, disk: "/dev/nvme1n1 (xfs)".to_owned(), latency }),
        },
        machine: MachineFacts {
            open_files: Ok(OpenFiles {
                soft: Some(800_000),
                hard: Some(800_000),
                of: "nats-server (pid 12)".to_owned(),
            }),
            file_max: Ok(9_223_372_036_854_775_807),
            swap: Ok(0),
            swappiness: Ok(60),
            clock: Ok((true, "systemd-timesyncd".to_owned())),
            huge_pages: Ok("madvise".to_owned()),
            somaxconn: Ok(4096),
            clocksource: Ok("kvm-clock".to_owned()),
            local_ports: Ok(PortRange { first: 32_768, last: 60_999 }),
            reserved_ports: Ok(Vec::new()),
            kernel: Ok("6.1.0-18-amd64".to_owned()),
        },
    }
}

/// Everything unknown.
fn blind() -> Facts {
    fn not<T>() -> Seen<T> {
        Err("permission denied".to_owned())
    }
    Facts {
        store: StoreFacts {
            directory: "/data/jetstream".to_owned(),
            owner: not(),
            disk: not(),
            devices: not(),
            probe: not(),
        },
        machine: MachineFacts {
            open_files: not(),
            file_max: not(),
            swap: not(),
            swappiness: not(),
            clock: not(),
            huge_pages: not(),
            somaxconn: not(),
            clocksource: not(),
            local_ports: not(),
            reserved_ports: not(),
            kernel: not(),
        },
    }
}

type Change = fn(&mut Wanted, &mut Facts);

fn disk(facts: &mut Facts) -> &mut StoreDisk {
    facts.store.disk.as_mut().unwrap()
}

fn fs(facts: &mut Facts, fs_type: &str) {
    let mount = &mut disk(facts).mount;
    mount.fs_type = fs_type.to_owned();
    let label = mount.label();
    facts.store.probe.as_mut().unwrap().disk = label;
}

fn p99(facts: &mut Facts, us: u64) {
    facts.store.probe.as_mut().unwrap().latency.p99_us = us;
}

fn device(facts: &mut Facts) -> &mut BlockDevice {
    &mut facts.store.devices.as_mut().unwrap()[0]
}

const CASES: &[(&str, Change)] = &[
    ("good", |_, _| {}),
    ("everything unknown", |_, facts| *facts = blind()),
    ("no store yet", |_, facts| facts.store.owner = Ok(None)),
    ("store that the group may write", |_, facts| {
        facts.store.owner = Ok(Some(Owner { uid: 997, gid: 997, mode: 0o770 }));
    }),
    ("store that all may read", |_, facts| {
        facts.store.owner = Ok(Some(Owner { uid: 997, gid: 997, mode: 0o755 }));
    }),
    ("store that the group may read", |_, facts| {
        facts.store.owner = Ok(Some(Owner { uid: 997, gid: 997, mode: 0o750 }));
    }),
    ("store of root", |_, facts| facts.store.owner = Ok(Some(Owner { uid: 0, gid: 0, mode: 0o700 }))),
    ("on root", |_, facts| disk(facts).on_root = true),
    ("on root, allowed", |wanted, facts| {
        wanted.on_root = true;
        disk(facts).on_root = true;
    }),
    ("tmpfs", |_, facts| fs(facts, "tmpfs")),
    ("overlay", |_, facts| fs(facts, "overlay")),
    ("nfs", |_, facts| fs(facts, "nfs4")),
    ("fuse", |_, facts| fs(facts, "fuse.s3fs")),
    ("ext4", |_, facts| fs(facts, "ext4")),
    ("zfs", |_, facts| fs(facts, "zfs")),
    ("read-only", |_, facts| disk(facts).mount.options = options("ro,relatime")),
    ("no barriers", |_, facts| disk(facts).mount.options = options("nobarrier,rw")),
    ("writeback", |_, facts| disk(facts).mount.options = options("data=writeback,rw")),
    ("no device", |_, facts| facts.store.devices = Ok(Vec::new())),
    ("virtual disk, fast", |_, facts| {
        *device(facts) =
            BlockDevice { name: "vda".to_owned(), rotational: Some(true), ..device(facts).clone() };
    }),
    ("virtual disk, not probed", |_, facts| {
        *device(facts) =
            BlockDevice { name: "vda".to_owned(), rotational: Some(true), ..device(facts).clone() };
        facts.store.probe = Err("no probe was run yet".to_owned());
    }),
    ("rotating disk", |_, facts| {
        *device(facts) = BlockDevice {
            name: "sda".to_owned(),
            model: Some("ST4000NM0035".to_owned()),
            rotational: Some(true),
            scheduler: Some("bfq".to_owned()),
            write_cache: Some("write back".to_owned()),
            discards: Some(false),
        };
    }),
    ("mapper on a disk", |_, facts| {
        let below = device(facts).clone();
        let above =
            BlockDevice { name: "dm-0".to_owned(), rotational: Some(false), ..BlockDevice::default() };
        facts.store.devices = Ok(vec![above, below]);
    }),
    ("slow", |_, facts| p99(facts, 12_000)),
    ("at the edge", |_, facts| p99(facts, 25_000)),
    ("too slow", |_, facts| p99(facts, 25_001)),
    ("probe cut short", |_, facts| {
        let latency = &mut facts.store.probe.as_mut().unwrap().latency;
        (latency.cut_short, latency.writes) = (true, 212);
    }),
    ("probe of another disk", |_, facts| {
        facts.store.probe.as_mut().unwrap().disk = "/dev/sdb (xfs)".to_owned();
    }),
    ("max_storage too large", |wanted, _| wanted.max_storage = Some(240 * GIB)),
    ("max_storage unknown", |wanted, _| wanted.max_storage = None),
    ("nearly full", |_, facts| disk(facts).free = 30 * GIB),
    ("full", |_, facts| (disk(facts).free, disk(facts).ballast) = (0, Some(GIB))),
    ("no ballast", |_, facts| disk(facts).ballast = None),
    ("small ballast", |_, facts| disk(facts).ballast = Some(4096)),
    ("few files", |_, facts| {
        facts.machine.open_files =
            Ok(OpenFiles { soft: Some(1024), hard: Some(4096), of: "this process".to_owned() });
    }),
    ("files without limit", |_, facts| {
        facts.machine.open_files = Ok(OpenFiles { soft: None, hard: None, of: "this process".to_owned() });
    }),
    ("small file-max", |_, facts| facts.machine.file_max = Ok(10_000)),
    ("swap", |_, facts| facts.machine.swap = Ok(2 * GIB)),
    ("swap, rarely used", |_, facts| {
        (facts.machine.swap, facts.machine.swappiness) = (Ok(2 * GIB), Ok(1));
    }),
    ("wrong clock", |_, facts| facts.machine.clock = Ok((false, "systemd-timesyncd".to_owned()))),
    ("huge pages", |_, facts| facts.machine.huge_pages = Ok("always".to_owned())),
    ("small somaxconn", |_, facts| facts.machine.somaxconn = Ok(128)),
    ("slow clocksource", |_, facts| facts.machine.clocksource = Ok("hpet".to_owned())),
    ("ports of the tuning guides", |_, facts| {
        facts.machine.local_ports = Ok(PortRange { first: 1025, last: 65_535 });
    }),
    ("ports reserved", |_, facts| {
        facts.machine.local_ports = Ok(PortRange { first: 1025, last: 65_535 });
        facts.machine.reserved_ports = Ok(vec![PortRange { first: 4000, last: 9000 }]);
    }),
    ("ports reserved in part", |_, facts| {
        facts.machine.local_ports = Ok(PortRange { first: 1025, last: 65_535 });
        facts.machine.reserved_ports = Ok(vec![PortRange { first: 4222, last: 8222 }]);
    }),
    ("reserved ports unknown", |_, facts| {
        facts.machine.local_ports = Ok(PortRange { first: 1025, last: 65_535 });
        facts.machine.reserved_ports = Err("permission denied".to_owned());
    }),
    ("old kernel", |_, facts| facts.machine.kernel = Ok("4.19.0-6-amd64".to_owned())),
    ("no kernel of ours", |_, facts| facts.machine.kernel = Ok("strange".to_owned())),
];

fn checked(change: Change, profile: Profile) -> Preflight {
    let (mut wanted, mut facts) = (wanted(), good());
    wanted.profile = profile;
    change(&mut wanted, &mut facts);
    preflight(&wanted, &facts)
}

fn line(check: &Check) -> String {
    let Check { name, value, threshold, verdict, remedy } = check;
    let remedy = remedy.as_ref().map_or(String::new(), |remedy| format!("\n         {remedy}"));
    format!("  {verdict:<6} {name}: {value} [{threshold}]{remedy}\n")
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preflight").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 rewrites it", path.display());
}

#[test]
fn what_is_said_of_each_host() {
    let mut text = String::new();
    for (name, change) in CASES {
        let found = checked(*change, Profile::Production);
        let is_shown = |check: &&Check| *name == "good" || check.verdict != Verdict::Pass;
        text.push_str(&format!("{name}: {}\n", found.verdict()));
        found.checks.iter().filter(is_shown).for_each(|check| text.push_str(&line(check)));
    }
    golden("production.txt", &text);
}

#[test]
fn every_check_is_always_there_and_development_refuses_nothing() {
    let names = |found: &Preflight| found.checks.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let all = names(&checked(|_, _| {}, Profile::Production));
    for (name, change) in CASES {
        let (strict, lenient) =
            (checked(*change, Profile::Production), checked(*change, Profile::Development));
        assert_eq!((names(&strict), names(&lenient)), (all.clone(), all.clone()), "{name}");
        assert_eq!(lenient.refusal(), None, "{name}");
        for (strict, lenient) in strict.checks.iter().zip(&lenient.checks) {
            assert_eq!(strict.verdict.min(Verdict::Warn), lenient.verdict, "{name}: {}", strict.name);
            assert_eq!(strict.remedy.is_none(), strict.verdict == Verdict::Pass, "{name}: {}", strict.name);
        }
    }
}

#[test]
fn what_is_unknown_never_passes_and_never_refuses() {
    for check in checked(|_, facts| *facts = blind(), Profile::Production).checks {
        assert_eq!(check.verdict, Verdict::Warn, "{}", check.name);
        assert!(check.value.starts_with("unknown"), "{}: {}", check.name, check.value);
    }
}

#[test]
fn a_refusal_names_check_value_threshold_and_remedy() {
    let refusal = checked(|_, facts| p99(facts, 31_000), Profile::Production).refusal().unwrap();
    assert_eq!(
        refusal,
        "this host is not fit for production: `fsync_latency` is p50 0.35 ms, p99 31.00 ms, p99.9 9.87 ms, allowed is \
         p99 at most 10 ms; above 25 ms it is refused: use a disk with less latency; when something else was busy on \
         it, run `nats-agent preflight` again"
    );
}

proptest! {
    #[test]
    fn a_ballast_and_a_reserve_fit_their_disk(size in 0..=u64::MAX) {
        prop_assert!(ballast_size(size) <= MAX_BALLAST.min(size / BALLAST_SHARE));
        prop_assert_eq!(ballast_size(size) % (1 << 20), 0);
        prop_assert!(reserve(size) >= 2 * GIB && reserve(size) <= (2 * GIB).max(size / 20));
    }

    #[test]
    fn no_fact_makes_a_check_fall_over(size in any::<u64>(), free in any::<u64>(), max in any::<u64>(),
                                       text in ".{0,20}", number in any::<u64>()) {
        let (mut wanted, mut facts) = (wanted(), good());
        wanted.max_storage = Some(max);
        (wanted.assets, wanted.connections) = (number, number);
        (disk(&mut facts).size, disk(&mut facts).free) = (size, free);
        fs(&mut facts, &text);
        (facts.machine.kernel, facts.machine.swap) = (Ok(text), Ok(number));
        p99(&mut facts, number);
        prop_assert_eq!(preflight(&wanted, &facts).checks.len(), 19);
    }
}
