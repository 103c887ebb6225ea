//! Everything that an agent manages on a host, found on the host itself: what the rendition's manifest lists, every
//! setting of the rendered configuration, the store and its identity file, the accounts of the resolver. Each with the
//! ways to change it, so that a new file or setting is changed without being named here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use host_state::document::ClaimsSection;
use host_state::{SectionKind, layout};
use serde_json::{Value, json};

use crate::rig::agents::Host;

/// How many settings are changed in one edit: each has a line of its own in the plan.
const SETTINGS_AT_ONCE: usize = 12;

/// One change behind Terraform's back.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    /// What kind of thing is changed, for counting.
    pub(super) kind: &'static str,
    /// The file or directory.
    pub(super) path: PathBuf,
    /// What is done to it.
    pub(super) act: Act,
    /// Words of each line that tells of it, beside the host.
    pub(super) lines: Vec<Vec<String>>,
}

/// See [`Mutation::act`].
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Other content, mode kept.
    Write(Vec<u8>),
    /// Gone.
    Remove,
    /// Other permission bits.
    Mode(u32),
    /// A link to a copy of the same content elsewhere.
    Link,
}

/// What a file was, to be put back.
#[derive(Debug)]
pub(super) struct Before {
    path: PathBuf,
    mode: u32,
    content: Option<Vec<u8>>,
}

impl Mutation {
    /// Does it.
    pub(super) fn make(&self) -> Result<Before> {
        let Self { path, act, .. } = self;
        let metadata = fs::metadata(path).with_context(|| format!("look at `{}`", path.display()))?;
        let content = if metadata.is_file() { Some(fs::read(path)?) } else { None };
        let before = Before { path: path.clone(), mode: metadata.permissions().mode() & 0o7777, content };
        match act {
            Act::Write(bytes) => fs::write(path, bytes)?,
            Act::Remove => fs::remove_file(path)?,
            Act::Mode(mode) => fs::set_permissions(path, fs::Permissions::from_mode(*mode))?,
            Act::Link => {
                let copy = path.with_extension("elsewhere");
                fs::rename(path, &copy)?;
                std::os::unix::fs::symlink(&copy, path)?;
            }
        }
        Ok(before)
    }
}

impl Before {
    /// Takes away what the change left beside a file that an apply has put back.
    pub(super) fn forget(self) -> Result<()> {
        let copy = self.path.with_extension("elsewhere");
        if copy.exists() { Ok(fs::remove_file(copy)?) } else { Ok(()) }
    }

    /// Puts it back as it was.
    pub(super) fn restore(self) -> Result<()> {
        let Self { path, mode, content } = self;
        if path.is_symlink() {
            fs::remove_file(&path)?;
            fs::remove_file(path.with_extension("elsewhere"))?;
        }
        if let Some(content) = content {
            fs::write(&path, content)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

/// Every mutation of what is managed on `host`.
pub(super) fn all(host: &Host) -> Result<Vec<Mutation>> {
    let current = host.state_dir().join(layout::CURRENT);
    let mut all = settings(&current.join(layout::CONFIG_FILE))?;
    all.extend(files(&current)?);
    all.extend(store(&host.store_dir())?);
    all.extend(claims(&host.state_dir())?);
    Ok(all)
}

/// How many of what is managed there is, by kind.
pub(super) fn kinds(all: &[Mutation]) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    for one in all {
        *kinds.entry(one.kind).or_default() += one.lines.len() as u64;
    }
    kinds
}

/// Each setting of the configuration changed, each taken away, and one that is not ours; several of them in one edit.
fn settings(file: &Path) -> Result<Vec<Mutation>> {
    let config: Value = serde_json::from_slice(&fs::read(file)?)?;
    let mut leaves = Vec::new();
    leaves_of(&mut Vec::new(), &config, &mut leaves);
    let edit = |kind, settings: &[Vec<String>], change: fn(&mut Value, &[String])| {
        let mut config = config.clone();
        settings.iter().for_each(|path| change(&mut config, path));
        let words = |path: &Vec<String>| vec![format!("configuration `{}`", path.join("."))];
        let lines = settings.iter().map(words).collect();
        Mutation { kind, path: file.to_owned(), act: Act::Write(format!("{config:#}\n").into_bytes()), lines }
    };
    let mut all = Vec::new();
    for batch in leaves.chunks(SETTINGS_AT_ONCE) {
        all.push(edit("settings changed", batch, |config, path| {
            if let Some(value) = path.iter().try_fold(config, |at, key| at.get_mut(key)) {
                *value = other(value);
            }
        }));
        all.push(edit("settings removed", batch, |config, path| {
            let Some((last, above)) = path.split_last() else { return };
            let section = above.iter().try_fold(config, |at, key| at.get_mut(key));
            section.and_then(Value::as_object_mut).and_then(|section| section.remove(last));
        }));
    }
    let added = ["max_traced_msg_len".to_owned()];
    all.push(edit("settings added", &[added.to_vec()], |config, path| config[&path[0]] = json!(7)));
    Ok(all)
}

/// Paths of what holds no further setting; a list is one setting.
fn leaves_of(path: &mut Vec<String>, value: &Value, into: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves_of(path, value, into);
                path.pop();
            }
        }
        _ => into.push(path.clone()),
    }
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => json!(!truth),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(items) => Value::Array(items.iter().cloned().chain([json!("another")]).collect()),
        Value::Null | Value::Object(_) => json!(1),
    }
}

/// Each file of the rendition, and what the rendition says of itself.
fn files(current: &Path) -> Result<Vec<Mutation>> {
    let manifest = current.join(layout::MANIFEST_FILE);
    let listed: Value = serde_json::from_slice(&fs::read(&manifest)?)?;
    let listed = listed["files"].as_object().context("the manifest lists files")?.clone();
    let mut all = Vec::new();
    for (name, file) in &listed {
        let path = current.join(name);
        let mut longer = fs::read(&path)?;
        longer.extend(b"\n");
        let mode = u32::try_from(file["mode"].as_u64().context("the manifest has modes")?)?;
        let one = |kind, act, found: &str| Mutation {
            kind,
            path: path.clone(),
            act,
            lines: vec![vec![format!("`{name}`"), found.to_owned()]],
        };
        all.extend([
            one("file changed", Act::Write(longer), "sha256"),
            one("file emptied", Act::Write(Vec::new()), "sha256"),
            one("file removed", Act::Remove, "missing"),
            one("file's mode changed", Act::Mode(mode ^ 0o024), "mode"),
            one("file's mode changed", Act::Mode(mode | 0o4000), "mode"),
            one("file replaced by a link", Act::Link, ""),
        ]);
    }
    let of_manifest = |kind, act| Mutation {
        kind,
        path: manifest.clone(),
        act,
        lines: vec![vec!["configuration".to_owned()]],
    };
    all.push(of_manifest("manifest removed", Act::Remove));
    all.push(of_manifest("manifest damaged", Act::Write(b"{".to_vec())));
    Ok(all)
}

/// The store directory and each field of its identity file.
fn store(directory: &Path) -> Result<Vec<Mutation>> {
    let file = directory.join(layout::STORE_IDENTITY_FILE);
    let identity: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let one = |kind, path: &Path, act, word: &str| Mutation {
        kind,
        path: path.to_owned(),
        act,
        lines: vec![vec!["store".to_owned(), word.to_owned()]],
    };
    let mut all = vec![
        one("store's mode changed", directory, Act::Mode(0o755), "mode"),
        one("store's mode changed", directory, Act::Mode(0o500), "mode"),
        one("store's identity removed", &file, Act::Remove, layout::STORE_IDENTITY_FILE),
        one("store's identity damaged", &file, Act::Write(b"{}".to_vec()), layout::STORE_IDENTITY_FILE),
        one("store's identity readable otherwise", &file, Act::Mode(0o666), layout::STORE_IDENTITY_FILE),
    ];
    let mut leaves = Vec::new();
    leaves_of(&mut Vec::new(), &identity, &mut leaves);
    for path in leaves {
        let mut changed = identity.clone();
        if let Some(value) = path.iter().try_fold(&mut changed, |at, key| at.get_mut(key)) {
            *value = other(value);
        }
        all.push(one(
            "field of the store's identity",
            &file,
            Act::Write(changed.to_string().into_bytes()),
            "",
        ));
    }
    Ok(all)
}

/// The JWT of each account of the newest claims section on this server. Preloaded accounts are the configuration's.
fn claims(state: &Path) -> Result<Vec<Mutation>> {
    let ledger = state.join(layout::LEDGER).join(layout::ledger_file(SectionKind::Claims));
    let ledger: Value = serde_json::from_slice(&fs::read(ledger)?)?;
    let body = ledger["content"]["accepted"]["body"].as_str().context("the ledger has a claims section")?;
    let section: ClaimsSection = serde_json::from_str(body)?;
    let mut all = Vec::new();
    for (account, entry) in &section.accounts {
        let path = state.join(layout::RESOLVER).join(format!("{account}.jwt"));
        let one = |kind, act| Mutation {
            kind,
            path: path.clone(),
            act,
            lines: vec![vec![format!("claims `{}`", entry.name)]],
        };
        all.push(one("account's claims removed", Act::Remove));
        all.push(one("account's claims damaged", Act::Write(b"e30.e30.e30".to_vec())));
    }
    Ok(all)
}
