//! What lies on a host's disk, to see whether anything changes it past the agent's effects.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use host_state::layout;
use nats_config::Sha256Hex;

use super::life::Life;
use super::operation::Operation;
use super::run::Bench;
use super::strikes::Strikes;

/// Paths that change although every effect of `operation` is refused before it begins.
///
/// # Errors
/// When the host cannot be made ready.
pub fn changes_while_shut(bench: &mut Bench, operation: Operation) -> Result<Vec<String>> {
    let prepared = bench.begin(operation)?;
    let site = bench.site();
    let strikes = Arc::new(Strikes::shut());
    let before = if operation.is_live() {
        let life = Life::open(site, Arc::clone(&strikes))?;
        life.settle();
        operation.damage(site)?;
        let before = tree(&site.root.join("host"));
        strikes.arm();
        for ask in &prepared.asks {
            let _ = life.ask(ask);
        }
        before
    } else {
        operation.damage(site)?;
        let before = tree(&site.root.join("host"));
        strikes.arm();
        if let Ok(life) = Life::open(site, Arc::clone(&strikes)) {
            life.settle();
        }
        before
    };
    strikes.disarm();
    let after = tree(&site.root.join("host"));
    let differs = |path: &&String| before.get(*path) != after.get(*path);
    let mut changed: Vec<String> = before.keys().chain(after.keys()).filter(differs).cloned().collect();
    changed.dedup();
    Ok(changed)
}

/// Every file and folder with its bits and content, but for what the server itself writes.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_servers = path.ends_with(layout::LOG_FILE) || name.contains("stand-in");
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if is_servers {
            continue;
        }
        let content = if metadata.is_dir() {
            collect(root, &path, found);
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).map(|target| target.display().to_string()).unwrap_or_default()
        } else {
            fs::read(&path).map(|bytes| Sha256Hex::of(&bytes).to_string()).unwrap_or_default()
        };
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        found.insert(shown, format!("{:o} {content}", metadata.permissions().mode()));
    }
}
