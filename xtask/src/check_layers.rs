//! `cargo xtask check-layers`: the invariants of the code that no compiler holds, most of them absences.
//!
//! The rules themselves are data, in `rules.rs`. Must not build anything: it reads manifests and source only, so
//! it answers also while a crate does not compile.

mod dependencies;
mod files;
mod manifests;
mod paths;
mod purity;
mod rules;

use std::fmt;
use std::path::{Path, PathBuf};

use acceptance_tests::workspace;
use anyhow::{Result, bail};

/// One place where the code breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the workspace; a crate's `Cargo.toml` for what its manifest says.
    file: PathBuf,
    /// From 1; 0 where the whole file is meant.
    line: usize,
    /// What is wrong, and what to do instead where that is not plain.
    problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Checks this workspace and prints every finding.
///
/// # Errors
/// When there is a finding, or a manifest or source file cannot be read.
pub(crate) fn run() -> Result<()> {
    let findings = check(&workspace::root())?;
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("{} places break the rules of docs/architecture.md", findings.len());
}

/// All findings of the workspace at `root`, sorted by file and line.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let sources = files::rust_files(root)?;
    let mut findings = dependencies::check(root)?;
    findings.extend(manifests::check(root)?);
    findings.extend(files::check(root, &sources)?);
    findings.extend(purity::check(root, &sources)?);
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests;
