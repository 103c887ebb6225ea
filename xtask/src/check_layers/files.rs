//! How source files are named and how they open.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;
use super::rules::EMPTY_NAMES;

/// Every `.rs` file below `root`, relative to it and sorted; build output and hidden folders are left out.
pub(super) fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("list `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list `{}`", folder.display()))?;
            let name = entry.file_name();
            let kind = entry.file_type().with_context(|| format!("look at `{}`", entry.path().display()))?;
            // Also `fuzz/target`: that package is a workspace of its own.
            let is_build_output = name == "target" && folder.join("Cargo.toml").is_file();
            let skipped = name.to_string_lossy().starts_with('.') || is_build_output;
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "rs") {
                files.push(entry.path().strip_prefix(root).unwrap_or(&entry.path()).to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Findings on names and first lines of `files`, which are relative to `root`.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(check_name(file).map(|problem| Finding { file: file.clone(), line: 0, problem }));
        let text =
            fs::read_to_string(root.join(file)).with_context(|| format!("read `{}`", file.display()))?;
        let first = text.lines().next().unwrap_or_default();
        if first.strip_prefix("//!").is_none_or(|purpose| purpose.trim().is_empty()) {
            let problem = "must open with a `//!` line that says what the file is for".to_owned();
            findings.push(Finding { file: file.clone(), line: 1, problem });
        }
    }
    Ok(findings)
}

fn check_name(file: &Path) -> Option<String> {
    if file.file_name().is_some_and(|name| name == "mod.rs") {
        return Some("must be `x.rs` beside the folder `x/`, not `x/mod.rs`".to_owned());
    }
    let stem = file.with_extension("");
    let empty = stem.iter().filter_map(|part| part.to_str()).find(|part| EMPTY_NAMES.contains(part))?;
    Some(format!("`{empty}` names no concern; name the file or folder for what it does"))
}
