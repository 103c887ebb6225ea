//! One terraform command: while it runs, and what came of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::rig::process::{Process, Signal};

/// A terraform command that has been started.
#[derive(Debug)]
pub struct Running {
    process: Process,
    command: String,
    output: PathBuf,
    started: Instant,
}

/// A terraform command that has ended.
#[derive(Debug, Clone)]
pub struct Run {
    /// The command line, without the program.
    pub command: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
    /// Errors and warnings, of commands run with `-json`.
    pub diagnostics: Vec<Diagnostic>,
    /// What plan or apply means to do, of commands run with `-json`; without reads of data sources.
    pub changes: Vec<Change>,
}

/// What came of a plan run with `-detailed-exitcode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The plan is empty.
    Unchanged,
    /// There is something to do.
    Changed,
    /// There were errors.
    Failed,
}

/// An error or a warning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Diagnostic {
    /// `error` or `warning`.
    pub severity: String,
    /// The title.
    pub summary: String,
    /// The text below it; may be empty.
    #[serde(default)]
    pub detail: String,
    /// The resource; absent for what belongs to none.
    #[serde(default)]
    pub address: Option<String>,
}

/// One planned change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The resource, such as `nats_cluster.east`.
    pub address: String,
    /// What is to happen to it.
    pub action: Action,
}

/// What is to happen to a resource. Source: Terraform v1.11 "machine-readable UI", planned_change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing, though it is mentioned (it moves, for one).
    Noop,
    /// It is made.
    Create,
    /// A data source is read.
    Read,
    /// It is changed in place.
    Update,
    /// It is deleted and made again.
    Replace,
    /// It is deleted.
    Delete,
    /// It is forgotten, not deleted.
    Remove,
    /// It is imported.
    Import,
}

/// A line of `-json` output, as far as it is used here.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Diagnostic {
        diagnostic: Diagnostic,
    },
    PlannedChange {
        change: PlannedChange,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct PlannedChange {
    resource: Resource,
    action: Action,
}

#[derive(Deserialize)]
struct Resource {
    addr: String,
}

/// What `validate -json` prints.
#[derive(Deserialize)]
struct Validation {
    diagnostics: Vec<Diagnostic>,
}

impl Running {
    /// Starts `command`; its output goes to files whose names start with `prefix`.
    pub(super) fn start(mut command: Command, prefix: &Path) -> Result<Self> {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let (output, log) = (prefix.with_extension("out"), prefix.with_extension("err"));
        let name = format!("`terraform {}`", words.join(" "));
        let process = Process::start_apart(&name, &mut command, &output, &log)?;
        Ok(Self { process, command: words.join(" "), output, started: Instant::now() })
    }

    /// Sends a signal to terraform alone; SIGINT asks it to stop when what it is doing is done.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Sends a signal to terraform and all its providers, as a terminal does on Ctrl-C.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal_group(&mut self, signal: Signal) -> Result<()> {
        self.process.signal_group(signal)
    }

    /// Numbers of the provider processes that it runs now.
    pub fn providers(&self) -> Vec<u32> {
        self.process.children()
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_none())
    }

    /// What terraform has printed so far.
    pub fn stdout(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When that has not come after `timeout`, counted from now; terraform and its providers are then ended.
    pub fn finish(mut self, timeout: Duration) -> Result<Run> {
        let status = self
            .process
            .wait_exit(timeout)
            .with_context(|| format!("`terraform {}` printed:\n{}", self.command, self.stdout()))?;
        let (elapsed, stdout) = (self.started.elapsed(), self.stdout());
        let (diagnostics, changes) = read_messages(&stdout);
        let code = status.code().unwrap_or(-1);
        Ok(Run {
            command: self.command,
            code,
            stdout,
            stderr: self.process.log(),
            elapsed,
            diagnostics,
            changes,
        })
    }
}

impl Run {
    /// What the exit code of `-detailed-exitcode` means. Source: Terraform v1.11, `terraform plan`.
    pub fn outcome(&self) -> Outcome {
        match self.code {
            0 => Outcome::Unchanged,
            2 => Outcome::Changed,
            _ => Outcome::Failed,
        }
    }

    /// The run itself when it did what was asked.
    ///
    /// # Errors
    /// When it failed, with all that terraform said.
    pub fn succeeded(self) -> Result<Self> {
        let detailed = self.command.contains("-detailed-exitcode");
        if self.code == 0 || (detailed && self.code == 2) {
            return Ok(self);
        }
        bail!("{self}")
    }

    /// The run itself when it is a plan that has nothing to do.
    ///
    /// # Errors
    /// When it failed or has something to do, with all that terraform said.
    pub fn unchanged(self) -> Result<Self> {
        if self.outcome() == Outcome::Unchanged {
            return Ok(self);
        }
        bail!("the plan is not empty: {self}")
    }

    /// The errors' titles and texts, one per line: what a user reads.
    pub fn error_text(&self) -> String {
        let errors = self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error");
        errors.map(|error| format!("{}: {}\n", error.summary, error.detail)).collect()
    }

    /// The warnings' titles and texts, one per line.
    pub fn warning_text(&self) -> String {
        let warnings = self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "warning");
        warnings.map(|warning| format!("{}: {}\n", warning.summary, warning.detail)).collect()
    }

    /// Standard output as one JSON value.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("read what `terraform {}` printed", self.command))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`terraform {}` ended with {} after {:?}", self.command, self.code, self.elapsed)?;
        for Change { address, action } in &self.changes {
            write!(f, "\n  {action:?} {address}")?;
        }
        for Diagnostic { severity, summary, detail, address } in &self.diagnostics {
            write!(f, "\n  {severity}: {summary}: {detail}")?;
            if let Some(address) = address {
                write!(f, " (at {address})")?;
            }
        }
        if self.diagnostics.is_empty() && self.code != 0 {
            write!(f, "\n{}\n{}", self.stdout.trim(), self.stderr.trim())?;
        }
        Ok(())
    }
}

/// Diagnostics and changes in what a `-json` command printed: lines of messages, or the one object of `validate`.
fn read_messages(stdout: &str) -> (Vec<Diagnostic>, Vec<Change>) {
    if let Ok(Validation { diagnostics }) = serde_json::from_str(stdout) {
        return (diagnostics, Vec::new());
    }
    let (mut diagnostics, mut changes) = (Vec::new(), Vec::new());
    for message in stdout.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match message {
            Message::Diagnostic { diagnostic } => diagnostics.push(diagnostic),
            Message::PlannedChange { change } if !matches!(change.action, Action::Read | Action::Noop) => {
                changes.push(Change { address: change.resource.addr, action: change.action });
            }
            Message::PlannedChange { .. } | Message::Other => {}
        }
    }
    (diagnostics, changes)
}
