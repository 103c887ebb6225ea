//! Where log lines go: standard error, for people or as JSON, or the journal with its fields.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people; in colour on a terminal.
    Human,
    /// One JSON object a line.
    Json,
    /// To the journal of systemd, each value in a field of its own: `journalctl HOST=east-1`.
    Journald,
}

/// Crates whose own words would only repeat ours: what they log at an error, they also return.
const QUIET: [&str; 2] = ["async_nats=off", "rustls=error"];

/// Starts logging for the whole process. Without a format it is the journal's where standard error leads there.
///
/// # Errors
/// When `filter` cannot be read, the journal cannot be reached, or logging was started before.
pub(crate) fn start(format: Option<LogFormat>, filter: &str) -> Result<()> {
    let format = format.unwrap_or_else(|| {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        if is_journal(&stream, std::io::stderr()) { LogFormat::Journald } else { LogFormat::Human }
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter_of(filter)?).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(terminal).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Journald => {
            let journal = tracing_journald::layer().context("the journal of systemd cannot be reached")?;
            // Fields have our own names: the journal keeps them apart from those it vouches for.
            let journal = journal.with_field_prefix(None).with_syslog_identifier("nats-agent".to_owned());
            let all = tracing_subscriber::registry().with(filter_of(filter)?).with(journal);
            return all.try_init().context("cannot start logging");
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Whether `file` is the stream that `JOURNAL_STREAM` names, which an heir of the variable may have redirected since.
/// Source: systemd.exec(5): device and inode in decimal, with a colon between them.
fn is_journal(stream: &str, file: impl AsFd) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(file)
        .is_ok_and(|seen| device.parse() == Ok(seen.st_dev) && inode.parse() == Ok(seen.st_ino))
}

fn filter_of(text: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(with_quiet(text))
        .with_context(|| format!("`--log {text}` is no filter, try `info` or `info,nats_agent::front=debug`"))
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
    fn the_journal_is_told_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let seen = rustix::fs::fstat(&file).unwrap();
        let named = format!("{}:{}", seen.st_dev, seen.st_ino);
        assert!(is_journal(&named, &file));
        assert!(!is_journal(&named, tempfile::tempfile().unwrap()));
        for other in ["", ":", "8", "8:x", "-1:-1"] {
            assert!(!is_journal(other, &file), "{other}");
        }
    }

    #[test]
    fn noisy_crates_are_quiet_until_named() {
        assert_eq!(with_quiet("info"), "async_nats=off,rustls=error,info");
        assert_eq!(with_quiet("debug,async_nats=trace"), "rustls=error,debug,async_nats=trace");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = start(Some(LogFormat::Json), "nats_agent=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--log nats_agent=loud` is no filter, try `info` or `info,nats_agent::front=debug`"
        );
    }
}
