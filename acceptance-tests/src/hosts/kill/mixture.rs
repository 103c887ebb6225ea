//! Whether a host's renditions are whole: each is, file by file, what its manifest says, and `current` leads to one of
//! them. Reads the host's tree, which is there also while it is off.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use host_state::layout;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::rig::hosts::Host;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Renditions under their final names.
    pub(super) renditions: usize,
    /// What of them is not whole.
    pub(super) mixed: Vec<String>,
}

/// Looks at every rendition of a host that has a final name: one that is being made leads nowhere and may be anything.
pub(super) fn look(host: &Host) -> Result<Seen> {
    let state = host.root().join("var/lib/nats-agent");
    let mut seen = Seen::default();
    let mut names = Vec::new();
    for entry in fs::read_dir(state.join(layout::RENDITIONS)).context("list the renditions")? {
        let folder = entry.context("list the renditions")?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(layout::TRIAL_SUFFIX) {
            continue;
        }
        seen.renditions += 1;
        match wrong(&folder) {
            // The agent takes old ones away while this looks.
            _ if !folder.exists() => {}
            Ok(files) => {
                seen.mixed.extend(files.into_iter().map(|file| format!("{}: {name}/{file}", host.name())))
            }
            Err(error) => seen.mixed.push(format!("{}: {name}: {error:#}", host.name())),
        }
        names.push(name);
    }
    let current = fs::read_link(state.join(layout::CURRENT)).context("follow `current`")?;
    let current = current.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // It may have been made after the list was read.
    if !names.contains(&current) && !state.join(layout::CURRENT).join(layout::MANIFEST_FILE).exists() {
        seen.mixed.push(format!("{}: `current` leads to `{current}`, which is not there", host.name()));
    }
    Ok(seen)
}

/// Files of a rendition that are not what its manifest says.
fn wrong(folder: &Path) -> Result<Vec<String>> {
    let text = fs::read(folder.join(layout::MANIFEST_FILE)).context("read the manifest")?;
    let manifest: Value = serde_json::from_slice(&text).context("read the manifest")?;
    let mut wrong = Vec::new();
    for (name, wanted) in manifest["files"].as_object().context("a manifest lists files")? {
        let bytes = fs::read(folder.join(name)).with_context(|| format!("read `{name}`"))?;
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if Some(found.as_str()) != wanted["sha256"].as_str() {
            wrong.push(name.clone());
        }
    }
    Ok(wrong)
}
