//! Every secret of a run, derived again from the published paths, and the search for it.
//!
//! The derivation is written down a second time here, over another library's HKDF, so that the search does not trust
//! the code that it checks. Source: crate `identity`, "Keys".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use hkdf::Hkdf;
use nkeys::{KeyPair, KeyPairType};
use sha2::Sha256;

use super::supercluster::{AUTHORITY, Supercluster};

const CONTEXT: &str = "nats-authority/v1";

/// Something that may be found nowhere.
#[derive(Debug)]
pub struct Secret {
    /// What it is, for the message.
    pub name: String,
    /// Texts in which it could be written.
    forms: Vec<Vec<u8>>,
}

/// Marks of a private key in any file, whoever made it.
const MARKS: [&str; 3] = ["PRIVATE KEY-----", "NKEY SEED-----", "-----BEGIN NATS USER JWT"];

/// All secrets of the quickstart: what derives from the root key, and what hosts made.
///
/// # Errors
/// When a host's own keys cannot be read.
pub fn all(supercluster: &Supercluster) -> Result<Vec<Secret>> {
    let root = BASE64.decode(supercluster.root_key.as_bytes()).context("decode the root key")?;
    let mut secrets = vec![Secret::new("the root key", &root)];
    let seeds = [
        ("operator-identity", KeyPairType::Operator),
        ("operator-signing/1", KeyPairType::Operator),
        ("system-account-identity", KeyPairType::Account),
        ("system-account-signing/1", KeyPairType::Account),
        ("probe-account-identity", KeyPairType::Account),
        ("probe-account-signing/1", KeyPairType::Account),
        ("account-identity/orders", KeyPairType::Account),
        ("account-signing/orders/1", KeyPairType::Account),
        ("user-scope/orders/service/1", KeyPairType::Account),
    ];
    for (path, kind) in seeds {
        let seed = derive(&root, path)?;
        let mut secret = Secret::new(path, &seed);
        let pair = KeyPair::new_from_raw(kind, seed).map_err(|error| anyhow::anyhow!("{error}"))?;
        secret.add_text(&pair.seed().map_err(|error| anyhow::anyhow!("{error}"))?);
        secrets.push(secret);
    }
    for path in ["fleet-ca/1/p256/0", "host-ca/1/p256/0", "document/1"] {
        secrets.push(Secret::new(path, &derive(&root, path)?));
    }
    for host in supercluster.fleet.hosts() {
        let path = format!("enrollment/{}/1", host.name());
        secrets.push(Secret::new(&path, &derive(&root, &path)?));
        let key = host.state_dir().join("current/server-key.pem");
        if key.exists() {
            let pem = fs::read_to_string(&key).context("read a host's leaf key")?;
            let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            let mut secret = Secret { name: format!("the leaf key of {}", host.name()), forms: Vec::new() };
            body.iter().for_each(|line| secret.add_text(line));
            secrets.push(secret);
        }
    }
    Ok(secrets)
}

fn derive(root: &[u8], path: &str) -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    let info = format!("{CONTEXT}/{AUTHORITY}/{path}");
    Hkdf::<Sha256>::new(Some(CONTEXT.as_bytes()), root)
        .expand(info.as_bytes(), &mut secret)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(secret)
}

impl Secret {
    /// Bytes, to be looked for as they are and in every encoding.
    fn new(name: &str, bytes: &[u8]) -> Secret {
        let mut secret = Secret { name: name.to_owned(), forms: vec![bytes.to_vec()] };
        secret.add_text(&HEXLOWER.encode(bytes));
        secret.add_text(&HEXLOWER.encode(bytes).to_uppercase());
        secret.add_text(&BASE64_NOPAD.encode(bytes));
        secret.add_text(&BASE64URL_NOPAD.encode(bytes));
        secret.forms.extend(base64_within(bytes));
        secret
    }

    /// A text, to be looked for as it is and within anything that is base64 of it, as private state is.
    fn add_text(&mut self, text: &str) {
        self.forms.push(text.as_bytes().to_vec());
        self.forms.extend(base64_within(text.as_bytes()));
    }

    fn is_in(&self, content: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(content, form))
    }
}

/// How `bytes` look inside the base64 of something longer: at each of three places, edges left out.
fn base64_within(bytes: &[u8]) -> Vec<Vec<u8>> {
    let at = |skip: usize| {
        let mut padded = vec![0; skip];
        padded.extend(bytes);
        let whole = padded.len() / 3 * 3;
        let text = BASE64.encode(&padded[..whole]);
        let edge = if skip == 0 { 0 } else { 4 };
        text.as_bytes()[edge..].to_vec()
    };
    (0..3).map(at).filter(|form| form.len() >= 16).collect()
}

fn contains(content: &[u8], form: &[u8]) -> bool {
    content.windows(form.len()).any(|window| window == form)
}

/// What was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Searched {
    /// Secrets looked for.
    pub secrets: usize,
    /// Files looked through, plan files counted by what they pack.
    pub files: usize,
}

/// Looks for every secret, and for marks of any private key, in everything that was written.
///
/// # Errors
/// When one is found: the text names it and the file, and never shows it.
pub fn search(supercluster: &Supercluster) -> Result<Searched> {
    let secrets = all(supercluster)?;
    let mut files = 0;
    for file in supercluster.written_texts()? {
        for (name, content) in unpacked(&file)? {
            files += 1;
            for secret in &secrets {
                ensure!(!secret.is_in(&content), "{} is in `{name}`", secret.name);
            }
            for mark in MARKS {
                ensure!(!contains(&content, mark.as_bytes()), "a private key or credentials are in `{name}`");
            }
        }
    }
    Ok(Searched { secrets: secrets.len(), files })
}

/// A file, or what a plan file (a zip archive) packs.
fn unpacked(file: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let content = fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    if !content.starts_with(b"PK\x03\x04") {
        return Ok(vec![(file.display().to_string(), content)]);
    }
    let folder = tempfile::tempdir().context("make a folder")?;
    let status = Command::new("python3").args(["-m", "zipfile", "-e"]).arg(file).arg(folder.path()).status();
    ensure!(status.context("run python3")?.success(), "`{}` cannot be unpacked", file.display());
    let mut members = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).context("list a folder")? {
            let path = entry.context("list a folder")?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = format!("{} in {}", path.display(), file.display());
                members.push((name, fs::read(&path).context("read a member")?));
            }
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_dress() {
        let bytes: Vec<u8> = (100..132).collect();
        let secret = Secret::new("it", &bytes);
        for skip in 0..3 {
            let mut inner = vec![7; skip];
            inner.extend(&bytes);
            inner.extend([9; 5]);
            assert!(secret.is_in(format!("x{}y", BASE64.encode(&inner)).as_bytes()), "skip {skip}");
            let twice = BASE64
                .encode(format!("{}{{\"k\":\"{}\"}}", "a".repeat(skip), HEXLOWER.encode(&bytes)).as_bytes());
            assert!(secret.is_in(twice.as_bytes()), "twice, skip {skip}");
        }
        assert!(secret.is_in(&bytes));
        assert!(!secret.is_in(b"nothing of it"));
    }
}
