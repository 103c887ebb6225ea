//! `cargo xtask test-hosts`: packs the development build and runs the program that checks real hosts.

use std::ffi::OsString;
use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::workspace;
use anyhow::{Context, Result, ensure};

use crate::package;

/// Packs the agent and runs the checks with `arguments`.
///
/// # Errors
/// When a program is missing, or a check cannot be made or finds a promise broken.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let package = package::deb_of_development()?;
    let mut command = Command::new(binaries::build("test-hosts")?);
    command.args(arguments).arg("--package").arg(package).current_dir(workspace::root());
    let status = command.status().context("cannot start it")?;
    ensure!(status.success(), "checking ended with {status}");
    Ok(())
}
