//! Our own two programs, built once per test process. Must not look for binaries that somebody else installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::workspace;

/// Builds `terraform-provider-nats` with the profile of this build and says where it is. The second call in a process only
/// remembers; other processes wait for cargo's own lock.
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

/// The package and its program have the same name.
fn build_once(built: &OnceLock<Result<PathBuf, String>>, name: &str) -> Result<PathBuf> {
    built
        .get_or_init(|| build(name).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|text| anyhow!(text))
}

fn build(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--message-format=json", "--package", name])
        .current_dir(workspace::root())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().context("run `cargo build`")?;
    ensure!(output.status.success(), "`cargo build --package {name}` ended with {}", output.status);
    executable(&String::from_utf8_lossy(&output.stdout), name)
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
