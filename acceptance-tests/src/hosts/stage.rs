//! What checks stand on: the hosts, brought as far as a check asks for and no further.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::system::System;
use crate::rig::hosts::Hosts;

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
}

/// The hosts, and how far they are.
#[derive(Debug)]
pub struct Stage {
    programs: Programs,
    hosts: Hosts,
    /// Absent until a check asks for it; from then on the only one, since its root key is the one that claims the hosts.
    system: Option<System>,
    /// Whether `system` was applied to its end.
    is_applied: bool,
}

impl Stage {
    /// Lays the hosts out; boots none.
    ///
    /// # Errors
    /// As [`Hosts::lay_out`].
    pub fn new(programs: Programs) -> Result<Self> {
        let packages = programs.package.parent().context("the package lies in a folder")?;
        let hosts = Hosts::lay_out(&programs.tree, packages)?;
        Ok(Self { programs, hosts, system: None, is_applied: false })
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
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
        let package = self.programs.package.file_name().context("the package has a name")?.to_string_lossy();
        for host in self.hosts.all() {
            if !host.output(&["test", "-e", "/usr/bin/nats-agent"])?.status.success() {
                host.install(&package)?;
            }
        }
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
        self.installed()?;
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(System::declare(&self.hosts, &self.programs.provider)?),
        };
        if !self.is_applied {
            system.apply(&self.hosts).with_context(|| failures(&self.hosts))?;
            self.is_applied = true;
        }
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
