//! What checks stand on: the hosts, brought as far as a check asks for and no further.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::system::System;
use crate::rig::hosts::trace::{self, Call};
use crate::rig::hosts::{Host, Hosts};

/// How long the agent's units may take until they run.
pub(super) const AGENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The units of a host's agent that run all the time.
pub(super) const AGENT_UNITS: [&str; 2] = ["nats-agent-applier.service", "nats-agent.service"];

/// What was built or fetched before hosts are there.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The Debian that hosts stand on.
    pub tree: PathBuf,
    /// The `.deb`.
    pub package: PathBuf,
    /// `terraform-provider-nats`.
    pub provider: PathBuf,
    /// `struck-applier`; absent where the check `kill` is not wanted.
    pub struck_applier: Option<PathBuf>,
}

/// How much of a check that goes in rounds is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// So many rounds; as the check thinks when absent.
    pub rounds: Option<u64>,
    /// Everything random derives from it.
    pub seed: u64,
    /// Whether all that hosts do to their files is traced, which the check `trace` reads.
    pub is_traced: bool,
}

/// The hosts, and how far they are.
#[derive(Debug)]
pub struct Stage {
    programs: Programs,
    extent: Extent,
    hosts: Hosts,
    /// Absent until a check asks for it; from then on the only one, since its root key is the one that claims the hosts.
    system: Option<System>,
    /// Whether `system` was applied to its end.
    is_applied: bool,
    /// What traced hosts did that were thrown away, by host.
    earlier: Vec<(String, Call)>,
}

impl Stage {
    /// Lays the hosts out; boots none.
    ///
    /// # Errors
    /// As [`Hosts::lay_out`].
    pub fn new(programs: Programs, extent: Extent) -> Result<Self> {
        let packages = programs.package.parent().context("the package lies in a folder")?;
        let hosts = Hosts::lay_out(&programs.tree, packages, extent.is_traced)?;
        Ok(Self { programs, extent, hosts, system: None, is_applied: false, earlier: Vec::new() })
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// How many rounds, and from which seed.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// File name of the package, as hosts find it.
    ///
    /// # Errors
    /// When its path names no file.
    pub fn package_name(&self) -> Result<String> {
        let name = self.programs.package.file_name().context("the package has a name")?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// The stage with hosts that belong to nobody: those there are when nobody has claimed them, else others in their place.
    ///
    /// # Errors
    /// As [`Stage::new`], and when a trace cannot be read.
    pub fn with_hosts_of_nobody(mut self) -> Result<Self> {
        if self.system.is_none() {
            return Ok(self);
        }
        let mut earlier = self.take_earlier();
        for host in self.hosts.all().iter().filter(|_| self.extent.is_traced) {
            let calls = trace::read(&host.trace_file())?;
            earlier.extend(calls.into_iter().map(|call| (host.name().to_owned(), call)));
        }
        let Self { programs, extent, hosts, .. } = self;
        // Their networks have the names of the next ones.
        drop(hosts);
        Ok(Self { earlier, ..Self::new(programs, extent)? })
    }

    /// What traced hosts did that were thrown away, by host; the second time nothing.
    pub(super) fn take_earlier(&mut self) -> Vec<(String, Call)> {
        std::mem::take(&mut self.earlier)
    }

    /// The hosts as they are.
    pub fn hosts(&mut self) -> &mut Hosts {
        &mut self.hosts
    }

    /// All hosts, running.
    ///
    /// # Errors
    /// When one does not boot.
    pub fn booted(&mut self) -> Result<&mut Hosts> {
        self.hosts.boot()?;
        Ok(&mut self.hosts)
    }

    /// All hosts, running and with the package installed; its units are active.
    ///
    /// # Errors
    /// When one does not boot, dpkg fails, or a unit does not become active.
    pub fn installed(&mut self) -> Result<&mut Hosts> {
        self.hosts.boot()?;
        let package = self.package_name()?;
        std::thread::scope(|scope| {
            let hosts = self.hosts.all().iter();
            let installing: Vec<_> = hosts.map(|host| scope.spawn(|| install(host, &package))).collect();
            let mut ends = installing.into_iter().map(std::thread::ScopedJoinHandle::join);
            ends.try_for_each(|end| end.unwrap_or_else(|_| Err(anyhow!("installing panicked"))))
        })?;
        for host in self.hosts.all() {
            for unit in AGENT_UNITS {
                host.wait_active(unit, AGENT_TIMEOUT)?;
            }
        }
        Ok(&mut self.hosts)
    }

    /// As [`Stage::installed`], and all of it one supercluster as [`System::declare`] says, applied once.
    ///
    /// # Errors
    /// As [`Stage::installed`], and when the apply fails.
    pub fn supercluster(&mut self) -> Result<(&mut Hosts, &mut System)> {
        let is_applied = self.is_applied;
        let (hosts, system) = self.declare()?;
        if !is_applied {
            system.apply(hosts).with_context(|| failures(hosts))?;
        }
        self.is_applied = true;
        self.declare()
    }

    /// As [`Stage::installed`], with what [`Stage::supercluster`] will apply: the hosts belong to nobody.
    ///
    /// # Errors
    /// As [`Stage::installed`], and when it was applied before.
    pub fn declared(&mut self) -> Result<(&mut Hosts, &mut System)> {
        ensure!(!self.is_applied, "the hosts belong to their owner already");
        self.declare()
    }

    fn declare(&mut self) -> Result<(&mut Hosts, &mut System)> {
        self.installed()?;
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(System::declare(&self.hosts, &self.programs.provider)?),
        };
        Ok((&mut self.hosts, system))
    }
}

/// What hosts say of units that failed, for whoever reads why a check could not be made.
fn failures(hosts: &Hosts) -> String {
    let mut text = String::new();
    for host in hosts.all() {
        let units =
            host.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).unwrap_or_default();
        for unit in units.lines().filter_map(|line| line.split_whitespace().next()) {
            let journal = host.journal(&["--lines=25", "--output=cat", "--unit", unit]).unwrap_or_default();
            text += &format!("{unit} of {} failed:\n{journal}\n", host.name());
        }
    }
    text
}

fn install(host: &Host, package: &str) -> Result<()> {
    if !host.output(&["test", "-e", "/usr/bin/nats-agent"])?.status.success() {
        host.install(package)?;
    }
    Ok(())
}
