//! Nine real hosts on one machine: systemd in a container each, three sites, disks, networks, and an operator's place.
//!
//! What a host has: a name like `east-1`, its own tree over one cached Debian, a disk of its own at `/data`, and two
//! networks, one for clients and one for its cluster, each with IPv4 and IPv6. The process that holds the [`Hosts`] stands
//! in the operator's place itself: what it starts, `terraform` for one, reaches the hosts as an operator does.
//!
//! [`isolation::enter`] comes first. It takes the process into namespaces of its own, so that nothing of this machine is
//! changed and all of it ends with the process, however that ends.

mod cgroups;
pub mod disk;
pub mod execute;
pub mod host;
pub mod isolation;
pub mod network;
pub mod trace;
pub mod tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use host::Host;
use network::Lan;

use crate::workspace;

/// The sites, which are the clusters, in the order of their numbers.
pub const SITES: [&str; 3] = ["east", "west", "north"];
/// Hosts in each site.
pub const HOSTS_PER_SITE: u8 = 3;
/// How long nine hosts may take until all have booted.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// Where every host finds the folder that [`Hosts::lay_out`] was given.
pub const PACKAGES: &str = "/mnt/packages";

/// The hosts and their networks. Dropping it ends them all and removes what they wrote.
#[derive(Debug)]
pub struct Hosts {
    // Fields drop in order: hosts before the networks and folders that they use.
    hosts: Vec<Host>,
    lan: Lan,
    _folder: Folder,
}

impl Hosts {
    /// Lays out all hosts over `tree`; starts none. Each will see `packages` at [`PACKAGES`], read-only. Where
    /// `is_traced`, what their processes remove is written down from their first boot on: see [`trace`].
    ///
    /// # Errors
    /// When this process has not entered [`isolation`], or a network, disk or mount cannot be made.
    pub fn lay_out(tree: &Path, packages: &Path, is_traced: bool) -> Result<Self> {
        isolation::ensure_inside()?;
        cgroups::sweep();
        let folder = Folder::new()?;
        let lan = Lan::new()?;
        let mut hosts = Vec::new();
        for (site, name) in (1..).zip(SITES) {
            for number in 1..=HOSTS_PER_SITE {
                let place = network::Place { site, number };
                let name = format!("{name}-{number}");
                hosts.push(Host::lay_out(name, place, tree, packages, is_traced, &folder.path)?);
            }
        }
        Ok(Self { hosts, lan, _folder: folder })
    }

    /// All hosts, by site.
    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// The host called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name() == name).with_context(|| format!("no host `{name}`"))
    }

    /// As [`Hosts::host`], to boot or end it.
    ///
    /// # Errors
    /// As [`Hosts::host`].
    pub fn host_mut(&mut self, name: &str) -> Result<&mut Host> {
        self.hosts.iter_mut().find(|host| host.name() == name).with_context(|| format!("no host `{name}`"))
    }

    /// Boots every host that is not running, all at once, and waits until all have.
    ///
    /// # Errors
    /// When one does not boot; the text holds the end of its console.
    pub fn boot(&mut self) -> Result<()> {
        self.boot_these(|_| true)
    }

    /// As [`Hosts::boot`], those of which `wanted` says so.
    ///
    /// # Errors
    /// As [`Hosts::boot`].
    pub fn boot_these(&mut self, wanted: impl Fn(&Host) -> bool) -> Result<()> {
        let Self { hosts, lan, _folder } = self;
        let mut booting: Vec<_> = hosts.iter_mut().filter(|host| wanted(host)).collect();
        booting.retain_mut(|host| !host.is_running());
        for host in &mut booting {
            host.start(lan)?;
        }
        for host in &mut booting {
            host.wait_booted(BOOT_TIMEOUT)?;
        }
        Ok(())
    }

    /// Reboots these hosts at once, in order, and waits until all are back.
    ///
    /// # Errors
    /// When one does not come down or up.
    pub fn reboot(&mut self, wanted: impl Fn(&Host) -> bool) -> Result<()> {
        for host in self.hosts.iter().filter(|host| wanted(host)) {
            host.begin_power_off()?;
        }
        for host in self.hosts.iter_mut().filter(|host| wanted(host)) {
            host.wait_off()?;
        }
        self.boot_these(wanted)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.hosts.clear();
        cgroups::sweep();
    }
}

/// Folder for what the hosts write: disks and upper layers. It lies under the target folder, because these are large and
/// the system's temporary folder may be in memory.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Held, never read: who has the lock still uses the folder.
    _lock: File,
}

impl Folder {
    /// Makes one, and removes those that killed runs left.
    fn new() -> Result<Self> {
        let runs = workspace::target_dir().join("hosts");
        fs::create_dir_all(&runs).with_context(|| format!("make `{}`", runs.display()))?;
        for entry in fs::read_dir(&runs).context("list earlier runs")? {
            let path = entry.context("list earlier runs")?.path();
            let Ok(lock) = File::open(path.join("lock")) else { continue };
            if lock.try_lock().is_ok() {
                fs::remove_dir_all(&path).with_context(|| format!("remove `{}`", path.display()))?;
            }
        }
        let path = tempfile::Builder::new().prefix("run-").tempdir_in(&runs).context("make a folder")?.keep();
        let lock = File::create(path.join("lock")).context("make the lock of this run")?;
        lock.lock().context("lock the folder of this run")?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}
