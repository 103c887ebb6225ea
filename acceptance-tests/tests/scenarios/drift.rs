//! Each change behind Terraform's back shows in the next plan with its host and item, and the next apply removes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::scenario::traffic;
use async_nats::jetstream;
use host_state::layout;
use identity::{AccountClaims, AccountLimits, Jwt, decode_account};
use serde_json::Value;

use acceptance_tests::scenario::system::{DEADLINE, System, update, varz};

/// The host that each case changes.
const HOST: &str = "east-2";

/// One change behind Terraform's back.
struct Case {
    what: &'static str,
    /// Resources that it shows at, sorted.
    shown_at: &'static [&'static str],
    change: fn(&System),
    /// Words of the one line that tells it.
    words: &'static [&'static str],
}

const CLUSTER: &str = "nats_cluster.east";

#[test]
fn every_change_on_a_host_is_named_by_the_plan_and_removed_by_the_apply() {
    let mut system = System::lay_out(&[("east", 3)]);
    system.host_mut(HOST).own_nats_server().unwrap();
    system.supercluster.fleet.start().unwrap();
    system.apply();
    system.plan_is_empty();
    let cases = [
        Case {
            what: "configuration edited",
            shown_at: &[CLUSTER],
            change: |system| edit_configuration(&current(system, "nats-server.json")),
            words: &["configuration `max_payload`", "2097152"],
        },
        Case {
            what: "configuration removed",
            shown_at: &[CLUSTER],
            change: |system| fs::remove_file(current(system, "nats-server.json")).unwrap(),
            words: &["configuration `nats-server.json`", "missing"],
        },
        Case {
            what: "certificate replaced by another host's",
            shown_at: &[CLUSTER],
            change: |system| replace(system, "server.pem"),
            words: &["certificate `server.pem`"],
        },
        Case {
            what: "certificate authority replaced",
            shown_at: &[CLUSTER],
            change: |system| {
                fs::copy(current(system, "server.pem"), current(system, "ca.pem")).unwrap();
            },
            words: &["certificate `ca.pem`"],
        },
        Case {
            what: "key replaced by another host's",
            shown_at: &[CLUSTER],
            change: |system| replace(system, "server-key.pem"),
            words: &["key `server-key.pem`", "sha256"],
        },
        Case {
            what: "key readable by all",
            shown_at: &[CLUSTER],
            change: |system| set_mode(&current(system, "server-key.pem"), 0o644),
            words: &["key `server-key.pem`", "`mode 0644`, should be `mode 0600`"],
        },
        Case {
            what: "store open to others",
            shown_at: &[CLUSTER],
            change: |system| set_mode(&system.host(HOST).store_dir(), 0o755),
            words: &["store `mode`", "`mode 0755`, should be `mode 0700`"],
        },
        Case {
            what: "store's identity damaged",
            shown_at: &[CLUSTER],
            change: |system| fs::write(mark(system), "{}").unwrap(),
            words: &["store `nats-agent-store.json`", "damaged"],
        },
        Case {
            what: "store's identity removed",
            shown_at: &[CLUSTER],
            change: |system| fs::remove_file(mark(system)).unwrap(),
            words: &["store `nats-agent-store.json`", "missing"],
        },
        Case {
            what: "nats-server killed",
            shown_at: &[CLUSTER],
            change: |system| {
                system.host(HOST).kill_server().unwrap();
                wait_until("its end", DEADLINE, || Ok(system.host(HOST).server_pid().is_none())).unwrap();
            },
            words: &["process", "stopped", "running"],
        },
        Case {
            what: "binary replaced",
            shown_at: &[CLUSTER],
            change: replace_binary,
            words: &["process `binary`", "sha256"],
        },
        Case {
            what: "account's claims removed from one server",
            // The host's cluster tells it too: accounts that are gone from the configuration have nobody else.
            shown_at: &["nats_account.orders", CLUSTER],
            change: remove_claims,
            words: &["claims `orders` is missing"],
        },
        Case {
            what: "account's claims replaced by older ones that let everything through, on one server",
            shown_at: &["nats_account.orders", CLUSTER],
            change: |system| replace_claims(system, -60),
            words: &["claims `orders` is `issued at"],
        },
        Case {
            what: "account's claims replaced by others of the same second, on one server",
            shown_at: &["nats_account.orders", CLUSTER],
            change: |system| replace_claims(system, 0),
            words: &["claims `orders`", "sha256"],
        },
    ];
    let mut seconds = 0.0;
    for case in &cases {
        let started = Instant::now();
        show(&system, case);
        let took = started.elapsed().as_secs_f64();
        seconds += took;
        println!("{:45} named and removed in {took:.1} s", case.what);
    }
    println!("{} cases, {seconds:.0} s", cases.len());
}

/// One case: changed, named, removed.
fn show(system: &System, case: &Case) {
    let Case { what, shown_at, change, words } = case;
    let (mut changes, mut lines) = (Vec::new(), Vec::new());
    // Agents bring accounts up to date by themselves once a minute, so that change may be gone before it is planned.
    for _ in 0..3 {
        change(system);
        (changes, lines) = system.drift();
        lines.dedup();
        if !lines.is_empty() {
            break;
        }
    }
    let told: Vec<&String> = lines.iter().filter(|line| line.starts_with(&format!("{HOST}: "))).collect();
    assert!(lines.len() == 1 && told.len() == 1, "{what}: not exactly one line about `{HOST}`: {lines:#?}");
    let missing: Vec<_> = words.iter().filter(|word| !lines[0].contains(**word)).collect();
    assert!(missing.is_empty(), "{what}: {missing:?} missing in: {}", lines[0]);
    changes.sort_by(|one, other| one.address.cmp(&other.address));
    let wanted: Vec<_> = shown_at.iter().map(|address| update(address)).collect();
    assert_eq!(changes, wanted, "{what}: {}", lines[0]);
    println!("    {}", lines[0]);
    system.apply();
    let (changes, lines) = system.drift();
    assert!(changes.is_empty() && lines.is_empty(), "{what}: left after the apply: {changes:?} {lines:#?}");
}

#[test]
fn a_stream_that_another_client_changed_is_named_and_brought_back() {
    let system = System::running(&[("east", 2)]);
    let credentials = system.credentials();
    let change = |bytes: Option<i64>| {
        let host = system.host("east-1");
        traffic::talk(async {
            let context = jetstream::new(traffic::connect(host, &credentials).await?);
            let mut config = context.get_stream("ORDERS").await?.cached_info().config.clone();
            if let Some(bytes) = bytes {
                config.max_bytes = bytes;
                context.update_stream(&config).await?;
            }
            Ok(config.max_bytes)
        })
        .unwrap()
    };
    assert_eq!(change(Some(32 << 20)), 32 << 20);
    let (run, before) = system.planned();
    assert_eq!(run.outcome(), Outcome::Changed);
    assert_eq!(run.changes, [update("nats_stream.orders")]);
    let found = before["nats_stream.orders"]["max_bytes"].as_str().unwrap().to_owned();
    println!("plan shows `max_bytes` = {found}");
    assert!(["32MB", "32MiB", "33554432"].contains(&found.as_str()), "{found}");
    system.apply();
    assert_eq!(change(None), 64 << 20, "the stream is as declared again");
    system.plan_is_empty();
}

/// The gates of a cluster behind a gateway look at the whole supercluster, also when only this cluster is repaired.
#[test]
fn a_stopped_server_behind_a_gateway_is_started_again() {
    let system = System::running(&[("east", 2), ("west", 1)]);
    system.host("east-1").kill_server().unwrap();
    wait_until("its end", DEADLINE, || Ok(system.host("east-1").server_pid().is_none())).unwrap();
    system.apply();
    assert!(system.host("east-1").server_pid().is_some());
    system.plan_is_empty();
}

fn current(system: &System, file: &str) -> std::path::PathBuf {
    system.host(HOST).state_dir().join("current").join(file)
}

fn mark(system: &System) -> std::path::PathBuf {
    system.host(HOST).store_dir().join("nats-agent-store.json")
}

/// What a hurried person does at night.
pub(crate) fn edit_configuration(file: &Path) {
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    settings["max_payload"] = 2_097_152.into();
    fs::write(file, settings.to_string()).unwrap();
}

fn replace(system: &System, file: &str) {
    fs::write(
        current(system, file),
        fs::read(system.host("east-1").state_dir().join("current").join(file)).unwrap(),
    )
    .unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Puts another build of the same version in the place of the one that runs.
fn replace_binary(system: &System) {
    let path = system.host(HOST).state_dir().parent().unwrap().join("nats-server");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"another build");
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    set_mode(&new, 0o755);
    fs::rename(&new, &path).unwrap();
}

/// Where the host's server keeps the JWT of account `orders`.
fn claims_file(system: &System) -> std::path::PathBuf {
    let account = system.authority().account_key(&"orders".parse().unwrap());
    system.host(HOST).state_dir().join(layout::RESOLVER).join(format!("{account}.jwt"))
}

fn remove_claims(system: &System) {
    fs::remove_file(claims_file(system)).unwrap();
    assert!(varz(system.host(HOST)).is_object());
}

/// Puts a JWT that the operator signed too in the place of the account's: without limits of JetStream and of
/// connections, and issued so many seconds later.
fn replace_claims(system: &System, later: i64) {
    let (authority, file) = (system.authority(), claims_file(system));
    let jwt: Jwt = fs::read_to_string(&file).unwrap().parse().unwrap();
    let found = decode_account(&jwt, &authority.trust()).unwrap();
    let claims = AccountClaims { limits: AccountLimits::unlimited(), ..found.claims };
    let other = authority.account_jwt(&claims, found.issued_at + later).unwrap();
    fs::write(&file, other.as_str()).unwrap();
}
