//! The script and the user data, byte for byte, read by a real shell and a real YAML parser.

use std::process::Command;

use proptest::prelude::*;

use super::super::LISTEN;
use super::*;

fn run(script: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("sh").args(arguments).arg("-c").arg(script).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

fn package(url: &str) -> Package {
    Package { url: url.parse().unwrap(), sha256: "ab".repeat(32).parse().unwrap() }
}

fn joining(package: Option<&Package>) -> String {
    let host = "east-1".parse().unwrap();
    script(&Joining { host: &host, enrollment: "nats-enrollment-v1.e30", listen: LISTEN, package })
}

fn golden(name: &str, found: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{}: every byte of it is in the user data of machines", path.display());
}

#[test]
fn the_text_is_what_it_always_was() {
    let deb = package("https://packages.example.com/nats-agent_0.1.0_amd64.deb");
    golden("join_deb.sh", &joining(Some(&deb)));
    golden("join_image.sh", &joining(None));
    golden("join_image.user_data.yaml", &user_data(&joining(None)));
}

#[test]
fn a_host_without_user_data_listens_where_one_with_it_does() {
    let settings = include_str!("../../../../../agent/packaging/agent.env");
    assert!(settings.lines().any(|line| line == format!("NATS_AGENT_LISTEN={LISTEN}")), "{settings}");
}

#[test]
fn a_posix_shell_reads_it() {
    let rpm = package("https://packages.example.com/nats-agent.rpm?sig=a%27b");
    for text in [joining(None), joining(Some(&rpm))] {
        assert!(run(&text, &["-n"]).0, "{text}");
        assert!(text.is_ascii() && text.ends_with('\n'));
    }
}

#[test]
fn cloud_init_gets_the_script_and_runs_it_once() {
    let script = joining(Some(&package("http://10.0.0.1/x.deb")));
    let user_data = user_data(&script);
    assert!(user_data.starts_with("#cloud-config\n") && user_data.len() < 16 * 1024, "EC2 takes 16 KB");
    let read: serde_json::Value = serde_yaml_ng::from_str(&user_data).unwrap();
    let wanted = serde_json::json!({
        "write_files": [
            { "path": SCRIPT_FILE, "owner": "root:root", "permissions": "0700", "content": script },
        ],
        "runcmd": [["sh", SCRIPT_FILE]],
    });
    assert_eq!(read, wanted);
}

#[test]
fn only_packages_are_packages() {
    assert_eq!(package("https://x/a.deb?token=1").file(), Some("nats-agent.deb"));
    assert_eq!(package("https://x/a.rpm").file(), Some("nats-agent.rpm"));
    assert_eq!(package("https://x/a.tar.gz?x=.deb").file(), None);
}

/// Text that tries to get out of quotes.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("'; exit 7; '".to_owned()),
        Just("$(exit 7)`exit 7`".to_owned()),
        Just("\n  - [sh, -c, reboot]\n".to_owned()),
        Just("\t\u{85}\u{2028}\u{feff}\u{1F600}\u{7f}\r".to_owned()),
        "\\PC{0,8}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_gets_out_of_its_quotes(text in hostile()) {
        let script = format!("{}printf '%s.' \"$host\"", variables(&[("host", &text)]));
        prop_assert_eq!(run(&script, &["-eu"]), (true, format!("{text}.")));
        let read: serde_json::Value = serde_yaml_ng::from_str(&user_data(&script)).unwrap();
        prop_assert_eq!(read["write_files"][0]["content"].as_str(), Some(script.as_str()));
        prop_assert_eq!(read["runcmd"].as_array().map(Vec::len), Some(1));
    }
}
