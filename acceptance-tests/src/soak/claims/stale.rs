//! A host that comes back from a backup, with a ledger that knows nothing of what was taken out since.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use host_state::layout;

use super::watch::Watch;
use super::{Part, SWEEP, kill, start};
use crate::rig::wait::wait_for;
use crate::scenario::system::System;
use crate::soak::proof::Row;

/// How long nothing may come back after a stale host has its accounts in order.
const QUIET: Duration = Duration::from_secs(5);

/// What was kept of one host before anybody was taken out.
pub(super) struct Backup {
    host: String,
    folder: PathBuf,
}

/// What of it is put back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolver {
    /// The server's accounts stay as they are.
    Kept,
    /// They are put back too.
    Restored,
    /// They are lost.
    Lost,
}

/// How a host comes back.
struct Case {
    what: &'static str,
    resolver: Resolver,
    /// What of it was down meanwhile.
    part: Part,
    /// Whether the agents of all others are down when it comes.
    is_alone: bool,
}

impl Backup {
    /// Copies ledger and accounts of the host that `chance` chooses.
    pub(super) fn of(system: &System, chance: u64) -> Result<Backup> {
        let hosts = system.hosts();
        let host = &hosts[usize::try_from(chance.rotate_left(32)).unwrap_or(0) % hosts.len()];
        let folder = host.state_dir().join("../backup");
        for part in [layout::LEDGER, layout::RESOLVER] {
            copy(&host.state_dir().join(part), &folder.join(part))?;
        }
        Ok(Backup { host: host.name().to_owned(), folder })
    }

    fn put_back(&self, system: &System, resolver: Resolver) -> Result<()> {
        let state_dir = system.host(&self.host).state_dir();
        let replace = |part: &str| {
            let own = state_dir.join(part);
            fs::remove_dir_all(&own).with_context(|| format!("remove `{part}`"))?;
            copy(&self.folder.join(part), &own)
        };
        replace(layout::LEDGER)?;
        match resolver {
            Resolver::Kept => Ok(()),
            Resolver::Restored => replace(layout::RESOLVER),
            Resolver::Lost => {
                fs::remove_dir_all(state_dir.join(layout::RESOLVER)).context("remove the accounts")
            }
        }
    }
}

/// Brings the host back from its backup in each way, beside others whose agents run, and alone.
pub(super) fn rows(system: &mut System, watch: &Watch, backup: &Backup, is_whole: bool) -> Result<Vec<Row>> {
    let cases = [
        Case { what: "stale ledger", resolver: Resolver::Kept, part: Part::Both, is_alone: false },
        Case {
            what: "stale ledger and accounts",
            resolver: Resolver::Restored,
            part: Part::Both,
            is_alone: false,
        },
        Case {
            what: "stale ledger, accounts lost",
            resolver: Resolver::Lost,
            part: Part::Both,
            is_alone: false,
        },
        Case {
            what: "stale ledger, accounts lost, its server runs, no other agent does",
            resolver: Resolver::Lost,
            part: Part::Agent,
            is_alone: true,
        },
        Case {
            what: "stale ledger and accounts, no other agent runs",
            resolver: Resolver::Restored,
            part: Part::Both,
            is_alone: true,
        },
    ];
    // The last waits for a sweep.
    let cases = if is_whole { &cases[..] } else { &cases[2..4] };
    let others: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    let others: Vec<String> = others.into_iter().filter(|name| *name != backup.host).collect();
    let mut rows = Vec::new();
    for Case { what, resolver, part, is_alone } in cases {
        let (resolver, part, is_alone) = (*resolver, *part, *is_alone);
        let before = watch.returned();
        kill(system, &backup.host, part)?;
        if is_alone {
            others.iter().try_for_each(|name| kill(system, name, Part::Agent))?;
        }
        backup.put_back(system, resolver)?;
        watch.forgive(&backup.host);
        let began = Instant::now();
        start(system, std::slice::from_ref(&backup.host))?;
        let out = wait_for(&format!("{what}: everybody out on it"), 3 * SWEEP, || {
            Ok(watch.out_again(&backup.host))
        })?;
        std::thread::sleep(QUIET);
        watch.await_first_pass()?;
        if is_alone {
            start(system, &others)?;
        }
        rows.extend([
            Row::at_most(
                &format!("{what}: seconds from its start until all are out on it"),
                out.duration_since(began).as_secs_f64().ceil(),
                SWEEP.as_secs_f64(),
            ),
            Row::exactly(&format!("{what}: let in again on others"), watch.returned() - before, 0),
        ]);
    }
    Ok(rows)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list `{}`", from.display()))? {
        let entry = entry.context("list")?;
        fs::copy(entry.path(), to.join(entry.file_name())).context("copy")?;
    }
    Ok(())
}
