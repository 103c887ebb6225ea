//! What the agent's packages hold, whatever their format: files with their places and modes, and what runs around them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What a package says of itself.
pub(super) const NAME: &str = "nats-agent";
/// One line.
pub(super) const SUMMARY: &str = "Agent on each host of a NATS JetStream supercluster";
/// More lines, none of them empty.
pub(super) const DESCRIPTION: &str = "\
Manages nats-server, its configuration, certificates, firewall and JetStream
store on this host, as terraform-provider-nats declares it, and reports what
has drifted.";
/// SPDX expression.
pub(super) const LICENSE: &str = "Apache-2.0";
/// Who answers for it.
pub(super) const MAINTAINER: &str = "terraform-provider-nats contributors";

/// What is the same in every package of one run.
pub(super) struct Product {
    /// Semantic version, without `v`.
    pub(super) version: String,
    /// Every time in the package, in Unix seconds.
    pub(super) epoch: u32,
    /// Whether small is worth more than soon.
    pub(super) small: bool,
}

impl Product {
    /// How hard deflate tries, 1 to 9.
    pub(super) fn level(&self) -> u32 {
        if self.small { 9 } else { 1 }
    }
}

/// The machine that this runs on, as Debian and Terraform call it; rpm's word is Rust's.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Absolute path on the host, without the leading `/`.
    pub(super) path: String,
    /// Permission bits. Owner and group are root.
    pub(super) mode: u32,
    /// What is in it.
    pub(super) bytes: Vec<u8>,
}

/// Everything of the agent's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// By path.
    pub(super) entries: Vec<Entry>,
    /// Run before the files are there; dpkg only.
    pub(super) before_install: String,
    /// Run when the files are in place.
    pub(super) after_install: String,
    /// Run while they still are.
    pub(super) before_remove: String,
    /// Run when they are gone.
    pub(super) after_remove: String,
}

/// Folders of `agent/packaging` and where their files go.
const FOLDERS: &[(&str, &str)] = &[
    ("systemd", "usr/lib/systemd/system"),
    ("sysusers.d", "usr/lib/sysusers.d"),
    ("tmpfiles.d", "usr/lib/tmpfiles.d"),
];

/// Reads `folder` (`agent/packaging`) and puts `program` to it.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn read(folder: &Path, program: Vec<u8>) -> Result<Contents> {
    let text = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))
    };
    let file = |path: String, text: String| Entry { path, mode: 0o644, bytes: text.into_bytes() };
    let mut entries = vec![
        Entry { path: "usr/bin/nats-agent".to_owned(), mode: 0o755, bytes: program },
        file("usr/share/nats-agent/agent.env".to_owned(), text("agent.env")?),
        file("usr/share/doc/nats-agent/copyright".to_owned(), text("../../LICENSE")?),
    ];
    for (from, to) in FOLDERS {
        let listing = folder.join(from);
        let listing = fs::read_dir(&listing).with_context(|| format!("list `{}`", listing.display()))?;
        for found in listing {
            let name = found?.file_name().to_string_lossy().into_owned();
            entries.push(file(format!("{to}/{name}"), text(&format!("{from}/{name}"))?));
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Contents {
        entries,
        before_install: text("scripts/before-install")?,
        after_install: text("scripts/after-install")?,
        before_remove: text("scripts/before-remove")?,
        after_remove: text("scripts/after-remove")?,
    })
}
