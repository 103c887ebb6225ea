//! `cargo xtask soak`: counts promises, prints the figures and keeps those of whole runs in `docs/proofs.md` when every
//! promise held.
#![expect(clippy::print_stdout, reason = "the figures are what a person waits for")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use acceptance_tests::bench::report;
use acceptance_tests::rig::binaries;
use acceptance_tests::soak::{Extent, Order, PROOFS};
use acceptance_tests::workspace;
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

/// Count promises on the real programs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak", bin_name = "cargo xtask soak")]
struct Arguments {
    /// What to prove; all when none is named.
    names: Vec<String>,
    /// Where everything random starts; of the clock when absent. Printed with the figures.
    #[arg(long)]
    seed: Option<u64>,
    /// So many rounds instead of the whole. The figures are printed and not kept.
    #[arg(long, conflicts_with = "sample")]
    rounds: Option<u64>,
    /// As little as `cargo test` runs. The figures are printed and not kept.
    #[arg(long)]
    sample: bool,
}

fn main() -> Result<()> {
    let Arguments { names, seed, rounds, sample } = Arguments::parse();
    if let Some(unknown) = names.iter().find(|name| PROOFS.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = PROOFS.iter().map(|(name, _)| *name).collect();
        bail!("nothing is called `{unknown}`; there are `{}`", known.join("`, `"));
    }
    let extent = match rounds {
        Some(rounds) => Extent::Rounds(rounds),
        None if sample => Extent::Sample,
        None => Extent::Whole,
    };
    println!("==> Building provider and agent");
    binaries::provider()?;
    binaries::agent()?;
    let mut broken = Vec::new();
    for (name, prove) in PROOFS {
        if !names.is_empty() && names.iter().all(|wanted| wanted != name) {
            continue;
        }
        let order = Order { seed: seed.unwrap_or_else(seed_of_clock), extent };
        println!("==> {name} (seed {})", order.seed);
        let (machine, started) = (report::machine(), Instant::now());
        let proof = prove(&order).with_context(|| format!("prove `{name}` with `--seed {}`", order.seed))?;
        let text = proof.text(order.seed, &machine);
        println!("{text}\n\n{name}: {:.0} s\n", started.elapsed().as_secs_f64());
        broken.extend(proof.broken().into_iter().map(|line| format!("{name}: {line}")));
        if extent == Extent::Whole && proof.broken().is_empty() {
            report::keep(&workspace::root().join("docs/proofs.md"), name, &text)?;
        }
    }
    ensure!(broken.is_empty(), "promises were broken:\n{}", broken.join("\n"));
    Ok(())
}

fn seed_of_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}
