//! `netfilter`: proves the firewall against a real kernel, as root. Also the process that such a run kills.
#![expect(clippy::print_stdout, reason = "the figures are what a person waits for")]

use std::path::PathBuf;

use acceptance_tests::netfilter;
use acceptance_tests::soak::{Extent, Order};
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

/// Prove the firewall in network namespaces, with real nft and real connections.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proof and print its figures.
    Prove {
        /// Everything random derives from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A short run.
        #[arg(long)]
        sample: bool,
    },
    /// Put the rules on standard input on trial and wait to be killed.
    #[command(hide = true)]
    Hold {
        /// Where the firewall keeps its files.
        state: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Hold { state } => netfilter::hold(&state),
        Command::Prove { seed, sample } => {
            let extent = if sample { Extent::Sample } else { Extent::Whole };
            let proof = netfilter::prove(&Order { seed, extent })?;
            println!("{}", proof.text(seed, "this machine"));
            let broken = proof.broken();
            if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("; ")) }
        }
    }
}
