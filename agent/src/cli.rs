//! The command line: what a person or a unit file says, and the exit codes it gets back.
//!
//! Each command is a file of its own. Results go to standard output and nothing else does; logs and errors go to
//! standard error. No secret is taken as an argument, because arguments are seen by every user of a host.

mod applier;
mod audit;
mod authority;
mod creds;
mod daemon;
mod diff;
mod enroll;
mod firewall;
mod front;
mod log;
mod notify;
mod offering;
mod output;
mod preflight;
mod remote;
mod report;
mod serve;
mod shadow;
mod source;
mod state_dir;
mod status;
mod users;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// State directory of an installed agent.
const STATE_DIR: &str = "/var/lib/nats-agent";
/// Directory of the applier's socket of an installed agent. Nobody but root writes in it.
const SOCKETS: &str = "/run/nats-agent";
/// Directory of the front's socket of an installed agent.
const FRONT_SOCKETS: &str = "/run/nats-agent/front";
/// Exit code when something failed.
const EXIT_FAILED: u8 = 1;
/// Exit code of `preflight` when it refuses the host.
const EXIT_REFUSED: u8 = 2;
/// Exit code of `diff` when the host differs from what is desired, and of `audit verify` when the log is damaged.
const EXIT_DRIFT: u8 = 2;
/// Exit code when the command line is wrong. Source: sysexits.h `EX_USAGE`; clap's own 2 would read as drift.
const EXIT_USAGE: u8 = 64;

const AFTER_HELP: &str = "\
Exit codes:
  0   done; for `diff`: nothing differs; for `preflight`: nothing is refused; for `audit verify`: the log is sound
  1   failed, the reason is on standard error
  2   `diff` found drift or findings, `preflight` refuses the host, `audit verify` found damage
  64  the command line is wrong

Examples:
  nats-agent serve --state-dir /tmp/east-1 --listen 127.0.1.1:8442 --nats-server ./nats-server
  nats-agent preflight --store-dir /data/jetstream --max-storage 200GB
  nats-agent enroll < enrollment.txt
  nats-agent status
  nats-agent diff --json
  nats-agent audit verify";

/// The agent on each host of a NATS supercluster: nats-server, its configuration, certificates, firewall and store.
#[derive(Debug, Parser)]
#[command(name = "nats-agent", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    /// How log lines look. Without it: `journald` where standard error leads to the journal, else `human`.
    #[arg(long, global = true, value_enum, env = "NATS_AGENT_LOG_FORMAT")]
    log_format: Option<log::LogFormat>,
    /// Which log lines are written: `error`, `warn`, `info`, `debug`, or a list like `info,nats_agent::front=debug`.
    #[arg(long, global = true, default_value = "info", env = "NATS_AGENT_LOG", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Front(front::RunFront),
    Applier(applier::RunApplier),
    Serve(serve::Serve),
    Enroll(enroll::Enroll),
    Status(status::Status),
    Diff(diff::Diff),
    Preflight(preflight::Preflight),
    Audit(audit::Audit),
    Creds(creds::Creds),
    Firewall(firewall::Firewall),
    Shadow(shadow::Shadow),
    Version(version::Version),
}

/// Parses `arguments` (the first is the program's name), runs the command and returns the exit code. Everything a
/// person should see has been written when it returns.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come here too; they go to standard output and are no errors.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            return if error.print().is_ok() { code.into() } else { EXIT_FAILED.into() };
        }
    };
    let Cli { log_format, log, command } = cli;
    if let Err(error) = log::start(log_format, &log) {
        return failed(&error);
    }
    let result = match command {
        Command::Front(front) => front.run(),
        Command::Applier(applier) => applier.run(),
        Command::Serve(serve) => serve.run(),
        Command::Enroll(enroll) => enroll.run(),
        Command::Status(status) => status.run(),
        Command::Diff(diff) => diff.run(),
        Command::Preflight(preflight) => preflight.run(),
        Command::Audit(audit) => audit.run(),
        Command::Creds(creds) => creds.run(),
        Command::Firewall(firewall) => firewall.run(),
        Command::Shadow(shadow) => shadow.run(),
        Command::Version(version) => version.run(),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::complain(&format!("{error:#}"));
    EXIT_FAILED.into()
}

#[cfg(test)]
mod tests;
