//! Which names stand where they must not: files, clocks, sockets and randomness in pure code, inet in the applier,
//! changes of the host that have no name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;
use super::paths::{self, Named};
use super::rules::{SCOPES, Scope};

/// Findings on all `files` (relative to `root`) that lie in a scope.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut parsed = Vec::new();
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| SCOPES.iter().any(|scope| scope.holds(file))) {
        let text =
            fs::read_to_string(root.join(file)).with_context(|| format!("read `{}`", file.display()))?;
        let syntax = syn::parse_file(&text).with_context(|| format!("parse `{}`", file.display()))?;
        let named = paths::collect(&syntax);
        let folder = child_folder(file);
        tests.extend(named.test_modules.iter().map(|module| folder.join(module)));
        parsed.push((file, named));
    }
    let outside_tests =
        parsed.iter().filter(|(file, _)| !tests.iter().any(|module| is_or_below(file, module)));
    Ok(outside_tests.flat_map(|(file, named)| check_file(file, named)).collect())
}

fn check_file(file: &Path, named: &Named) -> BTreeSet<Finding> {
    let mut findings = BTreeSet::new();
    for scope in SCOPES.iter().filter(|scope| scope.holds(file)) {
        let what = scope.what;
        let mut add =
            |line: usize, problem| findings.insert(Finding { file: file.to_path_buf(), line, problem });
        for (path, line) in &named.paths {
            if scope.forbids(path) {
                add(*line, format!("{what} must not name `{path}`"));
            }
        }
        for (method, line) in &named.bare_methods {
            if scope.methods.contains(&method.as_str()) {
                add(*line, format!("{what} must not call `.{method}()`"));
            }
        }
    }
    findings
}

impl Scope {
    fn holds(&self, file: &Path) -> bool {
        self.places.iter().any(|place| is_or_below(file, Path::new(place)))
            && !self.except.iter().any(|except| file == Path::new(except))
    }

    fn forbids(&self, path: &str) -> bool {
        let below = |forbidden: &&&str| {
            path.strip_prefix(**forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.paths.iter().any(|forbidden| below(&forbidden))
            || path.split("::").any(|name| self.names.contains(&name))
    }
}

/// Whether `file` is `place.rs` or lies in the folder `place`.
fn is_or_below(file: &Path, place: &Path) -> bool {
    file.starts_with(place) || file.with_extension("") == place
}

/// The folder that holds the modules which `file` declares.
fn child_folder(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main") | None => folder.to_path_buf(),
        Some(stem) => folder.join(stem),
    }
}
