//! Versions of dependencies stand in the root manifest only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;

const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Findings on the manifests of all members of the workspace at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let members = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(Value::as_array)
        .context("the root `Cargo.toml` lists no members")?;
    let own = own_crates(&workspace);
    let mut findings = Vec::new();
    for member in members.iter().filter_map(Value::as_str) {
        let file = Path::new(member).join("Cargo.toml");
        let manifest = read(&root.join(&file))?;
        for name in not_inherited(&manifest, &own) {
            let problem = format!(
                "`{name}` must be `{name}.workspace = true`; its version stands in the root manifest"
            );
            findings.push(Finding { file: file.clone(), line: 0, problem });
        }
    }
    Ok(findings)
}

/// Crates of this tree: the shared dependencies that have a path.
fn own_crates(workspace: &Table) -> BTreeSet<&str> {
    let shared = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(Value::as_table);
    let own = shared.into_iter().flatten().filter(|(_, value)| value.get("path").is_some());
    own.map(|(name, _)| name.as_str()).collect()
}

/// Dependencies of a manifest, those of its `[target]` tables too, that are not taken from the workspace, or that choose
/// features: those of crates outside this tree are the same for all.
fn not_inherited(manifest: &Table, own: &BTreeSet<&str>) -> Vec<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    let dependencies = tables
        .flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(Table::iter);
    dependencies
        .filter(|(name, value)| {
            let from_workspace = value.get("workspace").and_then(Value::as_bool) == Some(true);
            !from_workspace || (value.get("features").is_some() && !own.contains(name.as_str()))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))?;
    text.parse().with_context(|| format!("parse `{}`", path.display()))
}
