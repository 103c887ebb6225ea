//! `cargo xtask soak`: runs the program that counts promises.

use std::ffi::OsString;
use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::{tools, workspace};
use anyhow::{Context, Result, ensure};

/// Fetches what is missing, then builds the proofs and runs them with `arguments`.
///
/// # Errors
/// When a program is missing, or a proof cannot be made or finds a promise broken.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    tools::nats_server()?;
    tools::terraform()?;
    let mut command = Command::new(binaries::build("soak")?);
    let status =
        command.args(arguments).current_dir(workspace::root()).status().context("cannot start it")?;
    ensure!(status.success(), "proving ended with {status}");
    Ok(())
}
