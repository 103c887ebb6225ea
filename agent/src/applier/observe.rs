//! Looks at the whole host. Changes nothing, takes no lock, and says so wherever it could not look.

use std::collections::BTreeMap;
use std::path::Path;

use host_state::desired::Desired;
use host_state::layout;
use host_state::observed::{ClaimsObserved, FileObserved, ProcessObserved, RunningObserved, UnitObserved};
use host_state::{Difference, Observed, diff};

use super::files;
use super::gate;
use super::host::Host;
use super::ledger::HostFacts;
use super::rendition::sha256;
use super::target::Target;
use crate::parts::nats::process::ServerProcess;
use crate::parts::nats::unit::{Found, Run};
use crate::parts::preflight::tree::Tree;
use crate::parts::{claims, preflight, store};

/// Largest file of a rendition that is read back, in bytes.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// What was seen, beside what should be.
pub(super) struct Sight {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) differences: Vec<Difference>,
}

impl Host {
    /// Looks at the host and compares it with `target`.
    pub(super) async fn look(&self, target: &Target, facts: &HostFacts) -> Sight {
        let desired = target.desired(self.local_facts(facts, target));
        let observed = self.observe(target, &desired).await;
        let differences = diff(&desired, &observed);
        Sight { desired, observed, differences }
    }

    async fn observe(&self, target: &Target, desired: &Desired) -> Observed {
        let (unit, found) = self.unit().await;
        let process = process(self.server(), found);
        let is_running = matches!(process, ProcessObserved::Running { .. });
        Observed {
            files: self.files_observed(desired),
            running: self.running(desired, is_running).await,
            store: store::observe(&desired.store),
            disk: preflight::disk(&Tree::default(), Path::new(&desired.store.directory)),
            binary: self.binaries.observe(&desired.server).await,
            claims: self.claims_observed(target, is_running).await,
            firewall: self.firewall_observed(desired).await,
            process,
            unit,
        }
    }

    /// The unit and what it is doing; nothing where the server is the agent's child.
    pub(super) async fn unit(&self) -> (UnitObserved, Option<Found>) {
        let Some(service) = &self.service else { return (UnitObserved::None, None) };
        // Before that a server that runs would be taken for a stopped one.
        let _ = self.adopted.subscribe().wait_for(|is_done| *is_done).await;
        match service.observe().await {
            Ok((unit, found)) => (unit, Some(found)),
            Err(error) => (UnitObserved::Unreadable { reason: host_state::chain(&error) }, None),
        }
    }

    fn files_observed(&self, desired: &Desired) -> BTreeMap<String, FileObserved> {
        let current = self.state_dir().join(layout::CURRENT);
        let look = |(name, wanted): (&String, &host_state::desired::DesiredFile)| {
            (name.clone(), file(&current.join(name), name, &wanted.sha256))
        };
        desired.files.iter().map(look).collect()
    }

    async fn running(&self, desired: &Desired, is_running: bool) -> RunningObserved {
        if !is_running {
            return RunningObserved::Stopped;
        }
        // The port of what runs, not of what is to come.
        let config = desired.rendered.as_ref().unwrap_or(&desired.config);
        match gate::monitor_address(config) {
            Some(monitor) => self.view.running(monitor).await,
            None => RunningObserved::Silent { reason: "its configuration has no monitoring port".to_owned() },
        }
    }

    async fn claims_observed(&self, target: &Target, is_running: bool) -> ClaimsObserved {
        if !is_running {
            return ClaimsObserved::Stopped;
        }
        claims::observe(self.view.as_ref(), &self.local_server(target), self.state_dir()).await
    }
}

/// The process as `host_state` compares it. Where there is a unit, systemd's word counts.
pub(super) fn process(server: Option<ServerProcess>, found: Option<Found>) -> ProcessObserved {
    let running = |run: &Run| {
        let Run { pid, started_at, binary_sha256 } = run.clone();
        ProcessObserved::Running { pid, started_at, binary_sha256 }
    };
    let exit = server.as_ref().and_then(ServerProcess::last_exit);
    match (found, server) {
        (Some(Found::Running(run)), _) => running(&run),
        (Some(Found::Coming), _) => {
            ProcessObserved::Stopped { last_exit: Some("systemd is about to start it".to_owned()) }
        }
        (Some(Found::Stopped { last_exit }), _) => ProcessObserved::Stopped { last_exit: last_exit.or(exit) },
        (None, Some(server)) if exit.is_none() => running(server.run()),
        (None, Some(_) | None) => ProcessObserved::Stopped { last_exit: exit },
    }
}

fn file(path: &Path, name: &str, wanted: &str) -> FileObserved {
    // What a link leads to may be as it should be now, and can be changed where nobody looks.
    if path.is_symlink() {
        return FileObserved::Missing;
    }
    match (files::read_bounded(path, FILE_LIMIT), files::mode_of(path)) {
        (Ok(None), _) => FileObserved::Missing,
        (Err(error), _) => FileObserved::Unreadable { reason: host_state::chain(&error) },
        (Ok(Some(_)), Err(error)) => FileObserved::Unreadable { reason: error.to_string() },
        (Ok(Some(bytes)), Ok(mode)) => {
            let sum = sha256(&bytes);
            // Only the configuration is shown setting by setting, and there possible secrets are hidden.
            let is_shown = name == layout::CONFIG_FILE && sum != wanted;
            let text = if is_shown { String::from_utf8(bytes).ok() } else { None };
            FileObserved::Present { sha256: sum, mode, text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_same_content_is_not_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("elsewhere"), directory.path().join("server.pem"));
        std::fs::write(&path, "pem").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(file(&path, layout::CERT_FILE, ""), FileObserved::Present { .. }));
        assert_eq!(file(&link, layout::CERT_FILE, ""), FileObserved::Missing);
    }
}
