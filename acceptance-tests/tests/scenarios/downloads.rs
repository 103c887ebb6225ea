//! nats-server by URL and SHA-256: as a release's archive and as the binary itself; and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::scenario::system::{System, tells};
use acceptance_tests::tools;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Serves these files until the test ends; returns where.
fn serve(files: BTreeMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, files) = (stream.unwrap(), Arc::clone(&files));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let _headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let none = Vec::new();
                let file = files.get(request.split(' ').nth(1).unwrap_or_default());
                let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
                let body = file.unwrap_or(&none);
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _told = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            });
        }
    });
    format!("http://{address}")
}

fn sum(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

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
    let release = "nats-server-v2.15.1-linux-amd64";
    fs::create_dir(folder.join(release)).unwrap();
    fs::copy(tools::nats_server().unwrap(), folder.join(release).join("nats-server")).unwrap();
    let mut tar = Command::new("tar");
    let packed = tar.current_dir(&folder).args(["-czf", "release.tar.gz", release]).status().unwrap();
    assert!(packed.success());
    let binary = fs::read(tools::nats_server().unwrap()).unwrap();
    let archive = fs::read(folder.join("release.tar.gz")).unwrap();
    let (binary_sum, archive_sum) = (sum(&binary), sum(&archive));
    let base = serve(BTreeMap::from([("/nats-server", binary), ("/release.tar.gz", archive)]));
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
    assert_eq!(sum(&fs::read(&installed).unwrap()), binary_sum);
    assert_eq!(system.plan().outcome(), Outcome::Unchanged);
}
