//! nats-server by URL and SHA-256: as a release's archive and as the binary itself; and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::scenario::release;
use acceptance_tests::scenario::system::{System, tells};
use acceptance_tests::tools;
use serde_json::json;

/// What each server runs from, below its host's state directory.
fn binaries(system: &System) -> Vec<PathBuf> {
    let binary = |host: &acceptance_tests::rig::agents::Host| {
        let exe = fs::read_link(format!("/proc/{}/exe", host.server_pid().unwrap())).unwrap();
        exe.strip_prefix(fs::canonicalize(host.state_dir()).unwrap()).unwrap().to_owned()
    };
    system.hosts().iter().map(binary).collect()
}

fn pids(system: &System) -> Vec<Option<u32>> {
    system.hosts().iter().map(|host| host.server_pid()).collect()
}

#[test]
fn nats_server_is_installed_by_url_and_sha_256_and_nothing_else_is() {
    let mut system = System::lay_out(&[("east", 2)]);
    let folder = system.supercluster.fleet.folder().to_owned();
    let archive = release::packed(&folder, &tools::nats_server().unwrap()).unwrap();
    let binary = fs::read(tools::nats_server().unwrap()).unwrap();
    let (binary_sum, archive_sum) = (release::sum(&binary), release::sum(&archive));
    let files = BTreeMap::from([("/nats-server", binary), ("/release.tar.gz", archive)]);
    let base = release::serve(Ipv4Addr::LOCALHOST, files).unwrap();
    let server =
        |path: &str, sum: &str| json!({ "version": "2.15.1", "url": format!("{base}{path}"), "sha256": sum });
    system.supercluster.fleet.start().unwrap();

    system.resource("nats_cluster", "east")["server"] = server("/release.tar.gz", &binary_sum);
    let told = system.apply_fails();
    println!("wrong checksum: {}", told.trim());
    tells(&told, &["east-1", &archive_sum, &binary_sum]);
    for host in system.hosts() {
        assert_eq!(host.server_pid(), None, "`{}` was started", host.name());
        assert!(!host.state_dir().join("binaries").exists());
        let left = fs::read_dir(host.state_dir().join("downloads")).unwrap().count();
        assert_eq!(left, 0, "something is left of the download of `{}`", host.name());
    }

    system.resource("nats_cluster", "east")["server"] = server("/release.tar.gz", &archive_sum);
    let applied = system.apply();
    let at = PathBuf::from(format!("binaries/2.15.1-{archive_sum}/nats-server"));
    assert_eq!(binaries(&system), [at.clone(), at.clone()]);
    system.plan_is_empty();
    println!("installed from an archive and running after {:?}", applied.elapsed);

    // An address at which nobody serves: refused, and what runs goes on.
    let before = pids(&system);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = json!({ "version": "2.15.1", "url": format!("http://{nobody}/nats-server"), "sha256": "0".repeat(64) });
    system.resource("nats_cluster", "east")["server"] = other;
    let told = system.apply_fails();
    println!("unreachable: {}", told.trim());
    tells(&told, &["east-1", &format!("`http://{nobody}/nats-server` cannot be downloaded")]);
    assert_eq!(pids(&system), before);

    // The same program by another sum.
    system.resource("nats_cluster", "east")["server"] = server("/nats-server", &binary_sum);
    let applied = system.apply();
    system.plan_is_empty();
    assert!(
        system.host("east-1").state_dir().join(format!("binaries/2.15.1-{binary_sum}/nats-server")).exists()
    );
    println!("the binary itself after {:?}", applied.elapsed);

    // Somebody puts another file in its place.
    let installed =
        system.host("east-2").state_dir().join(format!("binaries/2.15.1-{binary_sum}/nats-server"));
    let mut changed = fs::read(&installed).unwrap();
    changed.push(0);
    fs::remove_file(&installed).unwrap();
    fs::write(&installed, changed).unwrap();
    fs::set_permissions(&installed, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (changes, drift) = system.drift();
    println!("changed by hand: {drift:?}");
    assert!(drift.iter().any(|line| line.starts_with("east-2: binary")), "{drift:?} {changes:?}");
    system.apply();
    assert_eq!(release::sum(&fs::read(&installed).unwrap()), binary_sum);
    assert_eq!(system.plan().outcome(), Outcome::Unchanged);
}
