//! What a command says: results to standard output, complaints to standard error.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes `text` and a newline to standard output.
///
/// # Errors
/// When standard output is closed or full.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Writes `value` as indented JSON to standard output.
///
/// # Errors
/// When standard output is closed or full.
pub(crate) fn say_json(value: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string_pretty(value).context("cannot write the answer as JSON")?)
}

/// Writes `nats-agent: error: ...` to standard error; when that fails there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    let _nobody_left = writeln!(std::io::stderr().lock(), "nats-agent: error: {text}");
}
