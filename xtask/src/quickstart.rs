//! `cargo xtask quickstart`: runs the program that shows everything on one machine.

use std::process::Command;

use acceptance_tests::{tools, workspace};
use anyhow::{Context, Result, ensure};

/// Fetches what is missing, then builds and runs the quickstart; its progress goes to the terminal.
///
/// # Errors
/// When a program is missing, or the quickstart fails.
pub(crate) fn run(keep: bool) -> Result<()> {
    tools::nats_server()?;
    tools::terraform()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--locked", "--package", "acceptance-tests", "--bin", "quickstart", "--"]);
    command.args(keep.then_some("--keep")).current_dir(workspace::root());
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "the quickstart ended with {status}");
    Ok(())
}
