//! Whatever is done to the audit log of a host: `verify` there says so, and the next plan of whoever declared the host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::scenario::audit::{HANDS, Hand, touched_anywhere, warned};
use acceptance_tests::scenario::system::{DEADLINE, System};
use host_state::layout;

/// The host whose log is touched.
const HOST: &str = "east-2";

fn log(system: &System) -> PathBuf {
    system.host(HOST).state_dir().join(layout::AUDIT).join(layout::audit_file(1))
}

/// What `nats-agent audit` says on the host, and its exit code.
fn asked(system: &System, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binaries::agent().unwrap());
    command.arg("audit").args(arguments).arg("--state-dir").arg(system.host(HOST).state_dir());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_touched_log_is_told_by_verify_and_by_the_next_plan() {
    let mut system = System::running(&[("east", 2)]);
    system.plan_is_empty();
    assert_eq!(warned(&system.plan()), Vec::<String>::new());
    let (code, sound) = asked(&system, &["verify"]);
    assert_eq!(code, 0, "{sound}");
    for case in HANDS {
        let Hand { what, verify, .. } = case;
        let whole = fs::read_to_string(log(&system)).unwrap();
        fs::write(log(&system), case.touched(&whole)).unwrap();
        let (code, said) = asked(&system, &["verify"]);
        assert!(code == 2 && said.contains(verify), "{what}: {code}: {said}");
        let told = warned(&system.plan());
        assert!(
            !told.is_empty() && told.iter().all(|line| line.starts_with(&format!("{HOST}: audit "))),
            "{what}: {told:#?}"
        );
        assert!(told[0].contains(verify), "{what}: {told:#?}");
        println!("{what:10} {}", told[0]);
        fs::write(log(&system), whole).unwrap();
        assert_eq!(warned(&system.plan()), Vec::<String>::new(), "{what}: it was put back");
    }
    let whole = fs::read_to_string(log(&system)).unwrap();
    for (what, touched) in touched_anywhere(&whole) {
        fs::write(log(&system), touched).unwrap();
        let (code, said) = asked(&system, &["verify"]);
        assert_eq!(code, 2, "{what}: {said}");
    }
    fs::write(log(&system), whole).unwrap();
    cut(&mut system);
}

/// Records are cut off the end while no agent runs: what is left is sound, and not what was there.
fn cut(system: &mut System) {
    let (_, newest) = asked(system, &["show", "--last", "1", "--json"]);
    let newest: serde_json::Value = serde_json::from_str(&newest).unwrap();
    let head = format!("{}:{}", newest["seq"], newest["hash"].as_str().unwrap());
    assert_eq!(asked(system, &["verify", "--against", &head]).0, 0);
    system.host_mut(HOST).agent().unwrap().kill().unwrap();
    let state = system.host(HOST).state_dir().join(layout::AUDIT);
    let mut files: Vec<PathBuf> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files[1..] {
        fs::remove_file(file).unwrap();
    }
    let whole = fs::read_to_string(&files[0]).unwrap();
    let left: Vec<&str> = whole.split_inclusive('\n').take(12).collect();
    fs::write(log(system), left.concat()).unwrap();
    assert_eq!(asked(system, &["verify"]).0, 0, "what is left is sound by itself");
    let (code, said) = asked(system, &["verify", "--against", &head]);
    assert!(code == 2 && said.contains("it ends with record 12, and it had"), "{code}: {said}");
    let host = system.host_mut(HOST);
    host.start().unwrap();
    host.await_listening(DEADLINE).unwrap();
    let is_up = || Ok(system.plan().outcome() == Outcome::Unchanged);
    wait_until("its server runs again", DEADLINE, is_up).unwrap();
    let told = warned(&system.plan());
    assert!(
        told.len() == 1 && told[0].starts_with(&format!("{HOST}: audit log is not the one")),
        "{told:#?}"
    );
    println!("cut        {}", told[0]);
    assert_eq!(warned(&system.plan()), told, "the next plan says it too");
    system.apply();
    assert_eq!(warned(&system.plan()).len(), 1, "an apply does not make it good");
}
