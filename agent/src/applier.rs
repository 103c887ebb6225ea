//! The applier: verifies documents, keeps the ledger, renders, switches, and keeps the host as it was confirmed.
//!
//! It opens no inet socket: what it must see of the network it asks the front for, through [`ServerView`], and what
//! it hears may hold or roll back a change, never authorise one. All changes of a host go through here, one at a
//! time.
//!
//! # Current limitations
//! - In one process, as an ordinary user, there are no units, no firewall and no user of its own for nats-server.
//! - A claimed host cannot be claimed anew; remove its state directory to start over. The store is kept and found
//!   again by its identity file.
//! - A server that is a child is stopped by SIGTERM, and only one that is a unit is a lame duck first. Stepping its leaders
//!   down before is the conductor's.
//! - `GOMEMLIMIT`, `LimitNOFILE` and other settings of the drop-in take effect at the server's next start, whenever
//!   that is.

mod admit;
pub mod audit;
mod candidate;
pub mod claim;
mod events;
pub mod files;
mod gate;
mod host;
mod intent;
mod ladder;
mod lease;
pub mod ledger;
mod mesh;
mod notes;
mod observe;
mod often;
pub mod pins;
mod preflight;
mod pulse;
mod reconcile;
pub mod rendition;
mod report;
mod requests;
mod roll;
mod rollback;
mod rules;
mod secret;
mod steps;
mod target;
mod trial;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use host_state::audit::{Occasion, RecordHash, What};
use host_state::firewall::TrialAction;
use host_state::lease::Wish;
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, Report};
use host_state::{Plan, SignedSection, Step, layout};
use identity::HostKeys;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::audit::Log;
use self::events::Events;
use self::files::FileError;
use self::host::{Host, Parts};
use self::ledger::{Kept, Ledger};
use self::pulse::Work;
use self::rendition::Renditions;
use self::secret::SecretError;
use self::target::{Target, Which};
use crate::parts::effects::{Effects, Gate};
use crate::parts::firewall;
use crate::parts::nats::process;
use crate::parts::nats::unit::UNIT_DIR;
use crate::parts::systemd::{Machine, bus::SystemBus};
use crate::parts::tls::{Leaf, LeafError};
use crate::roles::{
    AgentSettings, ApiIdentity, Applier, ApplierError, ApplyOrder, Caller, ClaimState, LeaseAction,
    LeaseAnswer, LeaseOrder, LocalServer, NewClaim, PrivateKeyPem, ServerView, ServiceUser, TrialWish,
};

#[cfg(feature = "fuzz")]
pub(crate) use self::intent::Intent;

/// File that keeps a second agent out of a state directory.
const LOCK_FILE: &str = "agent.lock";

/// Why the applier did not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory or something in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another agent works on it.
    #[error("another agent uses the state directory `{path}`")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The host's own keys.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The host's certificate.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// The applier of this host, in this process. Its loop ends when it is dropped; nats-server goes on.
pub struct LocalApplier {
    host: Arc<Host>,
    reconciler: AbortHandle,
    watcher: AbortHandle,
}

impl std::fmt::Debug for LocalApplier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalApplier").field("settings", &self.host.settings).finish_non_exhaustive()
    }
}

impl Drop for LocalApplier {
    fn drop(&mut self) {
        self.reconciler.abort();
        self.watcher.abort();
    }
}

/// As long as it lives, nothing changes the host.
#[derive(Debug)]
#[must_use]
pub struct Rest {
    _work: Work,
    _firewall: Option<firewall::Rest>,
}

impl LocalApplier {
    /// Opens the state directory, makes what a first start makes, ends what a crash interrupted, and keeps the host
    /// as it was confirmed from then on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; an unreadable claim or ledger is none: it is told in the claim state and in every report.
    pub fn open(settings: AgentSettings, view: Arc<dyn ServerView>) -> Result<Arc<LocalApplier>, OpenError> {
        LocalApplier::open_with(settings, view, Effects::default())
    }

    /// Returns when nothing changes the host, such as the start.
    #[cfg(feature = "testing")]
    pub async fn settled(&self) {
        let _work = self.host.work().await;
    }

    /// Looks at everything now, as the loop does every minute.
    #[cfg(feature = "testing")]
    pub async fn sweep(&self) {
        self.settled().await;
        self.host.sweep().await;
    }

    /// As [`LocalApplier::open`], with effects that a test can make fail.
    ///
    /// # Errors
    /// As [`LocalApplier::open`].
    pub fn open_with(
        settings: AgentSettings,
        view: Arc<dyn ServerView>,
        effects: Effects,
    ) -> Result<Arc<LocalApplier>, OpenError> {
        let machine = settings.place.service_user().map(|_| Machine {
            systemd: Arc::new(SystemBus::new()),
            unit_dir: PathBuf::from(UNIT_DIR),
            has_firewall: true,
        });
        LocalApplier::open_on(settings, view, effects, machine)
    }

    /// As [`LocalApplier::open_with`], with the service manager that commands its units; none where there is none.
    ///
    /// # Errors
    /// As [`LocalApplier::open`].
    pub fn open_on(
        settings: AgentSettings,
        view: Arc<dyn ServerView>,
        effects: Effects,
        machine: Option<Machine>,
    ) -> Result<Arc<LocalApplier>, OpenError> {
        let state_dir = settings.state_dir.clone();
        prepare_directories(&effects, &settings)?;
        let lock = files::lock(&effects, &state_dir.join(LOCK_FILE))?;
        let lock = lock.ok_or_else(|| OpenError::InUse { path: state_dir.clone() })?;
        let audit = Log::open(state_dir.join(layout::AUDIT), effects.clone());
        let effects = effects.behind(Arc::<Log>::clone(&audit) as Arc<dyn Gate>);
        let secret = secret::read_or_make(&effects, &state_dir)?;
        let ledger = Ledger::open(state_dir.join(layout::LEDGER), effects.clone())?;
        let renditions = Renditions::open(state_dir.clone(), effects.clone())?
            .with_directory_mode(settings.place.directory_mode());
        let leaf = Leaf::read(&state_dir)?;
        let host = Arc::new(Host::new(Parts {
            settings,
            effects,
            audit,
            view,
            secret,
            ledger,
            renditions,
            lock,
            machine,
        }));
        if let Kept::Valid(record) = claim::read(&state_dir) {
            host.after_claim(&record, leaf)?;
        }
        host.refresh_claim();
        if host.service.is_none() {
            host.set_server(process::adopt(&host.effects, &state_dir));
        }
        let started = host.try_work().expect("nobody else has the host yet");
        let reconciler = tokio::spawn(reconcile::run(Arc::clone(&host), started)).abort_handle();
        let watcher = tokio::spawn(trial::watch(Arc::clone(&host))).abort_handle();
        Ok(Arc::new(LocalApplier { host, reconciler, watcher }))
    }

    /// Waits until the change that is under way has come to its end, and keeps the next one from beginning for as long
    /// as what it returns lives; so also with what the firewall needs, which takes no part in the work lock.
    /// nats-server goes on.
    pub async fn rest(&self) -> Rest {
        let work = self.host.work().await;
        self.reconciler.abort();
        let firewall = match &self.host.firewall {
            Some(firewall) => Some(firewall.rest().await),
            None => None,
        };
        self.watcher.abort();
        Rest { _work: work, _firewall: firewall }
    }

    /// Has the host looked at whole at once, not when the minute is over; after the change that is under way.
    pub fn sweep_now(&self) {
        self.host.sweep_wanted.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Makes the state directory. On a host also what nats-server's user reads or writes below it, each with its owner.
fn prepare_directories(effects: &Effects, settings: &AgentSettings) -> Result<(), FileError> {
    let AgentSettings { state_dir, place, .. } = settings;
    let Some(nats) = place.service_user() else {
        return files::make_directory(effects, state_dir, layout::DIRECTORY_MODE);
    };
    let own = ServiceUser { uid: rustix::process::geteuid().as_raw(), ..nats };
    files::keep_directory(effects, state_dir, place.directory_mode(), Some(own))?;
    let renditions = state_dir.join(layout::RENDITIONS);
    files::keep_directory(effects, &renditions, place.directory_mode(), Some(own))?;
    let server = state_dir.join(layout::SERVER);
    files::keep_directory(effects, &server, place.directory_mode(), Some(nats))?;
    files::keep_directory(effects, &state_dir.join(layout::SHADOW), layout::SCRATCH_MODE, Some(nats))
}

/// Does `work` to its end, whether or not the caller still waits: a change must not stop half-way because a
/// connection broke.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApplierError>> + Send + 'static,
) -> Result<T, ApplierError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(ApplierError::Failed(format!("the agent failed while working on it: {error}"))),
    }
}

#[async_trait]
impl Applier for LocalApplier {
    fn claim_state(&self) -> watch::Receiver<ClaimState> {
        self.host.claim.subscribe()
    }

    fn api_identity(&self) -> watch::Receiver<Option<Arc<ApiIdentity>>> {
        self.host.api.subscribe()
    }

    fn host_keys(&self) -> HostKeys {
        self.host.keys.clone()
    }

    fn leaf_key(&self) -> PrivateKeyPem {
        PrivateKeyPem::new(self.host.secret.leaf_key_pem())
    }

    async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move { host.bind(claim).await }).await
    }

    async fn observe(&self) -> Result<Report, ApplierError> {
        let (report, mesh) = tokio::join!(self.host.report(), self.host.mesh_row());
        Ok(Report { mesh, ..report })
    }

    async fn audit_hash(&self, seq: u64) -> Result<Option<RecordHash>, ApplierError> {
        Ok(self.host.audit.hash_at(seq))
    }

    async fn sections(&self) -> Result<Vec<SignedSection>, ApplierError> {
        let contents = self.host.contents()?;
        let entries = [contents.cluster, contents.gateway, contents.claims];
        Ok(entries.into_iter().flatten().map(|entry| entry.accepted).collect())
    }

    async fn pins(&self) -> Result<BTreeSet<String>, ApplierError> {
        let pinned = pins::pinned(&self.sections().await?);
        pinned.map_err(|error| ApplierError::Failed(host_state::chain(&error)))
    }

    async fn system_login(&self) -> Result<LocalServer, ApplierError> {
        let contents = self.host.contents()?;
        // The user of what runs: a server that has not taken a rotation yet does not know the key of the next one.
        let target = mesh::running_target(&contents);
        let none = || {
            ApplierError::Failed("this host runs no nats-server yet: it has no cluster section".to_owned())
        };
        Ok(self.host.local_server(&target.ok_or_else(none)?))
    }

    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ApplierError> {
        self.host.preview(&sections).await
    }

    async fn preflight(&self) -> Result<Preflight, ApplierError> {
        self.host.preflight().await
    }

    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move {
            let mode = order.mode;
            tracing::info!(role = %caller.role, serial = caller.serial, ?mode, "apply");
            let events = Events::to(events);
            let outcome = host.apply(order, &caller, &events).await?;
            host.stand_in_mesh().await;
            let report = Box::new(host.report().await);
            events.finish(ApplyEvent::Finished { outcome, report }).await;
            Ok(())
        })
        .await
    }

    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ApplierError> {
        let LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
        let record = self.host.claimed()?;
        let trust = admit::current_trust(&record, &self.host.contents()?);
        if !lease::is_signed(&trust, &lease_id, &holder, &signature) {
            let text = format!("the lease of `{holder}` is not signed by authority `{}`", trust.authority);
            return Err(ApplierError::InvalidDocument(text));
        }
        let action = match action {
            LeaseAction::Acquire => host_state::lease::LeaseAction::Acquire,
            LeaseAction::Renew => host_state::lease::LeaseAction::Renew,
            LeaseAction::Release => host_state::lease::LeaseAction::Release,
        };
        tracing::debug!(role = %caller.role, serial = caller.serial, holder, ?action, "lease");
        let wish = Wish { lease_id, holder, action, ttl_ms };
        let answer = self.host.decide_lease(&wish);
        let host_state::lease::LeaseAnswer { granted, holder, remaining_ms } =
            answer.map_err(|error| ApplierError::Failed(host_state::chain(&error)))?;
        Ok(LeaseAnswer { granted, holder, remaining_ms })
    }

    async fn confirm(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move { host.end_trial(wish, TrialAction::Confirm, &caller).await }).await
    }

    async fn cancel(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move { host.end_trial(wish, TrialAction::Cancel, &caller).await }).await
    }

    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move { host.take_claims(section).await }).await
    }

    async fn beat(&self) -> Result<(), ApplierError> {
        let seen = self.host.pulse.check(std::time::Instant::now());
        seen.map_err(|stuck| ApplierError::Failed(stuck.to_string()))
    }

    async fn shut_down(&self) {
        self.reconciler.abort();
        let _rest = self.rest().await;
        if self.host.service.is_some() {
            // A unit outlives the agent.
            return;
        }
        let _acting = self.host.audit.acting_by_itself(Occasion::Stop);
        let target = self.host.ledger.read().ok().and_then(|contents| {
            let confirmed = Target::of(&contents, Which::Confirmed).ok().flatten();
            confirmed.or_else(|| Target::of(&contents, Which::Accepted).ok().flatten())
        });
        if self.host.running_server().is_none() {
            return;
        }
        let stop = What::Step { step: Step::Stop.to_string(), rendition: None };
        let announced = self.host.audit.announce_anyway(stop);
        if let Err(reason) = announced.told(self.host.stop_any_server(target.as_ref()).await) {
            tracing::error!(reason, "nats-server goes on");
        }
    }
}
