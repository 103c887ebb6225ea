//! Random hosts over small sets of values, so that equal and different ones both come up.

use std::collections::{BTreeMap, BTreeSet};

use host_state::desired::{DesiredClaim, DesiredFile, Owner, Run};
use host_state::document::{BinarySource, Profile, Release, ServerBinary, StoreIdentity, StoreSpec};
use host_state::firewall::{FirewallRules, ManagedPort, Networks, PortRule, TableDifference};
use host_state::layout::{CERT_FILE, CONFIG_FILE, KEY_FILE};
use host_state::observed::{
    BinaryObserved, ClaimObserved, ClaimsObserved, FileObserved, FirewallObserved, FirewallSeen, Mount,
    ProcessObserved, RunningObserved, StoreDisk, StoreFile, StoreMark, StoreObserved, TrialSeen,
    UnitObserved, UnitSeen,
};
use host_state::unit::DropIn;
use host_state::{Desired, Observed};
use nats_config::{ServerConfig, render};
use proptest::prelude::*;

/// What failed observations say; findings repeat it.
pub(crate) const UNSEEN: &str = "it could not be seen";
/// Not-after of the leaf in the rendition.
pub(crate) const NOT_AFTER: &str = "2027-01-01T00:00:00Z";
/// Checksum of the binary of a file source.
pub(crate) const BINARY: &str = "b0";
/// Sum of an archive with it.
pub(crate) const DOWNLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Bytes of a ballast file on the disk of every host here.
pub(crate) const BALLAST: u64 = 16 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) running_config: Option<ServerConfig>,
}

impl Host {
    pub(crate) fn is_released(&self) -> bool {
        self.desired.run != Run::Held
    }

    /// How many observations failed that the desired state asks about.
    pub(crate) fn unseen(&self) -> usize {
        let Observed { files, running, store, disk, binary: _, process: _, claims, firewall, unit } =
            &self.observed;
        let is_asked = self.desired.firewall.is_some();
        let named = |(name, file): (&String, &FileObserved)| {
            self.desired.files.contains_key(name) && matches!(file, FileObserved::Unreadable { .. })
        };
        files.iter().filter(|entry| named(*entry)).count()
            + usize::from(matches!(running, RunningObserved::Silent { .. }))
            + usize::from(
                matches!(store, StoreObserved::Unreadable { .. })
                    || (disk.is_err() && self.desired.profile == Profile::Production),
            )
            + usize::from(matches!(claims, ClaimsObserved::Silent { .. }))
            + usize::from(is_asked && matches!(firewall, FirewallObserved::Unreadable { .. }))
            + usize::from(self.desired.unit.is_some() && matches!(unit, UnitObserved::Unreadable { .. }))
    }
}

/// `payload` is reloadable, `port` needs a restart, `route` waits for one.
pub(crate) fn config(payload: u8, port: u8, route: u8) -> ServerConfig {
    let tls = serde_json::json!({
        "cert_file": "current/server.pem", "key_file": "current/server-key.pem", "ca_file": "current/ca.pem",
        "verify": true, "timeout": "2s", "pinned_certs": [],
    });
    serde_json::from_value(serde_json::json!({
        "server_name": "east-1",
        "client": {"address": "127.0.0.1", "port": 4222 + u16::from(port), "advertise": null, "tls": tls},
        "monitor": {"address": "127.0.0.1", "port": 8222},
        "cluster": {
            "name": "east", "address": "127.0.0.1", "port": 5222, "advertise": null, "no_advertise": false,
            "routes": ["127.0.0.1:5222", format!("127.0.0.{}:5222", 2 + route)], "tls": tls,
        },
        "gateway": null,
        "jetstream": {
            "store_dir": "/data", "max_memory": 1 << 20, "max_storage": 1 << 30, "unique_tag": null,
            "sync": "always", "domain": null,
            "limits": {"max_ack_pending": null, "max_ha_assets": null, "max_request_batch": null,
                "duplicate_window": null},
        },
        "trust": null,
        "limits": {"max_payload": (1 + u64::from(payload)) << 10, "max_connections": null, "max_pending": null,
            "max_control_line": null, "max_subscriptions": null, "ping_interval": null, "ping_max": null,
            "write_deadline": null},
        "logging": {"debug": false, "trace": false, "utc": true, "log_file": null, "rotate_at": null,
            "rotated_files": null},
        "tags": [], "lame_duck": {"duration": "30s", "grace_period": "1s"}, "pid_file": null, "extra": {},
    }))
    .unwrap()
}

fn configs() -> impl Strategy<Value = ServerConfig> {
    (0..2_u8, 0..2_u8, 0..2_u8).prop_map(|(payload, port, route)| config(payload, port, route))
}

/// The files of a rendition of `config`.
pub(crate) fn rendition(config: &ServerConfig) -> BTreeMap<String, DesiredFile> {
    let file = |sha256: String, mode| DesiredFile { sha256, mode };
    BTreeMap::from([
        (CONFIG_FILE.to_owned(), file(render(config).digest.to_string(), 0o644)),
        (CERT_FILE.to_owned(), file("ce".to_owned(), 0o644)),
        (KEY_FILE.to_owned(), file("4e".to_owned(), 0o600)),
    ])
}

pub(crate) fn identity(cluster: &str) -> StoreIdentity {
    StoreIdentity {
        authority: "OACME".to_owned(),
        cluster: cluster.to_owned(),
        server_name: "east-1".to_owned(),
        system_account: "ASYS".to_owned(),
    }
}

/// The archive that has the binary.
pub(crate) fn download() -> BinarySource {
    BinarySource::Url {
        url: "https://example.com/x.tar.gz".parse().unwrap(),
        sha256: DOWNLOAD.parse().unwrap(),
    }
}

fn desired() -> impl Strategy<Value = Desired> {
    let lineage = || proptest::option::of(prop_oneof![Just("l1".to_owned()), Just("l2".to_owned())]);
    let source = prop_oneof![
        Just(BinarySource::Agent),
        Just(BinarySource::File { path: "/x".to_owned(), sha256: BINARY.to_owned() }),
        Just(download()),
    ];
    let claims = proptest::collection::btree_map(
        prop_oneof![Just("A1".to_owned()), Just("A2".to_owned())],
        (1_i64..4, any::<bool>()),
        0..3,
    );
    let store = proptest::option::of(Just("s1".to_owned()));
    let owner = proptest::option::of(Just(Owner { uid: 1, gid: 1 }));
    let leaf = proptest::option::of(Just(NOT_AFTER.to_owned()));
    let profile = prop_oneof![Just(Profile::Production), Just(Profile::Development)];
    let unit = proptest::option::of(Just(drop_in()));
    let facts = (lineage(), any::<bool>(), store, leaf, (owner, unit), profile);
    let firewall = proptest::option::of(rules());
    (configs(), proptest::option::of(configs()), lineage(), source, claims, facts, firewall).prop_map(
        |(config, rendered, release, source, claims, facts, firewall)| {
            let (lineage, formed, store_id, leaf_not_after, (owner, unit), profile) = facts;
            Desired {
                config,
                server: ServerBinary { version: "2.15.1".to_owned(), source },
                store: StoreSpec {
                    directory: "/data".to_owned(),
                    mode: 0o700,
                    on_root: false,
                    identity: identity("east"),
                },
                profile,
                run: release.map_or(Run::Held, |meta_lineage| {
                    Run::Released(Release { meta_lineage, members: BTreeSet::from(["east-1".to_owned()]) })
                }),
                files: rendered.as_ref().map(rendition).unwrap_or_default(),
                leaf_not_after: leaf_not_after.filter(|_| rendered.is_some()),
                rendered,
                claims: claims
                    .into_iter()
                    .map(|(key, (at, dead))| (key.clone(), claim(&key, at, dead)))
                    .collect(),
                formed: formed && lineage.is_some(),
                lineage,
                store_id,
                owner,
                firewall,
                unit,
            }
        },
    )
}

fn claim(key: &str, issued_at: i64, tombstone: bool) -> DesiredClaim {
    DesiredClaim {
        name: format!("name of {key}"),
        sha256: format!("{key}@{issued_at}"),
        issued_at,
        tombstone,
    }
}

/// What the unit's drop-in is to say.
pub(crate) fn drop_in() -> DropIn {
    DropIn {
        binary: "/opt/nats-server".to_owned(),
        store: Some("/data".to_owned()),
        memory: Some(1),
        lame_duck: std::time::Duration::from_secs(30),
    }
}

/// The unit as it should be.
pub(crate) fn unit_in_order() -> UnitSeen {
    UnitSeen {
        load: "loaded".to_owned(),
        fragment: "/lib/systemd/system/nats-server.service".to_owned(),
        file_state: "static".to_owned(),
        drop_in: FileObserved::Present {
            sha256: String::new(),
            mode: 0o644,
            text: Some(drop_in().text_like(None)),
        },
        owner: Some(Owner { uid: 0, gid: 0 }),
        others: Vec::new(),
        is_stale: false,
    }
}

fn unit() -> impl Strategy<Value = UnitObserved> {
    let in_order = || UnitObserved::Present(unit_in_order());
    let edited = drop_in().text_like(None).replace("LimitNOFILE=800000", "LimitNOFILE=1024");
    let file = |text: String| FileObserved::Present { sha256: String::new(), mode: 0o644, text: Some(text) };
    let with = |change: fn(&mut UnitSeen)| {
        let mut seen = unit_in_order();
        change(&mut seen);
        Just(UnitObserved::Present(seen))
    };
    prop_oneof![
        6 => Just(in_order()),
        1 => Just(UnitObserved::Unreadable { reason: unseen() }),
        1 => Just(UnitObserved::Present(UnitSeen { drop_in: file(edited), ..unit_in_order() })),
        1 => with(|seen| seen.drop_in = FileObserved::Missing),
        1 => with(|seen| seen.load = "masked".to_owned()),
        1 => with(|seen| seen.load = "not-found".to_owned()),
        1 => with(|seen| seen.is_stale = true),
        1 => with(|seen| seen.owner = Some(Owner { uid: 1, gid: 0 })),
        1 => with(|seen| seen.others = vec!["/etc/systemd/system/nats-server.service.d/60-mine.conf".to_owned()]),
        1 => with(|seen| seen.fragment = "/etc/systemd/system/nats-server.service".to_owned()),
    ]
}

fn unseen() -> String {
    UNSEEN.to_owned()
}

fn file(wanted: DesiredFile) -> impl Strategy<Value = FileObserved> {
    let present = |sha256: &str, mode, text: Option<ServerConfig>| FileObserved::Present {
        sha256: sha256.to_owned(),
        mode,
        text: text.map(|config| render(&config).text),
    };
    let DesiredFile { sha256, mode } = wanted;
    prop_oneof![
        6 => Just(present(&sha256, mode, None)),
        1 => Just(FileObserved::Missing),
        1 => Just(FileObserved::Unreadable { reason: unseen() }),
        1 => Just(present(&sha256, 0o666, None)),
        1 => Just(present("other", mode, None)),
        2 => configs().prop_map(move |config| present("edited", mode, Some(config))),
    ]
}

fn running() -> impl Strategy<Value = RunningObserved> {
    let name = prop_oneof![5 => Just("east-1"), 1 => Just("stranger")];
    let digest = prop_oneof![
        5 => configs().prop_map(|config| render(&config).digest.to_string()),
        1 => Just("sha256:unknown".to_owned())
    ];
    let certificate = prop_oneof![3 => Just(NOT_AFTER), 1 => Just("2026-06-01T00:00:00Z")];
    prop_oneof![
        1 => Just(RunningObserved::Silent { reason: unseen() }),
        6 => (digest, name, certificate).prop_map(|(digest, name, certificate)| RunningObserved::Answered {
            digest,
            version: "2.15.1".to_owned(),
            server_name: name.to_owned(),
            certificates: BTreeMap::from([("client".to_owned(), certificate.to_owned())]),
        }),
    ]
}

fn store() -> impl Strategy<Value = StoreObserved> {
    let lineage = proptest::option::of(prop_oneof![Just("l1".to_owned()), Just("l2".to_owned())]);
    let found = (
        prop_oneof![4 => Just("s1"), 1 => Just("s2")],
        prop_oneof![5 => Just("east"), 1 => Just("west")],
        lineage,
        any::<bool>(),
    )
        .prop_map(|(store, cluster, meta_lineage, formed)| {
            let (store, identity) = (store.to_owned(), identity(cluster));
            StoreMark::Found(StoreFile {
                store,
                identity,
                formed: formed && meta_lineage.is_some(),
                meta_lineage,
            })
        });
    let mark = prop_oneof![
        1 => Just(StoreMark::Missing),
        1 => Just(StoreMark::Unreadable { reason: "damaged".to_owned() }),
        6 => found,
    ];
    let accounts = prop_oneof![
        4 => Just(Vec::new()), 2 => Just(vec!["ASYS".to_owned(), "A1".to_owned()]), 1 => Just(vec!["AOTHER".to_owned()])
    ];
    let mode = prop_oneof![3 => Just(0o700), 1 => Just(0o755)];
    let owners = prop_oneof![4 => Just((1, Some(1))), 1 => Just((0, Some(1))), 1 => Just((1, Some(0)))];
    let mark_mode = prop_oneof![3 => Just(0o644), 1 => Just(0o666)];
    prop_oneof![
        1 => Just(StoreObserved::Missing),
        1 => Just(StoreObserved::Unreadable { reason: unseen() }),
        8 => (mode, mark, mark_mode, owners, any::<bool>(), accounts).prop_map(|(mode, identity, mark_mode, (uid, data_uid), data, accounts)| {
            let has_data = data || !accounts.is_empty();
            let identity_mode = (identity != StoreMark::Missing).then_some(mark_mode);
            StoreObserved::Present {
                mode, uid, gid: 1, data_uid: data_uid.filter(|_| has_data), device: 1, inode: 1, identity, identity_mode, has_data, accounts,
            }
        }),
    ]
}

/// A writable disk of its own with room on it and no ballast file.
pub(crate) fn good_disk() -> StoreDisk {
    let mount = Mount {
        point: "/data".to_owned(),
        source: "/dev/sdb1".to_owned(),
        fs_type: "ext4".to_owned(),
        options: BTreeSet::from(["rw".to_owned()]),
    };
    StoreDisk { mount, on_root: false, size: 100 * BALLAST, free: 50 * BALLAST, ballast: None }
}

fn disk() -> impl Strategy<Value = Result<StoreDisk, String>> {
    let options = prop_oneof![9 => Just("rw"), 1 => Just("ro")];
    let fs_type = prop_oneof![4 => Just("ext4"), 1 => Just("zfs")];
    let free = prop_oneof![1 => Just(0), 1 => Just(2 << 20), 6 => Just(1 << 32)];
    let ballast = prop_oneof![Just(None), Just(Some(4096)), Just(Some(BALLAST))];
    let on_root = proptest::bool::weighted(0.2);
    let seen =
        (options, fs_type, on_root, free, ballast).prop_map(|(options, fs_type, on_root, free, ballast)| {
            let mut disk = StoreDisk { on_root, free, ballast, ..good_disk() };
            disk.mount.options = BTreeSet::from([options.to_owned()]);
            disk.mount.fs_type = fs_type.to_owned();
            Ok(disk)
        });
    prop_oneof![1 => Just(Err(unseen())), 9 => seen]
}

fn binary() -> impl Strategy<Value = BinaryObserved> {
    let path = "nats-server".to_owned();
    let version = prop_oneof![4 => Just("2.15.1"), 1 => Just("2.14.0")];
    let sum = prop_oneof![3 => Just(BINARY), 1 => Just("b1")];
    let download = prop_oneof![3 => Just(Some(DOWNLOAD.to_owned())), 1 => Just(None)];
    let present = {
        let path = path.clone();
        (version, sum, download).prop_map(move |(version, sum, download)| BinaryObserved::Present {
            path: path.clone(),
            version: version.to_owned(),
            sha256: sum.to_owned(),
            download,
        })
    };
    prop_oneof![
        1 => Just(BinaryObserved::Missing { path: path.clone() }),
        1 => Just(BinaryObserved::Unusable { path, reason: "not a program".to_owned() }),
        8 => present,
    ]
}

fn claims() -> impl Strategy<Value = ClaimsObserved> {
    let key = prop_oneof![Just("A1".to_owned()), Just("A2".to_owned()), Just("A3".to_owned())];
    let entry = (proptest::option::of(1_i64..4), any::<bool>());
    let answered = proptest::collection::btree_map(key, entry, 0..4).prop_map(|entries| {
        let observed = |(key, (issued_at, is_other)): (String, (Option<i64>, bool))| {
            let sha256 =
                issued_at.filter(|_| !is_other).map_or("other".to_owned(), |at| format!("{key}@{at}"));
            (key, ClaimObserved { sha256, issued_at })
        };
        ClaimsObserved::Answered(entries.into_iter().map(observed).collect())
    });
    prop_oneof![1 => Just(ClaimsObserved::Silent { reason: unseen() }), 8 => answered]
}

fn rules() -> impl Strategy<Value = FirewallRules> {
    let from = prop_oneof![Just(Networks::nobody()), Just(Networks::everyone())];
    let rule = (1_u16..3, from).prop_map(|(port, from)| PortRule { port, from });
    proptest::option::of(rule)
        .prop_map(|rule| FirewallRules(rule.into_iter().map(|rule| (ManagedPort::Client, rule)).collect()))
}

fn firewall() -> impl Strategy<Value = FirewallObserved> {
    let item = TableDifference { place: "table".to_owned(), desired: None, found: Some("map m".to_owned()) };
    let table = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![item])];
    let trial = |rules| TrialSeen { id: "t".to_owned(), remaining_ms: 1, rules };
    let trial = proptest::option::of(rules().prop_map(trial));
    let seen = (proptest::option::of(rules()), trial, table).prop_map(|(confirmed, trial, table)| {
        FirewallObserved::Seen(Box::new(FirewallSeen { confirmed, trial, table, foreign: Vec::new() }))
    });
    prop_oneof![
        2 => Just(FirewallObserved::Off),
        1 => Just(FirewallObserved::Unreadable { reason: unseen() }),
        6 => seen,
    ]
}

/// A host whose parts do not contradict each other: what does not run says nothing.
pub(crate) fn host() -> impl Strategy<Value = Host> {
    let process = (any::<bool>(), prop_oneof![3 => Just(BINARY), 1 => Just("b1")]);
    let others = (claims(), firewall(), unit());
    (desired(), process, running(), (store(), disk()), binary(), others, proptest::option::of(configs()))
        .prop_flat_map(
            |(desired, (runs, binary_sha256), running, (store, disk), binary, others, running_config)| {
                let (claims, firewall, unit) = others;
                let files: Vec<_> = desired
                    .files
                    .iter()
                    .map(|(name, wanted)| (Just(name.clone()), file(wanted.clone())))
                    .collect();
                files.prop_map(move |files| Host {
                    desired: desired.clone(),
                    running_config: running_config.clone().filter(|_| runs),
                    observed: Observed {
                        files: files.into_iter().collect(),
                        running: if runs { running.clone() } else { RunningObserved::Stopped },
                        store: store.clone(),
                        disk: disk.clone(),
                        binary: binary.clone(),
                        process: if runs {
                            let binary_sha256 = binary_sha256.to_owned();
                            ProcessObserved::Running { pid: 7, started_at: 0, binary_sha256 }
                        } else {
                            ProcessObserved::Stopped { last_exit: None }
                        },
                        claims: if runs { claims.clone() } else { ClaimsObserved::Stopped },
                        firewall: firewall.clone(),
                        unit: unit.clone(),
                    },
                })
            },
        )
}
