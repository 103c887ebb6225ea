//! `cargo xtask bench`: measures what it is told to, prints the figures and keeps them in `docs/performance.md`.
#![expect(clippy::print_stdout, reason = "the figures are what a person waits for")]

use acceptance_tests::bench::{agent_asked, agent_idle, apply, plan, provider_start, refresh, report, scale};
use acceptance_tests::rig::binaries;
use acceptance_tests::workspace;
use anyhow::{Context, Result, bail};

/// One measurement.
type Measure = fn() -> Result<report::Table>;

/// All of them, in the order in which they run.
const MEASUREMENTS: [(&str, Measure); 7] = [
    ("provider-start", provider_start::run),
    ("agent-idle", agent_idle::run),
    ("agent-asked", agent_asked::run),
    ("plan", plan::run),
    ("apply", apply::run),
    ("scale", scale::run),
    ("refresh", refresh::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| MEASUREMENTS.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = MEASUREMENTS.iter().map(|(name, _)| *name).collect();
        bail!("nothing is called `{unknown}`; there are `{}`", known.join("`, `"));
    }
    println!("==> Building provider and agent for release");
    binaries::for_release();
    binaries::provider()?;
    binaries::agent()?;
    for (name, measure) in MEASUREMENTS {
        if !wanted.is_empty() && wanted.iter().all(|wanted| wanted != name) {
            continue;
        }
        println!("==> {name}");
        let machine = report::machine();
        let text = measure().with_context(|| format!("measure `{name}`"))?.text(&machine);
        println!("{text}\n");
        report::keep(&workspace::root().join("docs/performance.md"), name, &text)?;
    }
    Ok(())
}
