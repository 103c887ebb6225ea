//! `cargo xtask package`: what people install, written to `target/packages`. Decides nothing about what is inside; the
//! formats and `agent/packaging` do.
//!
//! The same input gives the same bytes: every time in a package is `SOURCE_DATE_EPOCH`.

mod build;
mod contents;
mod deb;
mod registry;
mod rpm;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use acceptance_tests::workspace;
use anyhow::{Context, Result, ensure};

use contents::Product;

/// What every time in a package is where `SOURCE_DATE_EPOCH` is not set: the first second of 2026, in Unix seconds.
const DEFAULT_EPOCH: u32 = 1_767_225_600;

/// Builds the programs and writes all packages. With `debug` they hold the ordinary development build, for tests;
/// otherwise static release builds. `sign_with` is a program that is run with the path of the checksums and must leave
/// its signature beside them, as `.sig`.
///
/// # Errors
/// When the programs do not compile, a file cannot be written, or nothing was signed.
pub(crate) fn run(debug: bool, sign_with: Option<&OsStr>) -> Result<()> {
    for file in make(debug, sign_with)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Writes the agent's `.deb` alone, with the ordinary development build in it, and says where it is.
///
/// # Errors
/// As [`run`].
pub(crate) fn deb_of_development() -> Result<PathBuf> {
    let product = Product { version: env!("CARGO_PKG_VERSION").to_owned(), epoch: epoch()?, small: false };
    let agent = contents::read(&workspace::root().join("agent/packaging"), build::development_agent()?)?;
    let mut files = Files::new()?;
    files.write(deb::file_name(&product), &deb::build(&product, &agent)?)
}

/// As [`run`], and says what was written instead of printing it.
fn make(debug: bool, sign_with: Option<&OsStr>) -> Result<Vec<PathBuf>> {
    let product = Product { version: env!("CARGO_PKG_VERSION").to_owned(), epoch: epoch()?, small: !debug };
    let programs = if debug { build::development()? } else { build::release()? };
    let mut files = Files::new()?;
    let agent = contents::read(&workspace::root().join("agent/packaging"), programs.agent)?;
    files.write(deb::file_name(&product), &deb::build(&product, &agent)?)?;
    files.write(rpm::file_name(&product), &rpm::build(&product, &agent)?)?;

    let archive = registry::archive(&product, &programs.provider)?;
    let manifest = registry::MANIFEST.as_bytes();
    let (archive_name, manifest_name) = (registry::archive_name(&product), registry::manifest_name(&product));
    let sums = registry::sums(&[(&archive_name, &archive), (&manifest_name, manifest)]);
    files.write(archive_name, &archive)?;
    files.write(manifest_name, manifest)?;
    let sums = files.write(registry::sums_name(&product), sums.as_bytes())?;
    if let Some(program) = sign_with {
        files.written.push(sign(program, &sums)?);
    }
    Ok(files.written)
}

/// Files in `target/packages`.
struct Files {
    folder: PathBuf,
    /// In the order in which they were written.
    written: Vec<PathBuf>,
}

impl Files {
    fn new() -> Result<Self> {
        let folder = workspace::target_dir().join("packages");
        std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
        Ok(Self { folder, written: Vec::new() })
    }

    fn write(&mut self, name: String, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("write `{}`", path.display()))?;
        self.written.push(path.clone());
        Ok(path)
    }
}

fn epoch() -> Result<u32> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`; it is to be a number of seconds")),
        Err(_) => Ok(DEFAULT_EPOCH),
    }
}

/// Has `sums` signed; says where the signature is. One of an earlier run does not count.
fn sign(program: &OsStr, sums: &Path) -> Result<PathBuf> {
    let mut signature = sums.as_os_str().to_owned();
    signature.push(".sig");
    let signature = PathBuf::from(signature);
    if signature.exists() {
        std::fs::remove_file(&signature).context("remove the signature of an earlier run")?;
    }
    let status = Command::new(program).arg(sums).status();
    let status = status.with_context(|| format!("start `{}`", program.to_string_lossy()))?;
    ensure!(status.success(), "`{}` ended with {status}", program.to_string_lossy());
    ensure!(
        signature.is_file(),
        "`{}` left no `{}`; it is run with the path of the checksums and must write a detached signature beside them",
        program.to_string_lossy(),
        signature.display()
    );
    Ok(signature)
}

#[cfg(test)]
mod tests;
