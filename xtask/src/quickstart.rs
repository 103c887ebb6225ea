//! `cargo xtask quickstart`: runs the program that shows everything on one machine.

use std::process::Command;

use acceptance_tests::rig::binaries;
use acceptance_tests::{tools, workspace};
use anyhow::{Context, Result, ensure};

/// Fetches what is missing, then builds and runs the quickstart; its progress goes to the terminal.
///
/// # Errors
/// When a program is missing, or the quickstart fails.
pub(crate) fn run(keep: bool) -> Result<()> {
    tools::nats_server()?;
    tools::terraform()?;
    println!("==> Building the quickstart; the first time takes minutes");
    let mut command = Command::new(binaries::build("quickstart")?);
    command.args(keep.then_some("--keep")).current_dir(workspace::root());
    let status = command.status().context("cannot start the quickstart")?;
    ensure!(status.success(), "the quickstart ended with {status}");
    Ok(())
}
