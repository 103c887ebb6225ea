//! `cargo xtask bench`: runs the program that measures.

use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::{tools, workspace};
use anyhow::{Context, Result, ensure};

/// Fetches what is missing, then builds and runs the measurements called `names`, or all.
///
/// # Errors
/// When a program is missing, or a measurement cannot be made. A missed goal is no error.
pub(crate) fn run(names: &[String]) -> Result<()> {
    tools::nats_server()?;
    tools::terraform()?;
    let mut command = Command::new(binaries::build("bench")?);
    let status = command.args(names).current_dir(workspace::root()).status().context("cannot start it")?;
    ensure!(status.success(), "measuring ended with {status}");
    Ok(())
}
