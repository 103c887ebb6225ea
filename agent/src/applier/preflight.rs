//! Whether this host is fit for a document: the checks of `host_state::preflight` over what is seen here.
//!
//! Only what puts a server of a production cluster on a host runs a latency probe, while no server is there to be
//! disturbed, and only that refuses: a stage, and the roll of a host that never was in a meta group. Everybody else is
//! shown the kept result.

use std::path::{Path, PathBuf};

use host_state::document::Profile;
use host_state::preflight::{DEFAULT_CONNECTIONS, Facts, Preflight, Probe, Seen, Verdict, Wanted, preflight};

use super::events::Events;
use super::host::Host;
use super::target::{Target, Which};
use crate::parts::preflight::tree::Tree;
use crate::parts::preflight::{LimitOf, look, probe};
use crate::parts::store;
use crate::roles::ApplierError;

/// The check that a probe decides; whatever else is refused needs no measuring.
const LATENCY: &str = "fsync_latency";

impl Host {
    /// The checks for the newest cluster section.
    ///
    /// # Errors
    /// When there is none, or the ledger cannot be read.
    pub(super) async fn preflight(&self) -> Result<Preflight, ApplierError> {
        let contents = self.contents()?;
        let target = Target::of(&contents, Which::Accepted)
            .map_err(|error| ApplierError::Failed(host_state::chain(&error)))?;
        let none = || {
            ApplierError::Failed(
                "this host has no cluster section yet; `nats-agent preflight` on the host checks it before"
                    .to_owned(),
            )
        };
        let target = target.ok_or_else(none)?;
        self.checks(&target, probe::kept(self.state_dir())).await.map_err(ApplierError::Failed)
    }

    /// Why no production server is put on this host; `None` when nothing speaks against it, and under any other
    /// profile. Changes nothing but the kept probe.
    pub(super) async fn unfit(&self, target: &Target, events: &Events) -> Option<String> {
        let section = &target.cluster;
        if section.profile != Profile::Production || section.config.jetstream.is_none() {
            return None;
        }
        let started = events.started("check the host");
        let is_running = self.running_server().is_some();
        let kept = probe::kept(self.state_dir());
        let mut found = self.checks(target, kept).await.inspect_err(not_checked).ok()?;
        let is_measured = found
            .checks
            .iter()
            .any(|check| check.name == LATENCY && !check.is_unknown() && check.verdict != Verdict::Refuse);
        // A disk that is refused for what it is needs no measuring, and a server that runs is not disturbed.
        let is_refused_otherwise = found.refusals().any(|check| check.name != LATENCY);
        if !is_measured && !is_running && !is_refused_otherwise {
            let measured = self.measure(PathBuf::from(&section.store.directory)).await;
            found = self.checks(target, measured).await.inspect_err(not_checked).ok()?;
        }
        if is_running {
            // A busy disk must not keep a running cluster from being changed.
            found.checks.retain(|check| check.name != LATENCY);
        }
        events.done(started);
        found.refusal()
    }

    /// Runs a probe and keeps its result.
    async fn measure(&self, directory: PathBuf) -> Seen<Probe> {
        let effects = self.effects.clone();
        let work = move || probe::run(&effects, &Tree::default(), &directory, probe::MOST_TIME);
        let measured = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        let measured = measured.map_err(|error| host_state::chain(&error))?;
        if let Err(error) = probe::keep(&self.effects, self.state_dir(), &measured) {
            tracing::warn!(error = host_state::chain(&error), "the result of the latency probe is not kept");
        }
        Ok(measured)
    }

    async fn checks(&self, target: &Target, probe: Seen<Probe>) -> Result<Preflight, String> {
        let wanted = self.wanted(target);
        let directory = target.cluster.store.directory.clone();
        let limit = match (&self.service, self.running_server()) {
            (Some(service), _) => LimitOf::Unit(service.open_files().await),
            (None, Some(server)) => LimitOf::Server(server.run().pid),
            (None, None) => LimitOf::Own,
        };
        let seen = move || -> Facts { look(&Tree::default(), Path::new(&directory), &limit, probe) };
        let facts = tokio::task::spawn_blocking(seen).await.map_err(|error| error.to_string())?;
        Ok(preflight(&wanted, &facts))
    }

    fn wanted(&self, target: &Target) -> Wanted {
        let (section, config) = (&target.cluster, target.desired_config());
        let ports = [
            Some(config.client.port),
            config.monitor.as_ref().map(|monitor| monitor.port),
            config.cluster.as_ref().map(|cluster| cluster.port),
            config.gateway.as_ref().map(|gateway| gateway.port),
            Some(section.firewall.metrics_port),
            Some(self.settings.listen.port()),
        ];
        Wanted {
            profile: section.profile,
            max_storage: config.jetstream.as_ref().map(|jetstream| jetstream.max_storage.bytes()),
            on_root: section.store.on_root,
            uid: self.settings.place.service_user().map(|user| user.uid),
            ports: ports.into_iter().flatten().collect(),
            connections: config.limits.max_connections.unwrap_or(DEFAULT_CONNECTIONS),
            assets: u64::try_from(store::assets(&section.store)).unwrap_or(u64::MAX),
        }
    }
}

fn not_checked(reason: &String) {
    tracing::error!(reason, "the host could not be checked");
}
