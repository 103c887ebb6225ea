//! `cargo xtask tools`: makes sure that the programs which tests run are there, and prints where.

use acceptance_tests::tools;
use anyhow::Result;

/// Prints one line per program: its name, a tab and its path.
///
/// # Errors
/// When nats-server can be neither found nor fetched, or terraform is missing or too old.
pub(crate) fn run() -> Result<()> {
    println!("nats-server\t{}", tools::nats_server()?.display());
    println!("terraform\t{}", tools::terraform()?.display());
    Ok(())
}
