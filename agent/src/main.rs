//! `nats-agent`: parses the command line, runs the command, ends with its exit code. Nothing else.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
