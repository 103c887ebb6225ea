//! Which crate depends on which, as cargo itself understands the manifests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Finding;
use super::rules::{IMPURE_DEPENDENCIES, MAY_DEPEND_ON, PURE_CRATES, TESTS_USE_RIGS};

/// The crate of the rigs.
const RIGS: &str = "acceptance-tests";

/// What `cargo metadata --no-deps` prints, as far as it is used here. Source: cargo 1.95, `cargo metadata` format 1.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or absent for a normal one.
    kind: Option<String>,
    /// Present for a crate of this tree.
    path: Option<PathBuf>,
}

/// Findings on the graph of crates at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .context("run `cargo metadata`")?;
    ensure!(
        output.status.success(),
        "`cargo metadata` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("read what `cargo metadata` printed")?;
    Ok(metadata.packages.iter().flat_map(|package| check_package(root, package)).collect())
}

fn check_package(root: &Path, package: &Package) -> Vec<Finding> {
    let Package { name, manifest_path, dependencies } = package;
    let file = manifest_path.strip_prefix(root).unwrap_or(manifest_path).to_path_buf();
    let finding = |problem| Finding { file: file.clone(), line: 0, problem };
    let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(member, _)| member == name) else {
        return vec![finding(format!("`{name}` has no line in the rules on what it may depend on"))];
    };
    let mut findings = Vec::new();
    for Dependency { name: dependency, kind, path } in dependencies {
        // A crate's own tests may ask for one of its features by naming the crate itself, and some use the rigs.
        let is_rig = dependency == RIGS && TESTS_USE_RIGS.contains(&name.as_str());
        let is_for_tests = kind.as_deref() == Some("dev") && (dependency == name || is_rig);
        if path.is_some() && !is_for_tests && !allowed.contains(&dependency.as_str()) {
            findings.push(finding(format!("`{name}` must not depend on `{dependency}`")));
        }
        let pure = PURE_CRATES.contains(&name.as_str()) && kind.as_deref() != Some("dev");
        if pure && IMPURE_DEPENDENCIES.contains(&dependency.as_str()) {
            findings.push(finding(format!("`{name}` is pure and must not depend on `{dependency}`")));
        }
    }
    findings
}
