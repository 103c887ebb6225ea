//! Where log lines go: standard error, for people or as JSON.

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people; in colour on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Crates whose own words would only repeat ours: what they log at an error, they also return.
const QUIET: [&str; 2] = ["async_nats=off", "rustls=error"];

/// Starts logging for the whole process.
///
/// # Errors
/// When `filter` cannot be read, or logging was started before.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(with_quiet(filter)).with_context(|| {
        format!("`--log {filter}` is no filter, try `info` or `info,nats_agent::front=debug`")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(terminal).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// The filter with [`QUIET`] before it, so that a person who names such a crate has the last word.
fn with_quiet(filter: &str) -> String {
    let quiet = QUIET.iter().filter(|rule| {
        let name = rule.split('=').next().unwrap_or_default();
        !filter.contains(name)
    });
    quiet.copied().chain([filter]).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_crates_are_quiet_until_named() {
        assert_eq!(with_quiet("info"), "async_nats=off,rustls=error,info");
        assert_eq!(with_quiet("debug,async_nats=trace"), "rustls=error,debug,async_nats=trace");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = start(LogFormat::Json, "nats_agent=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--log nats_agent=loud` is no filter, try `info` or `info,nats_agent::front=debug`"
        );
    }
}
