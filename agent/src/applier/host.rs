//! Everything that the applier holds of its host: the places on disk, the process, who it belongs to.
//!
//! The disk is what is true; what is in memory here is either fixed, or found again by a restarted agent.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_state::Finding;
use host_state::desired::{LocalFacts, Owner};
use host_state::firewall::{FirewallRules, Reach};
use host_state::lease::{LeaseAnswer, Wish};
use host_state::unit::DropIn;
use identity::{HostKeys, HostSecret, Trust};
use nats_config::ServerConfig;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OwnedMutexGuard, watch};

use super::audit::Log;
use super::claim::ClaimRecord;
use super::files::FileError;
use super::gate;
use super::lease;
use super::ledger::{HostFacts, Ledger};
use super::notes::Notes;
use super::often::Often;
use super::pulse::{Pulse, Work};
use super::rendition::{FileSet, Renditions};
use super::target::Target;
use super::trial::ChangeOnTrial;
use crate::parts::effects::Effects;
use crate::parts::firewall::Firewall;
use crate::parts::nats::binary::Binaries;
use crate::parts::nats::process::ServerProcess;
use crate::parts::nats::unit::Service;
use crate::parts::systemd::Machine;
use crate::parts::tls::Leaf;
use crate::roles::{
    AgentSettings, ApiIdentity, ClaimState, LocalServer, Place, PrivateKeyPem, ServerView, ServiceUser,
};
use crate::shadow::unit::TrialUnit;

/// One host, as the applier works on it.
pub(super) struct Host {
    pub(super) settings: AgentSettings,
    pub(super) effects: Effects,
    pub(super) audit: Arc<Log>,
    pub(super) view: Arc<dyn ServerView>,
    pub(super) secret: HostSecret,
    pub(super) keys: HostKeys,
    pub(super) ledger: Ledger,
    pub(super) renditions: Renditions,
    pub(super) binaries: Binaries,
    /// Absent where the agent has no right to one.
    pub(super) firewall: Option<Firewall>,
    pub(super) claim: watch::Sender<ClaimState>,
    pub(super) api: watch::Sender<Option<Arc<ApiIdentity>>>,
    /// Whether somebody asked for a sweep before the next one is due.
    pub(super) sweep_wanted: AtomicBool,
    /// Held by whoever changes the host ([`Host::work`]).
    alone: Arc<tokio::sync::Mutex<()>>,
    /// Whether the loop goes round.
    pub(super) pulse: Arc<Pulse>,
    pub(super) change_on_trial: ChangeOnTrial,
    /// Whether the start came to its end.
    pub(super) is_up: AtomicBool,
    /// The unit of nats-server; absent where it is the agent's child.
    pub(super) service: Option<Service>,
    /// The unit that tries candidates; absent where the agent tries them.
    pub(super) trial: Option<Arc<TrialUnit>>,
    /// Whether a server that was running already has been looked for.
    pub(super) adopted: watch::Sender<bool>,
    server: Mutex<Option<ServerProcess>>,
    /// What the running server was last started or reloaded with; `None` when that is unknown.
    running_config: Mutex<Option<ServerConfig>>,
    notes: Mutex<Notes>,
    /// What the firewall was loaded for.
    often: Mutex<Often>,
    /// Held while a lease is decided.
    leases: Mutex<()>,
    /// Keeps a second agent out of the state directory while this one lives.
    _lock: std::fs::File,
}

/// What [`Host`] is made of at start.
pub(super) struct Parts {
    pub(super) settings: AgentSettings,
    pub(super) effects: Effects,
    pub(super) audit: Arc<Log>,
    pub(super) view: Arc<dyn ServerView>,
    pub(super) secret: HostSecret,
    pub(super) ledger: Ledger,
    pub(super) renditions: Renditions,
    pub(super) lock: std::fs::File,
    pub(super) machine: Option<Machine>,
}

impl Host {
    pub(super) fn new(parts: Parts) -> Host {
        let Parts { settings, effects, audit, view, secret, ledger, renditions, lock, machine } = parts;
        let state_dir = settings.state_dir.clone();
        let trial = machine.as_ref().map(|machine| {
            let systemd = Arc::clone(&machine.systemd);
            Arc::new(TrialUnit::new(systemd, state_dir.clone(), effects.clone()))
        });
        let has_firewall = match &machine {
            Some(machine) => machine.has_firewall,
            None => matches!(settings.place, Place::Host(_)),
        };
        let service = machine.map(|Machine { systemd, unit_dir, has_firewall: _ }| {
            Service::new(systemd, state_dir, unit_dir, effects.clone())
        });
        let binaries =
            Binaries::new(settings.state_dir.clone(), settings.nats_server.clone(), effects.clone())
                .with_downloads(settings.downloads.clone())
                .with_directory_mode(settings.place.directory_mode())
                .with_trial(trial.clone());
        let firewall = has_firewall.then(|| Firewall::open(effects.clone(), &settings.state_dir));
        Host {
            keys: secret.keys(),
            binaries,
            firewall,
            claim: watch::Sender::new(ClaimState::Closed),
            api: watch::Sender::new(None),
            sweep_wanted: AtomicBool::new(false),
            alone: Arc::default(),
            pulse: Pulse::new(),
            change_on_trial: ChangeOnTrial::default(),
            is_up: AtomicBool::new(false),
            adopted: watch::Sender::new(service.is_none()),
            service,
            trial,
            server: Mutex::new(None),
            running_config: Mutex::new(None),
            notes: Mutex::default(),
            often: Mutex::default(),
            leases: Mutex::new(()),
            _lock: lock,
            settings,
            effects,
            audit,
            view,
            secret,
            ledger,
            renditions,
        }
    }

    /// The right to change the host: one change at a time. Observing never takes it.
    pub(super) async fn work(&self) -> Work {
        let alone = Arc::clone(&self.alone).lock_owned().await;
        self.pulse.begin(alone)
    }

    /// Whether somebody changes the host. For as long as what it returns lives nobody begins to, and it counts as no change:
    /// whoever only looks has no ten minutes for that.
    pub(super) fn try_look(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.alone).try_lock_owned().ok()
    }

    /// As [`Host::work`]; `None` while somebody else changes it.
    pub(super) fn try_work(&self) -> Option<Work> {
        let alone = self.try_look()?;
        Some(self.pulse.begin(alone))
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.settings.state_dir
    }

    /// What of the firewall's changes is on record, and how often it was since.
    pub(super) fn often(&self) -> MutexGuard<'_, Often> {
        lock(&self.often)
    }

    /// The nats-server that was started or found; it may have ended.
    pub(super) fn server(&self) -> Option<ServerProcess> {
        lock(&self.server).clone()
    }

    /// The nats-server when it runs.
    pub(super) fn running_server(&self) -> Option<ServerProcess> {
        self.server().filter(ServerProcess::is_running)
    }

    pub(super) fn set_server(&self, process: Option<ServerProcess>) {
        *lock(&self.server) = process;
    }

    pub(super) fn running_config(&self) -> Option<ServerConfig> {
        self.running_server()?;
        lock(&self.running_config).clone()
    }

    pub(super) fn set_running_config(&self, config: Option<ServerConfig>) {
        *lock(&self.running_config) = config;
    }

    pub(super) fn note(&self, finding: Finding) {
        tracing::warn!(item = finding.item, problem = finding.problem, "noted for the next report");
        lock(&self.notes).add(finding);
    }

    /// As [`Host::note`], of what may happen any number of times: only the newest of its kind is told, and how often it was.
    pub(super) fn note_newest(&self, kind: &'static str, finding: Finding) {
        tracing::warn!(item = finding.item, problem = finding.problem, "noted for the next report");
        lock(&self.notes).add_newest(kind, finding);
    }

    pub(super) fn notes(&self) -> BTreeSet<Finding> {
        lock(&self.notes).findings()
    }

    pub(super) fn forget_notes(&self) {
        lock(&self.notes).clear();
    }

    /// Grants, renews or ends the lease.
    pub(super) fn decide_lease(&self, wish: &Wish) -> Result<LeaseAnswer, FileError> {
        let _one_at_a_time = lock(&self.leases);
        lease::decide(&self.effects, self.state_dir(), wish, now_ms())
    }

    /// The files of a rendition of `config` with `leaf`.
    pub(super) fn files(&self, config: &ServerConfig, leaf: &Leaf) -> FileSet {
        FileSet::new(config, &leaf.chain(), &self.secret.leaf_key_pem(), &leaf.material.host_ca)
            .with_secret_mode(self.settings.place.secret_mode())
    }

    /// What the current rendition is, for comparing it with `target`. One that cannot be read counts as none, so
    /// that it is written again.
    pub(super) fn local_facts(&self, facts: &HostFacts, target: &Target) -> LocalFacts {
        let HostFacts { store_id, meta_lineage, formed, confirmed_rendition: _ } = facts;
        let current = self.renditions.current().ok().flatten();
        let manifest = current.and_then(|number| self.renditions.manifest(number).ok());
        let rendered = manifest.as_ref().and_then(|manifest| {
            let config = || target.desired_config();
            let is_of_target = manifest.whole && manifest.sections == target.marks;
            self.renditions.model(manifest.number).ok().or_else(|| is_of_target.then(config))
        });
        LocalFacts {
            files: manifest.as_ref().map(super::rendition::Manifest::desired_files).unwrap_or_default(),
            leaf_not_after: manifest.as_ref().and_then(|manifest| self.leaf_not_after(manifest.number)),
            rendered,
            lineage: meta_lineage.clone(),
            formed: *formed,
            store_id: store_id.clone(),
            unit: self.service.as_ref().map(|_| self.drop_in(target)),
            owner: self.settings.place.service_user().map(|ServiceUser { uid, gid }| Owner { uid, gid }),
            agent_port: self.firewall.as_ref().map(|_| self.settings.listen.port()),
        }
    }

    /// Who may reach which port by `target`; absent where the agent manages no firewall.
    pub(super) fn firewall_rules(&self, target: &Target) -> Option<FirewallRules> {
        self.firewall.as_ref()?;
        let agent_port = self.settings.listen.port();
        Some(Reach { cluster: &target.cluster, gateway: target.gateway.as_ref(), agent_port }.rules())
    }

    /// What the unit's drop-in says for `target`.
    pub(super) fn drop_in(&self, target: &Target) -> DropIn {
        let binary = self.binaries.path(&target.cluster.server);
        DropIn::new(&target.desired_config(), &target.cluster.store, &binary)
    }

    /// Not-after of a rendition's leaf in the form of `/varz`; `None` when the file was changed.
    fn leaf_not_after(&self, number: u64) -> Option<String> {
        let bytes = self.renditions.intact_file(number, host_state::layout::CERT_FILE).ok().flatten()?;
        let info = identity::certificate_info(std::str::from_utf8(&bytes).ok()?).ok()?;
        info.not_after.format(&Rfc3339).ok()
    }

    /// How to reach the local server as the agent's system user.
    pub(super) fn local_server(&self, target: &Target) -> LocalServer {
        let client = gate::client_address(&target.cluster.config);
        LocalServer {
            client,
            address: client.ip(),
            host_ca_pem: target.cluster.tls.host_ca.clone(),
            user_jwt: target.cluster.users.system_jwt.clone(),
            user_key: Arc::new(self.secret.system_user().clone()),
        }
    }

    /// How to reach it as the agent's probe user.
    pub(super) fn local_probe(&self, target: &Target) -> LocalServer {
        LocalServer {
            user_jwt: target.cluster.users.probe_jwt.clone(),
            user_key: Arc::new(self.secret.probe_user().clone()),
            ..self.local_server(target)
        }
    }

    /// Tells the front which certificate to serve.
    pub(super) fn serve_leaf(&self, leaf: &Leaf) {
        let key = PrivateKeyPem::new(self.secret.leaf_key_pem());
        self.api.send_replace(Some(Arc::new(ApiIdentity { chain_pem: leaf.chain(), key })));
    }

    /// Tells the front whose host this is, with the newest trust.
    pub(super) fn publish_claim(&self, record: &ClaimRecord, trust: Trust) {
        let claimed = crate::roles::Claimed {
            host: record.host.clone(),
            generation: record.generation,
            claim_id: record.claim_id.clone(),
            trust,
            host_keys: self.keys.clone(),
        };
        self.claim.send_replace(ClaimState::Claimed(Arc::new(claimed)));
    }
}

/// Milliseconds since 1970, by the host's clock.
pub(super) fn now_ms() -> u64 {
    u64::try_from(now().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// Now, by the host's clock.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A poisoned lock is taken all the same: each of them guards one value that is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
