//! Each package is read back: what is in it, who owns it, that the same input gives the same bytes.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::*;

const PROGRAM: &[u8] = b"a program";

fn product() -> Product {
    Product { version: "1.2.3".to_owned(), epoch: 1_700_000_000, small: true }
}

fn agent() -> contents::Contents {
    contents::read(&workspace::root().join("agent/packaging"), PROGRAM.to_vec()).unwrap()
}

/// What every package of the agent puts on a host.
const PATHS: [&str; 10] = [
    "usr/bin/nats-agent",
    "usr/lib/systemd/system/nats-agent-applier.service",
    "usr/lib/systemd/system/nats-agent-firewall.service",
    "usr/lib/systemd/system/nats-agent-shadow.service",
    "usr/lib/systemd/system/nats-agent.service",
    "usr/lib/systemd/system/nats-server.service",
    "usr/lib/sysusers.d/nats-agent.conf",
    "usr/lib/tmpfiles.d/nats-agent.conf",
    "usr/share/doc/nats-agent/copyright",
    "usr/share/nats-agent/agent.env",
];

#[test]
fn the_agent_is_a_program_units_users_and_settings() {
    let agent = agent();
    let paths: Vec<_> = agent.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, PATHS);
    for entry in &agent.entries {
        let mode = if entry.path == "usr/bin/nats-agent" { 0o755 } else { 0o644 };
        assert_eq!(entry.mode, mode, "{}", entry.path);
    }
}

#[test]
fn no_script_and_no_unit_deletes_anything() {
    let agent = agent();
    let units = agent.entries.iter().filter(|entry| entry.path != "usr/bin/nats-agent");
    let texts = units.map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned());
    let scripts = [agent.before_install, agent.after_install, agent.before_remove, agent.after_remove];
    for text in texts.chain(scripts) {
        // `RemoveIPC=` and the like are other words; comments may say what is not done.
        let commands = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for word in commands.flat_map(str::split_whitespace) {
            let deletes = [
                "rm", "/bin/rm", "rmdir", "unlink", "find", "userdel", "mv", "truncate", "--remove",
                "--clean",
            ];
            assert!(!deletes.contains(&word), "`{word}` in:\n{text}");
        }
    }
}

/// Runs a script of the package as dpkg would, on a host that is a folder and has no systemd of its own. Says what was
/// asked of systemctl.
fn asked_of_systemctl(host: &Path, script: &str, arguments: &[&str]) -> String {
    let (programs, log) = (host.join("programs"), host.join("systemctl"));
    for folder in ["programs", "run/systemd/system", "etc/nats-agent"] {
        std::fs::create_dir_all(host.join(folder)).unwrap();
    }
    std::fs::write(host.join("etc/nats-agent/agent.env"), "").unwrap();
    for name in ["systemctl", "systemd-sysusers", "systemd-tmpfiles"] {
        let program = programs.join(name);
        let text = format!("#!/bin/sh\necho \"$@\" >>'{}/{name}'\n", host.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(&log, "").unwrap();
    let mut text = script.to_owned();
    for folder in ["run", "etc"] {
        text = text.replace(&format!("/{folder}/"), &format!("{}/{folder}/", host.display()));
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let status =
        Command::new("sh").env("PATH", path).args(["-c", &text, "script"]).args(arguments).status().unwrap();
    assert!(status.success(), "{status}");
    std::fs::read_to_string(log).unwrap()
}

#[test]
fn only_an_install_enables_the_agent() {
    let (agent, folder) = (agent(), tempfile::tempdir().unwrap());
    let before = |arguments: &[&str]| asked_of_systemctl(folder.path(), &agent.before_install, arguments);
    let after = |arguments: &[&str]| asked_of_systemctl(folder.path(), &agent.after_install, arguments);
    let enables = |asked: &str| asked.contains("enable ") && asked.contains("\nstart ");

    before(&["install"]);
    let asked = after(&["configure", ""]);
    assert!(enables(&asked), "{asked}");
    // `dpkg-reconfigure`, in the same boot.
    let asked = after(&["configure", "1.2.3"]);
    assert_eq!(asked, "daemon-reload\ntry-restart nats-agent-applier.service nats-agent.service\n");
    before(&["upgrade", "1.2.3"]);
    let asked = after(&["configure", "1.2.3"]);
    assert!(!enables(&asked), "{asked}");
    // Removed and installed again: for the postinst that looks like an upgrade.
    before(&["install", "1.2.3"]);
    let asked = after(&["configure", "1.2.3"]);
    assert!(enables(&asked), "{asked}");
}

#[test]
fn only_a_removal_takes_the_firewall_away_and_after_all_is_stopped() {
    let script = agent().before_remove;
    let (stop, table, leave) = (
        script.find("systemctl stop nats-server.service").unwrap(),
        script.find("nft delete table inet nats_agent").unwrap(),
        script.find("*) exit 0 ;;").unwrap(),
    );
    assert!(leave < stop && stop < table, "{script}");
}

/// Members of an `ar` by name. Source: deb(5).
fn members(mut bytes: &[u8]) -> BTreeMap<String, &[u8]> {
    let mut members = BTreeMap::new();
    bytes = bytes.strip_prefix(b"!<arch>\n").unwrap();
    while !bytes.is_empty() {
        let header = std::str::from_utf8(&bytes[..60]).unwrap();
        let size: usize = header[48..58].trim().parse().unwrap();
        members.insert(header[..16].trim().to_owned(), &bytes[60..60 + size]);
        bytes = &bytes[60 + size.next_multiple_of(2)..];
    }
    members
}

/// Files of a compressed tar: path, mode, what is in it. Checks owner and time on the way.
fn files(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
        let (path, mode) =
            (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), header.mode().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((path, mode, bytes));
    }
    files
}

#[test]
fn the_deb_reads_back() {
    let bytes = deb::build(&product(), &agent()).unwrap();
    let members = members(&bytes);
    assert_eq!(members["debian-binary"], b"2.0\n");
    let control = files(members["control.tar.gz"]);
    let names: Vec<_> = control.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
    assert_eq!(
        names,
        [
            ("./", 0o755),
            ("./control", 0o644),
            ("./preinst", 0o755),
            ("./postinst", 0o755),
            ("./prerm", 0o755),
            ("./postrm", 0o755)
        ]
    );
    let text = String::from_utf8(control[1].2.clone()).unwrap();
    assert!(text.starts_with("Package: nats-agent\nVersion: 1.2.3\nArchitecture: "), "{text}");
    let data = files(members["data.tar.gz"]);
    let folders: Vec<_> =
        data.iter().filter(|(path, ..)| path.ends_with('/')).map(|(path, ..)| path.as_str()).collect();
    assert_eq!(folders[..4], ["./", "./usr/", "./usr/bin/", "./usr/lib/"]);
    let paths: Vec<_> = data.iter().filter(|(path, ..)| !path.ends_with('/')).collect();
    assert_eq!(paths.iter().map(|(path, ..)| &path[2..]).collect::<Vec<_>>(), PATHS);
    assert_eq!((paths[0].1, paths[0].2.as_slice()), (0o755, PROGRAM));
}

/// What Debian's own program makes of it.
#[test]
fn dpkg_reads_the_deb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(deb::file_name(&product()));
    std::fs::write(&path, deb::build(&product(), &agent()).unwrap()).unwrap();
    let output = Command::new("dpkg-deb").arg("--contents").arg(&path).output();
    let output =
        output.expect("this test needs `dpkg-deb`: `apt install dpkg`, or the `dpkg` package of your system");
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = listing.lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(files, PATHS.len(), "{listing}");
    assert!(listing.contains("-rwxr-xr-x root/root         9 2023-11-14"), "{listing}");
    let output = Command::new("dpkg-deb").arg("--field").arg(&path).arg("Version").output().unwrap();
    assert_eq!(output.stdout, b"1.2.3\n");
}

#[test]
fn the_rpm_reads_back() {
    let bytes = rpm::build(&product(), &agent()).unwrap();
    let package = ::rpm::Package::parse(&mut bytes.as_slice()).unwrap();
    let metadata = &package.metadata;
    assert_eq!((metadata.get_name().unwrap(), metadata.get_version().unwrap()), ("nats-agent", "1.2.3"));
    assert_eq!(metadata.get_build_host().unwrap(), "localhost");
    package.verify_digests().unwrap();
    let mut paths: Vec<_> = metadata.get_file_paths().unwrap();
    paths.sort();
    assert_eq!(paths, PATHS.map(|path| Path::new("/").join(path)));
    let after_install = metadata.get_post_install_script().unwrap().script;
    assert_eq!(after_install, agent().after_install);
    for entry in metadata.get_file_entries().unwrap() {
        let mode = if entry.path() == Path::new("/usr/bin/nats-agent") { 0o755 } else { 0o644 };
        assert_eq!(entry.mode().permissions(), mode, "{:?}", entry.path());
    }
}

#[test]
fn the_provider_is_what_a_registry_serves() {
    let product = product();
    let archive = registry::archive(&product, PROGRAM).unwrap();
    let mut read = zip::ZipArchive::new(std::io::Cursor::new(&archive)).unwrap();
    assert_eq!(read.len(), 1);
    let mut file = read.by_index(0).unwrap();
    assert_eq!(file.name().unwrap(), "terraform-provider-nats_v1.2.3");
    assert_eq!(file.unix_mode().map(|mode| mode & 0o777), Some(0o755));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, PROGRAM);
    let manifest: serde_json::Value = serde_json::from_str(registry::MANIFEST).unwrap();
    assert_eq!(manifest["metadata"]["protocol_versions"], serde_json::json!(["6.0"]));
    let sums = registry::sums(&[("one.zip", &archive), ("empty", b"")]);
    // Source: FIPS 180-4, SHA-256 of no bytes.
    assert!(
        sums.ends_with("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty\n"),
        "{sums}"
    );
    assert_eq!(&sums[64..75], "  one.zip\ne");
    assert_eq!(Sha256::digest(&archive)[0], u8::from_str_radix(&sums[..2], 16).unwrap());
}

#[test]
fn a_program_that_wants_a_loader_is_told_from_one_that_does_not() {
    // This test's own program is an ordinary one.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(build::wants_loader(&own).unwrap());
    let mut alone = own.clone();
    let table = u64::from_le_bytes(alone[32..40].try_into().unwrap());
    let (size, count) =
        (u16::from_le_bytes([alone[54], alone[55]]), u16::from_le_bytes([alone[56], alone[57]]));
    for number in 0..usize::from(count) {
        let header = usize::try_from(table).unwrap() + usize::from(size) * number;
        if alone[header] == 3 {
            alone[header] = 0;
        }
    }
    assert!(!build::wants_loader(&alone).unwrap());
    assert!(build::wants_loader(b"#!/bin/sh").is_err());
    assert!(build::wants_loader(&own[..70]).is_err());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (product, agent) = (product(), agent());
    assert_eq!(deb::build(&product, &agent).unwrap(), deb::build(&product, &agent).unwrap());
    assert_eq!(rpm::build(&product, &agent).unwrap(), rpm::build(&product, &agent).unwrap());
    assert_eq!(registry::archive(&product, PROGRAM).unwrap(), registry::archive(&product, PROGRAM).unwrap());
}

#[test]
fn a_signature_is_made_or_missed() {
    let folder = tempfile::tempdir().unwrap();
    let sums = folder.path().join("SHA256SUMS");
    std::fs::write(&sums, "sums").unwrap();
    let program = folder.path().join("sign");
    let script = |text: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("cp \"$1\" \"$1.sig\"");
    assert_eq!(std::fs::read(sign(program.as_os_str(), &sums).unwrap()).unwrap(), b"sums");
    script("true");
    let error = sign(program.as_os_str(), &sums).unwrap_err().to_string();
    assert!(error.contains("left no `"), "the signature of before must not count: {error}");
    script("exit 3");
    assert!(sign(program.as_os_str(), &sums).unwrap_err().to_string().ends_with("ended with exit status: 3"));
}
