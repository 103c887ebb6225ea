//! `cargo xtask test-hosts`: runs checks on nine real systemd hosts, prints each figure, fails when a promise is broken.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what a person waits for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use acceptance_tests::hosts::{CHECKS, Extent, Programs, Stage};
use acceptance_tests::rig::binaries;
use acceptance_tests::rig::hosts::{isolation, tree};
use acceptance_tests::tools;
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

/// The check that needs an applier of its own.
const KILL: &str = "kill";
/// The check that needs the hosts to be traced from their first boot on.
const TRACE: &str = "trace";

/// Check promises on nine real systemd hosts.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask test-hosts", bin_name = "cargo xtask test-hosts")]
struct Arguments {
    /// What to check; all when none is named.
    checks: Vec<String>,
    /// Say what there is to check, and do nothing.
    #[arg(long)]
    list: bool,
    /// Where everything random starts; of the clock when absent. Printed where it is used.
    #[arg(long)]
    seed: Option<u64>,
    /// So many rounds in checks that go in rounds; without it the whole of them.
    #[arg(long)]
    rounds: Option<u64>,
    /// Leave the hosts running at the end, until Enter is pressed. Says how to look into them.
    #[arg(long)]
    keep: bool,
    /// The `.deb` to install.
    #[arg(long, hide = true)]
    package: Option<PathBuf>,
    /// The Debian that hosts stand on.
    #[arg(long, hide = true)]
    tree: Option<PathBuf>,
    /// The provider that terraform is given.
    #[arg(long, hide = true)]
    provider: Option<PathBuf>,
    /// The applier whose steps the check `kill` strikes.
    #[arg(long, hide = true)]
    struck_applier: Option<PathBuf>,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        for check in CHECKS {
            println!("{:<16}{}", check.name, check.promise);
        }
        return Ok(());
    }
    if let Some(unknown) =
        arguments.checks.iter().find(|name| CHECKS.iter().all(|known| known.name != **name))
    {
        let known: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        bail!("nothing is called `{unknown}`; there are `{}`", known.join("`, `"));
    }
    let package = arguments.package.clone().context("`cargo xtask test-hosts` names the package")?;
    // What needs this machine's network comes before the hosts', and is handed on by its path.
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(tree), Some(provider)) = (arguments.tree.clone(), arguments.provider.clone()) else {
        tools::terraform()?;
        println!("==> Preparing the Debian that hosts stand on");
        words.extend(["--tree".to_owned(), tree::prepare(&tools::nats_server()?)?.display().to_string()]);
        words.extend(["--provider".to_owned(), binaries::provider()?.display().to_string()]);
        if is_wanted(&arguments, KILL) {
            let applier = binaries::build("struck-applier")?;
            words.extend(["--struck-applier".to_owned(), applier.display().to_string()]);
        }
        return isolation::enter(&words);
    };
    isolation::enter(&words)?;
    let struck_applier = arguments.struck_applier.clone();
    run(&arguments, Programs { tree, package, provider, struck_applier })
}

fn run(arguments: &Arguments, programs: Programs) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(seed_of_clock);
    let extent = Extent { rounds: arguments.rounds, seed, is_traced: is_wanted(arguments, TRACE) };
    let mut stage = Stage::new(programs, extent)?;
    let mut broken = Vec::new();
    // After a check that could not be made nobody knows what the next one would stand on.
    let mut ended: Option<&str> = None;
    let whole = Instant::now();
    for check in CHECKS.iter().filter(|check| is_wanted(arguments, check.name)) {
        println!("==> {}: {}", check.name, check.promise);
        if let Some(ended) = ended {
            println!("    not made, since `{ended}` ended with an error");
            broken.push(format!("{}: not made, since `{ended}` ended with an error", check.name));
            continue;
        }
        if check.starts_over {
            stage = stage.with_hosts_of_nobody()?;
        }
        let started = Instant::now();
        let result = (check.run)(&mut stage);
        match result {
            Ok(rows) => {
                for row in &rows {
                    println!("    {row}");
                }
                broken.extend(
                    rows.iter().filter(|row| !row.is_kept()).map(|row| format!("{}: {row}", check.name)),
                );
            }
            Err(error) => {
                println!("    {error:#}");
                broken.push(format!("{}: {error:#}", check.name));
                ended = Some(check.name);
            }
        }
        println!("    ({:.0} s)", started.elapsed().as_secs_f64());
    }
    println!("==> {:.0} s", whole.elapsed().as_secs_f64());
    if arguments.keep {
        wait_for_enter(&mut stage)?;
    }
    ensure!(broken.is_empty(), "broken:\n{}", broken.join("\n"));
    Ok(())
}

fn is_wanted(arguments: &Arguments, check: &str) -> bool {
    arguments.checks.is_empty() || arguments.checks.iter().any(|name| name == check)
}

fn seed_of_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

fn wait_for_enter(stage: &mut Stage) -> Result<()> {
    for host in stage.hosts().all() {
        println!("{:<10}{}", host.name(), host.way_in());
    }
    println!("The hosts run until Enter is pressed.");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
