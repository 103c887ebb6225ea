//! Our own programs, built once per process. Must not look for binaries that somebody else installed.
//!
//! They are built as members of the whole workspace, and without the variables that cargo sets for the program it runs.
//! Otherwise the same dependencies would be compiled again: with the fewer features that one package alone asks for, or
//! because a build script watches a variable like `CARGO_PKG_NAME` (ring 0.17 does), which an outer `cargo test` sets.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};

use crate::workspace;

/// Whether programs are built for release although this one is not.
static RELEASE: AtomicBool = AtomicBool::new(false);

/// From now on builds what users install, whatever the profile of this build. To be called before any other function
/// here: what was built before stays as it is.
pub fn for_release() {
    RELEASE.store(true, Ordering::Relaxed);
}

/// Builds `terraform-provider-nats`, with the profile of this build unless [`for_release`] was called, and says where it
/// is. The second call in a process only remembers; other processes wait for cargo's own lock.
///
/// # Errors
/// When it does not compile; the compiler's messages are on standard error.
pub fn provider() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    build_once(&BUILT, "terraform-provider-nats")
}

/// Builds `nats-agent`; otherwise as [`provider`].
///
/// # Errors
/// As [`provider`].
pub fn agent() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    build_once(&BUILT, "nats-agent")
}

fn build_once(built: &OnceLock<Result<PathBuf, String>>, name: &str) -> Result<PathBuf> {
    built
        .get_or_init(|| build(name).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|text| anyhow!(text))
}

/// Builds any program of the workspace and says where it is; otherwise as [`provider`], but never remembers.
///
/// # Errors
/// As [`provider`], and when there is no such program.
pub fn build(name: &str) -> Result<PathBuf> {
    let mut command = cargo_build();
    if RELEASE.load(Ordering::Relaxed) || !cfg!(debug_assertions) {
        command.arg("--release");
    }
    built(command, name)
}

/// As [`build`], for release and with libc in the program: it needs no library of the host, whatever its glibc, Alpine
/// too. The target is named, so that cargo keeps the flags away from build scripts and macros, which must load libraries.
///
/// # Errors
/// As [`build`].
pub fn build_static(name: &str) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    let mut command = cargo_build();
    command.args(["--release", "--target", &target]).env(flags, "-C target-feature=+crt-static");
    built(command, name)
}

/// `cargo build` of the workspace, not yet of any program.
fn cargo_build() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--locked", "--message-format=json", "--workspace"])
        .current_dir(workspace::root())
        .stderr(Stdio::inherit());
    for (variable, _) in
        std::env::vars_os().filter(|(variable, _)| is_set_by_cargo(&variable.to_string_lossy()))
    {
        command.env_remove(variable);
    }
    command
}

fn built(mut command: Command, name: &str) -> Result<PathBuf> {
    let output = command.args(["--bin", name]).output().context("run `cargo build`")?;
    ensure!(output.status.success(), "`cargo build --bin {name}` ended with {}", output.status);
    executable(&String::from_utf8_lossy(&output.stdout), name)
}

/// Whether cargo sets the variable for the programs it compiles and runs, so that it says nothing about the next build.
/// Source: cargo 1.95, "environment variables Cargo sets for crates".
fn is_set_by_cargo(variable: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
        "CARGO_TARGET_TMPDIR",
        "OUT_DIR",
    ]
    .iter()
    .any(|own| variable.starts_with(own))
}

/// The program called `name` among cargo's messages. Source: cargo 1.95, "external tools", artifact messages.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("`cargo build` named no program `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_sets_for_cargo_is_kept() {
        for own in
            ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_PRE", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_nats-agent"]
        {
            assert!(is_set_by_cargo(own), "{own}");
        }
        for other in
            ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE", "PATH"]
        {
            assert!(!is_set_by_cargo(other), "{other}");
        }
    }

    #[test]
    fn the_program_is_found_among_libraries_and_other_lines() {
        let messages = r#"not json
{"reason":"compiler-artifact","target":{"name":"nats-agent"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"nats-agent"},"executable":"/t/nats-agent"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "nats-agent").unwrap(), PathBuf::from("/t/nats-agent"));
        let error = executable(messages, "missing").unwrap_err().to_string();
        assert_eq!(error, "`cargo build` named no program `missing`");
    }
}
