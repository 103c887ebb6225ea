//! One host's folder: its state directory, its store, and the processes that work in it. Put back for every run.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// Which program runs as nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// `stand-in-server`.
    StandIn,
    /// The pinned nats-server.
    Real,
}

/// A host that runs happen on, one at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// The folder of all of it.
    pub root: PathBuf,
    /// Where the server listens.
    pub address: IpAddr,
    /// The program that runs as nats-server.
    pub binary: PathBuf,
    /// Which one that is.
    pub flavor: Flavor,
}

impl Site {
    /// The agent's state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("host/state")
    }

    /// The store directory.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("host/store")
    }

    /// Another binary of the same version, to be installed.
    #[must_use]
    pub fn download(&self) -> PathBuf {
        self.root.join("download")
    }

    /// Keeps the host as it is now under `name`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep(&self, name: &str) -> Result<()> {
        let to = self.root.join(name);
        remove(&to)?;
        copy(&self.root.join("host"), &to)
    }

    /// Ends what runs on the host and puts it back to what was kept under `name`.
    ///
    /// # Errors
    /// When something cannot be ended or copied.
    pub fn put_back(&self, name: &str) -> Result<()> {
        self.end_processes()?;
        let host = self.root.join("host");
        remove(&host)?;
        copy(&self.root.join(name), &host)
    }

    /// Processes that work in the state directory itself, and those that work anywhere below it.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn processes(&self) -> Result<(Vec<i32>, Vec<i32>)> {
        let state = self.state();
        let (mut servers, mut below) = (Vec::new(), Vec::new());
        for entry in fs::read_dir("/proc").context("list /proc")?.filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(cwd) = fs::read_link(entry.path().join("cwd")) else { continue };
            if cwd == state {
                servers.push(pid);
            } else if cwd.starts_with(&state) {
                below.push(pid);
            }
        }
        Ok((servers, below))
    }

    /// Sends a signal to every server of the host.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.processes()?.0 {
            send(pid, signal);
        }
        Ok(())
    }

    /// Ends every process that works for the host.
    ///
    /// # Errors
    /// When one stays.
    pub fn end_processes(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (servers, below) = self.processes()?;
            if servers.is_empty() && below.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "processes {servers:?} and {below:?} do not end");
            servers.into_iter().chain(below).for_each(|pid| send(pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Removes a folder that tests filled; one that is not there is a success.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a folder whole: files with their bits, links as links. Sockets are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("make `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list `{}`", from.display()))? {
        let entry = entry?;
        let (kind, path, target) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        let done = if kind.is_dir() {
            copy(&path, &target)
        } else if kind.is_symlink() {
            fs::read_link(&path).and_then(|link| symlink(link, &target)).map_err(Into::into)
        } else if kind.is_file() {
            fs::copy(&path, &target).map(drop).map_err(Into::into)
        } else {
            Ok(())
        };
        done.with_context(|| format!("copy `{}`", path.display()))?;
    }
    let mode = fs::metadata(from)?.permissions().mode();
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}
