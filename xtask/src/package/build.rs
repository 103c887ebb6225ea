//! The programs that go into packages: the ordinary development build, or static release builds.

use std::path::Path;
use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::workspace;
use anyhow::{Context, Result, ensure};

/// Both programs, whole.
pub(super) struct Programs {
    pub(super) agent: Vec<u8>,
    pub(super) provider: Vec<u8>,
}

/// What tests build anyway.
///
/// # Errors
/// When it does not compile.
pub(super) fn development() -> Result<Programs> {
    Ok(Programs { agent: read(&binaries::agent()?)?, provider: read(&binaries::provider()?)? })
}

/// The agent that tests build anyway.
///
/// # Errors
/// When it does not compile.
pub(super) fn development_agent() -> Result<Vec<u8>> {
    read(&binaries::agent()?)
}

/// Release builds that need no library of the host: one provider for every Linux, Alpine too, and an agent for every
/// glibc. The target is named, so that cargo keeps the flags away from build scripts and macros, which must load
/// libraries.
///
/// # Errors
/// When it does not compile.
pub(super) fn release() -> Result<Programs> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", &target, "--workspace"])
        .args(["--bin", "nats-agent", "--bin", "terraform-provider-nats"])
        .env(flags, "-C target-feature=+crt-static")
        .current_dir(workspace::root())
        .status()
        .context("run `cargo build`")?;
    ensure!(status.success(), "`cargo build --release` ended with {status}");
    let folder = workspace::target_dir().join(target).join("release");
    Ok(Programs {
        agent: read(&folder.join("nats-agent"))?,
        provider: read(&folder.join("terraform-provider-nats"))?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read `{}`", path.display()))
}
