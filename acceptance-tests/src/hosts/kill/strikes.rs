//! How a host is made to stop at a step, and how it is told that it stands there: files in its tree, which are there also
//! while it is off.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::hosts::stage::AGENT_UNITS;
use crate::hosts::struck::{ARMED, FOLDER, Point, REACHED, STRUCK, TORN};
use crate::rig::hosts::{Host, Hosts, PACKAGES};

/// The unit that is struck.
pub(super) const UNIT: &str = AGENT_UNITS[0];
/// File name of the applier that is struck, beside the packages.
const APPLIER: &str = "struck-applier";
/// Has the unit start that applier. A watchdog would end it while it stands.
const DROP_IN: &str = "/etc/systemd/system/nats-agent-applier.service.d/99-struck.conf";
/// How long the agent's units may take after a restart.
const AGENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// What ends a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// SIGKILL of the applier.
    Kill,
    /// The host loses its power; a file that was not fsynced its end.
    Power,
}

impl Way {
    pub(super) const ALL: [Way; 2] = [Way::Kill, Way::Power];
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::Kill => "SIGKILL",
            Way::Power => "power cut",
        })
    }
}

/// Where a host is struck, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Strike {
    pub(super) point: Point,
    pub(super) way: Way,
}

/// Has every host run the applier that can be struck.
pub(super) fn put_in_place(hosts: &Hosts, applier: &Path, packages: &Path) -> Result<()> {
    fs::copy(applier, packages.join(APPLIER)).context("put the applier beside the packages")?;
    let text = format!("[Service]\nExecStart=\nExecStart={PACKAGES}/{APPLIER}\nWatchdogSec=0\n");
    for host in hosts.all() {
        host.run(&["mkdir", "-p", FOLDER])?;
        host.write(DROP_IN, 0o644, text.as_bytes())?;
    }
    restart(hosts)
}

/// Has every host run its own applier again.
pub(super) fn take_away(hosts: &Hosts) -> Result<()> {
    for host in hosts.all() {
        host.run(&["rm", "-r", FOLDER, DROP_IN])?;
    }
    restart(hosts)
}

fn restart(hosts: &Hosts) -> Result<()> {
    for host in hosts.all() {
        host.run(&["systemctl", "daemon-reload"])?;
        host.run(&["systemctl", "restart", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    }
    for host in hosts.all() {
        for unit in AGENT_UNITS {
            host.wait_active(unit, AGENT_TIMEOUT)?;
        }
    }
    Ok(())
}

/// From now on the host writes down every step.
pub(super) fn begin_to_record(host: &Host) -> Result<()> {
    fs::write(file(host, REACHED), "").context("begin to record")
}

/// What it has written down. It stops.
pub(super) fn recorded(host: &Host) -> Result<BTreeSet<Point>> {
    let text = fs::read_to_string(file(host, REACHED)).context("read what was recorded")?;
    fs::remove_file(file(host, REACHED)).context("end to record")?;
    text.lines().map(|line| Point::named(line).with_context(|| format!("`{line}` is no step"))).collect()
}

/// From now on the host stops there, once.
pub(super) fn arm(host: &Host, strike: Strike) -> Result<()> {
    let Strike { point, way } = strike;
    let torn = if way == Way::Power { TORN } else { "" };
    // Whole at once, because the host looks at any time.
    let new = file(host, "new");
    fs::write(&new, format!("{point}\n{torn}\n")).context("arm a strike")?;
    fs::rename(&new, file(host, ARMED)).context("arm a strike")
}

/// The host does not stop any more.
pub(super) fn disarm(host: &Host) -> Result<()> {
    match fs::remove_file(file(host, ARMED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("disarm a strike"),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether the host's applier stands at its point.
pub(super) fn is_struck(host: &Host) -> bool {
    file(host, STRUCK).exists()
}

/// What stood there is about to be gone, or is.
pub(super) fn forget(host: &Host) -> Result<()> {
    fs::remove_file(file(host, STRUCK)).context("forget a strike")
}

fn file(host: &Host, name: &str) -> PathBuf {
    host.root().join(FOLDER.trim_start_matches('/')).join(name)
}
