//! The project's own commands: `cargo xtask <command>`. Reads the command line and nothing else.
#![expect(clippy::print_stdout, reason = "what these commands find goes to the terminal")]

mod bench;
mod check_layers;
mod docs;
mod package;
mod quickstart;
mod soak;
mod test_hosts;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find nats-server (fetching the pinned version when it is missing) and terraform, and print where they are.
    Tools,
    /// Show everything on this machine: nine agents, one apply, real traffic, drift and repair, then destroy.
    Quickstart {
        /// Leave the supercluster running at the end, until Enter is pressed.
        #[arg(long)]
        keep: bool,
    },
    /// Measure release builds beside floors, print the figures and keep them in docs/performance.md.
    Bench {
        /// What to measure: `provider-start`, `agent-idle`, `agent-asked`, `plan`, `apply`, `scale`, `refresh`. All
        /// when none is named.
        names: Vec<String>,
    },
    /// Count promises on the real programs, print the figures with their seed and keep them in docs/proofs.md.
    ///
    /// `cargo xtask soak [NAME]... [--seed N] [--rounds N | --sample]`; `cargo xtask soak --help` says more.
    #[command(disable_help_flag = true)]
    Soak {
        /// Handed to the program that proves.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check promises on nine real systemd hosts, as root, and print the figures.
    ///
    /// `cargo xtask test-hosts [CHECK]... [--list] [--keep]`; `cargo xtask test-hosts --help` says more.
    #[command(disable_help_flag = true)]
    TestHosts {
        /// Handed to the program that checks.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Write what people install to target/packages: .deb and .rpm of the agent, the provider for a Terraform registry.
    Package {
        /// Put the ordinary development build in, for tests, instead of static release builds.
        #[arg(long)]
        debug: bool,
        /// Program that signs the checksums: run with their path, it leaves a detached signature beside them, as `.sig`.
        #[arg(long, value_name = "PROGRAM")]
        sign_with: Option<OsString>,
    },
    /// Check what may depend on what, that pure code stays pure, and how files are named and opened.
    CheckLayers,
    /// Write the reference pages of docs/ and the golden schema from the schema that the built provider shows.
    Docs {
        /// Change nothing; fail where a page or the schema is not what would be written, or front matter is amiss.
        #[arg(long)]
        check: bool,
    },
}

#[expect(clippy::print_stderr, reason = "an error without the stack that `Result` from `main` would show")]
fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Tools => tools::run(),
        Command::Quickstart { keep } => quickstart::run(keep),
        Command::Bench { names } => bench::run(&names),
        Command::Soak { arguments } => soak::run(&arguments),
        Command::Package { debug, sign_with } => package::run(debug, sign_with.as_deref()),
        Command::TestHosts { arguments } => test_hosts::run(&arguments),
        Command::CheckLayers => check_layers::run(),
        Command::Docs { check } => docs::run(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
