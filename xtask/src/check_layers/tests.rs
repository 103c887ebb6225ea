//! Small trees that break one rule each, and the finding that must come of it.

use std::fs;
use std::path::Path;

use super::{Finding, check};

/// A workspace whose crates are called and placed like ours, each with a `lib.rs` that breaks nothing.
const MEMBERS: &[(&str, &str)] = &[
    ("nats-config", "agent/nats-config"),
    ("host-state", "agent/host-state"),
    ("nats-agent-api", "agent/api"),
    ("nats-agent", "agent"),
    ("terraform-provider-nats", "provider"),
    ("acceptance-tests", "acceptance-tests"),
];

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let paths: Vec<String> = MEMBERS.iter().map(|(_, path)| format!("\"{path}\"")).collect();
        let shared: Vec<String> =
            MEMBERS.iter().map(|(name, path)| format!("{name} = {{ path = \"{path}\" }}\n")).collect();
        let root = format!(
            "[workspace]\nresolver = \"3\"\nmembers = [{}]\n[workspace.dependencies]\n{}tokio = \"1\"\n",
            paths.join(", "),
            shared.concat()
        );
        tree.write("Cargo.toml", &root);
        for (name, path) in MEMBERS {
            tree.manifest(name, path, "");
            tree.write(&format!("{path}/src/lib.rs"), "//! Nothing wrong here.\n");
        }
        tree
    }

    fn manifest(&self, name: &str, path: &str, dependencies: &str) {
        let text =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{dependencies}");
        self.write(&format!("{path}/Cargo.toml"), &text);
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn findings(&self) -> Vec<String> {
        check(self.0.path()).unwrap().iter().map(Finding::to_string).collect()
    }
}

/// The findings of a tree in which only `file` differs from one that is right.
fn findings_of(file: &str, text: &str) -> Vec<String> {
    let tree = Tree::new();
    tree.write(file, text);
    tree.findings()
}

#[test]
fn a_right_tree_has_no_findings() {
    assert_eq!(Tree::new().findings(), [""; 0]);
}

#[test]
fn provider_and_agent_must_not_meet() {
    let tree = Tree::new();
    tree.manifest("terraform-provider-nats", "provider", "[dev-dependencies]\nnats-agent.workspace = true\n");
    assert_eq!(
        tree.findings(),
        ["provider/Cargo.toml: `terraform-provider-nats` must not depend on `nats-agent`"]
    );
}

#[test]
fn dependencies_run_one_way() {
    let tree = Tree::new();
    tree.manifest("nats-config", "agent/nats-config", "[dependencies]\nhost-state.workspace = true\n");
    assert_eq!(
        tree.findings(),
        ["agent/nats-config/Cargo.toml: `nats-config` must not depend on `host-state`"]
    );
}

#[test]
fn a_crate_may_name_itself_for_a_feature_of_its_tests() {
    let tree = Tree::new();
    let own = "nats-agent-api = { workspace = true, features = [\"fake\"] }\n";
    tree.manifest(
        "nats-agent-api",
        "agent/api",
        &format!("[features]\nfake = []\n[dev-dependencies]\n{own}"),
    );
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn tests_may_use_the_rigs_and_programs_may_not() {
    let tree = Tree::new();
    tree.manifest("nats-agent", "agent", "[dev-dependencies]\nacceptance-tests.workspace = true\n");
    assert_eq!(tree.findings(), [""; 0]);
    tree.manifest("nats-agent", "agent", "[dependencies]\nacceptance-tests.workspace = true\n");
    assert_eq!(tree.findings(), ["agent/Cargo.toml: `nats-agent` must not depend on `acceptance-tests`"]);
}

#[test]
fn a_new_crate_needs_a_line_in_the_rules() {
    let tree = Tree::new();
    tree.manifest("surprise", "agent", "");
    assert_eq!(
        tree.findings(),
        ["agent/Cargo.toml: `surprise` has no line in the rules on what it may depend on"]
    );
}

#[test]
fn a_pure_crate_must_not_depend_on_tokio_except_in_tests() {
    let tree = Tree::new();
    tree.manifest("nats-config", "agent/nats-config", "[dependencies]\ntokio.workspace = true\n");
    tree.manifest("host-state", "agent/host-state", "[dev-dependencies]\ntokio.workspace = true\n");
    assert_eq!(
        tree.findings(),
        ["agent/nats-config/Cargo.toml: `nats-config` is pure and must not depend on `tokio`"]
    );
}

#[test]
fn versions_and_features_stand_in_the_root_manifest() {
    for dependencies in [
        "[dependencies]\ntokio = \"1\"\n",
        "[dev-dependencies]\ntokio = { version = \"1\" }\n",
        "[build-dependencies]\ntokio = { workspace = true, features = [\"net\"] }\n",
        "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n",
    ] {
        let tree = Tree::new();
        tree.manifest("nats-agent", "agent", dependencies);
        assert_eq!(
            tree.findings(),
            [
                "agent/Cargo.toml: `tokio` must be `tokio.workspace = true`; its version stands in the root manifest"
            ],
            "{dependencies}"
        );
    }
}

#[test]
fn features_of_our_own_crates_may_be_chosen() {
    let tree = Tree::new();
    let dependencies = "[dev-dependencies]\nnats-config = { workspace = true, features = [\"arbitrary\"] }\n";
    tree.manifest("host-state", "agent/host-state", dependencies);
    tree.write(
        "agent/nats-config/Cargo.toml",
        "[package]\nname = \"nats-config\"\nversion = \"0.1.0\"\n[features]\narbitrary = []\n",
    );
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn files_open_with_their_purpose() {
    for text in
        ["", "use std::fmt;\n", "//!\n", "// x\n", "\n//! Late.\n", "#![forbid(unsafe_code)]\n//! Late.\n"]
    {
        assert_eq!(
            findings_of("agent/src/part.rs", text),
            ["agent/src/part.rs:1: must open with a `//!` line that says what the file is for"],
            "{text:?}"
        );
    }
}

#[test]
fn files_are_named_for_a_concern() {
    assert_eq!(
        findings_of("agent/src/part/mod.rs", "//! Here.\n"),
        ["agent/src/part/mod.rs: must be `x.rs` beside the folder `x/`, not `x/mod.rs`"]
    );
    for (file, name) in [("agent/src/utils.rs", "utils"), ("agent/src/common/io.rs", "common")] {
        assert_eq!(
            findings_of(file, "//! Here.\n"),
            [format!("{file}: `{name}` names no concern; name the file or folder for what it does")]
        );
    }
}

#[test]
fn pure_code_names_no_effects() {
    for (code, named) in [
        ("fn f() { let _ = std::fs::read(\"x\"); }", "std::fs::read"),
        ("fn f() { let _ = ::std::fs::read(\"x\"); }", "std::fs::read"),
        ("use std::{fmt, fs as disk}; fn f() -> fmt::Result { Ok(()) }", "std::fs"),
        ("use std::time::*; use std::time::Instant; fn f() { Instant::now(); }", "std::time::Instant::now"),
        ("use std as s; fn f() { s::process::exit(1); }", "std::process::exit"),
        ("fn f() { use std::time::SystemTime as Clock; Clock::now(); }", "std::time::SystemTime::now"),
        (
            "fn f() -> time::OffsetDateTime { time::OffsetDateTime::now_utc() }",
            "time::OffsetDateTime::now_utc",
        ),
        ("use std::net::{IpAddr, TcpStream};", "std::net::TcpStream"),
        ("struct S { socket: std::net::UdpSocket }", "std::net::UdpSocket"),
        ("async fn f() { tokio::task::yield_now().await }", "tokio::task::yield_now"),
        ("fn f() -> String { format!(\"{:?}\", std::env::var(\"HOME\")) }", "std::env::var"),
        ("fn f() { ring::rand::SystemRandom::new(); }", "ring::rand::SystemRandom::new"),
        (
            "fn f() { p256::SecretKey::random(&mut p256::elliptic_curve::rand_core::OsRng); }",
            "p256::elliptic_curve::rand_core::OsRng",
        ),
        ("impl S { fn f() { getrandom::fill(&mut []); } }", "getrandom::fill"),
    ] {
        let findings = findings_of("agent/nats-config/src/model.rs", &format!("//! Model.\n{code}\n"));
        let wanted = format!("agent/nats-config/src/model.rs:2: pure code must not name `{named}`");
        assert!(findings.contains(&wanted), "{code}: {findings:?}");
    }
}

#[test]
fn pure_code_calls_no_method_that_looks_at_the_world() {
    assert_eq!(
        findings_of(
            "provider/src/topology/rules.rs",
            "//! Rules.\nfn f(p: &std::path::Path) -> bool { p.exists() }\n"
        ),
        ["provider/src/topology/rules.rs:2: pure code must not call `.exists()`"]
    );
}

#[test]
fn the_topology_does_not_reach_for_impure_neighbours() {
    assert_eq!(
        findings_of("provider/src/topology.rs", "//! Topology.\nuse crate::{agents::Agents, topology};\n"),
        ["provider/src/topology.rs:2: the topology, which is pure, must not name `crate::agents::Agents`"]
    );
}

#[test]
fn pure_code_may_use_addresses_and_times_that_come_in() {
    let text = "//! Model.\nuse std::net::{IpAddr, SocketAddr};\nuse std::time::{Duration, SystemTime};\n\
        /// Speaks of std::fs in a comment and \"tokio::net\" in a string.\n\
        fn f(a: IpAddr, b: SocketAddr, c: SystemTime, fs: u8) -> (Duration, &'static str) { let env = fs; (Duration::ZERO, \"std::fs::read\") }\n";
    assert_eq!(findings_of("agent/nats-config/src/model.rs", text), [""; 0]);
}

#[test]
fn tests_of_pure_code_may_read_files() {
    let tree = Tree::new();
    let text = "//! Model.\n#[cfg(test)]\nmod tests { use std::fs; fn f() { let _ = fs::read(\"x\"); } }\n#[cfg(test)]\nmod golden;\n";
    tree.write("agent/nats-config/src/model.rs", text);
    tree.write("agent/nats-config/src/model/golden.rs", "//! Golden files.\nuse std::fs;\n");
    tree.write("agent/nats-config/tests/render.rs", "//! Golden files.\nuse std::fs;\n");
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn only_the_places_named_pure_are_held_to_it() {
    assert_eq!(findings_of("agent/src/parts/store.rs", "//! Store.\nuse std::fs;\n"), [""; 0]);
}

#[test]
fn the_applier_opens_no_inet_socket() {
    for (code, named) in [
        ("use tokio::net::{TcpStream, UnixStream};", "tokio::net::TcpStream"),
        ("fn f() { let _ = std::net::TcpListener::bind(\"127.0.0.1:0\"); }", "std::net::TcpListener::bind"),
        ("use async_nats::Client;", "async_nats::Client"),
        ("fn f(c: tonic::transport::Channel) {}", "tonic::transport::Channel"),
    ] {
        for file in ["agent/src/applier.rs", "agent/src/applier/ledger.rs", "agent/src/border/link.rs"] {
            assert_eq!(
                findings_of(file, &format!("//! Applier.\n{code}\n")),
                [format!(
                    "{file}:2: the applier and the border before it, which have no inet sockets, must not name `{named}`"
                )],
                "{code}"
            );
        }
    }
    assert_eq!(
        findings_of("agent/src/applier.rs", "//! Applier.\nuse tokio::net::UnixStream;\nuse std::fs;\n"),
        [""; 0]
    );
}

#[test]
fn source_that_does_not_parse_is_an_error_that_names_the_file() {
    let tree = Tree::new();
    tree.write("agent/nats-config/src/broken.rs", "//! Broken.\nfn {\n");
    let error = check(Path::new(tree.0.path())).unwrap_err();
    assert_eq!(error.to_string(), "parse `agent/nats-config/src/broken.rs`");
}

#[test]
fn the_applier_changes_nothing_past_its_named_effects() {
    let files = "the applier, which changes files through `applier/files` by named effects only,";
    let processes =
        "the applier, whose processes are started and signalled by named effects in five files only,";
    for (line, what, named) in [
        ("fn f() { std::fs::write(\"a\", \"b\").ok(); }", files, "std::fs::write"),
        ("use std::fs::File;\nfn f() { File::create(\"a\").ok(); }", files, "std::fs::File::create"),
        ("use std::fs;\nfn f() { fs::remove_dir_all(\"a\").ok(); }", files, "std::fs::remove_dir_all"),
        ("fn f() { std::os::unix::fs::symlink(\"a\", \"b\").ok(); }", files, "std::os::unix::fs::symlink"),
        ("fn f() { rustix::fs::renameat(); }", files, "rustix::fs::renameat"),
        ("fn f() { std::process::Command::new(\"a\"); }", processes, "std::process::Command::new"),
        ("fn f() { rustix::process::kill_process(); }", processes, "rustix::process::kill_process"),
    ] {
        for file in ["agent/src/applier/ledger.rs", "agent/src/parts/store.rs"] {
            let findings = findings_of(file, &format!("//! Some.\n{line}\n"));
            assert!(
                findings.iter().any(|finding| finding.ends_with(&format!("{what} must not name `{named}`"))),
                "{file} `{line}`: {findings:?}"
            );
        }
    }
    let text = "//! Files.\nuse std::fs::{self, File};\nfn f() { fs::write(\"a\", \"b\").ok(); File::create(\"a\").ok(); }\n";
    assert_eq!(findings_of("agent/src/applier/files.rs", text), [""; 0]);
    let reads =
        "//! Reads.\nuse rustix::fs::{CWD, OFlags};\nfn f() { rustix::fs::openat(CWD, OFlags::RDONLY); }\n";
    assert_eq!(findings_of("agent/src/applier/files/reading.rs", reads), [""; 0]);
    for change in
        ["std::fs::write(\"a\", \"b\")", "rustix::fs::unlinkat()", "rustix::fs::openat(OFlags::CREATE)"]
    {
        let text = format!("//! Reads.\nuse rustix::fs::OFlags;\nfn f() {{ {change}; }}\n");
        assert_eq!(findings_of("agent/src/applier/files/reading.rs", &text).len(), 1, "{change}");
    }
    let test = "//! Some.\n#[cfg(test)]\nmod tests { fn f() { std::fs::write(\"a\", \"b\").ok(); } }\n";
    assert_eq!(findings_of("agent/src/applier/ledger.rs", test), [""; 0]);
}
