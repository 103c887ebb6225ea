//! The applier: verifies documents, keeps the ledger, renders, switches, and keeps the host as it was confirmed.
//!
//! It opens no inet socket: what it must see of the network it asks the front for, through [`ServerView`], and what
//! it hears may hold or roll back a change, never authorise one. All changes of a host go through here, one at a
//! time.
//!
//! # Current limitations
//! - Runs in the agent's own process, as an ordinary user: no units, no firewall, no user of its own for nats-server.
//! - A claimed host cannot be claimed anew; remove its state directory to start over. The store is kept and found
//!   again by its identity file.
//! - A server is stopped by SIGTERM; stepping its leaders down before is the conductor's.

mod admit;
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
mod observe;
mod reconcile;
pub mod rendition;
mod report;
mod roll;
mod rollback;
mod rules;
mod secret;
mod steps;
mod target;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use host_state::lease::Wish;
use host_state::report::{ApplyEvent, Outcome, Report};
use host_state::{Plan, SectionKind, SignedSection, layout};
use identity::HostKeys;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::admit::{Admitted, take_in};
use self::candidate::Goal;
use self::claim::{ClaimRecord, EnrollmentFile};
use self::events::Events;
use self::files::FileError;
use self::host::{Host, Parts, now, now_ms};
use self::ledger::{Contents, Kept, Ledger};
use self::rendition::Renditions;
use self::secret::SecretError;
use self::target::{Target, Which};
use crate::parts::effects::Effects;
use crate::parts::nats::process;
use crate::parts::tls::{Leaf, LeafError, Material};
use crate::roles::{
    AgentSettings, ApiIdentity, Applier, ApplierError, ApplyMode, ApplyOrder, Caller, ClaimState, LeaseAction,
    LeaseAnswer, LeaseOrder, NewClaim, PrivateKeyPem, ServerView,
};

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
}

impl std::fmt::Debug for LocalApplier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalApplier").field("settings", &self.host.settings).finish_non_exhaustive()
    }
}

impl Drop for LocalApplier {
    fn drop(&mut self) {
        self.reconciler.abort();
    }
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

    /// As [`LocalApplier::open`], with effects that a test can make fail.
    ///
    /// # Errors
    /// As [`LocalApplier::open`].
    pub fn open_with(
        settings: AgentSettings,
        view: Arc<dyn ServerView>,
        effects: Effects,
    ) -> Result<Arc<LocalApplier>, OpenError> {
        let state_dir = settings.state_dir.clone();
        files::make_directory(&state_dir, layout::DIRECTORY_MODE)?;
        let lock = lock_state(&state_dir)?;
        let secret = secret::read_or_make(&effects, &state_dir)?;
        let ledger = Ledger::open(state_dir.join(layout::LEDGER), effects.clone())?;
        let renditions = Renditions::open(state_dir.clone(), effects.clone())?;
        let leaf = Leaf::read(&state_dir)?;
        let host = Arc::new(Host::new(Parts { settings, effects, view, secret, ledger, renditions, lock }));
        if let Kept::Valid(record) = claim::read(&state_dir) {
            host.after_claim(&record, leaf)?;
        }
        host.refresh_claim();
        host.set_server(process::adopt(&host.effects, &state_dir));
        let started = Arc::clone(&host.work).try_lock_owned().expect("nobody else has the host yet");
        let reconciler = tokio::spawn(reconcile::run(Arc::clone(&host), started)).abort_handle();
        Ok(Arc::new(LocalApplier { host, reconciler }))
    }
}

fn lock_state(state_dir: &std::path::Path) -> Result<File, OpenError> {
    let path = state_dir.join(LOCK_FILE);
    let fail = |errno: rustix::io::Errno| FileError::Write { path: path.clone(), source: errno.into() };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(layout::SECRET_MODE)).map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(File::from(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path: state_dir.to_owned() }),
        Err(errno) => Err(fail(errno).into()),
    }
}

impl Host {
    /// What follows from a claim that is kept: a burnt token, a certificate.
    fn after_claim(&self, record: &ClaimRecord, leaf: Option<Leaf>) -> Result<(), OpenError> {
        let seen = claim::read_enrollment(&self.effects, self.state_dir(), now().unix_timestamp())?;
        if matches!(seen, EnrollmentFile::Open { .. } | EnrollmentFile::Expired { .. }) {
            claim::burn(&self.effects, self.state_dir(), &record.host, record.generation)?;
        }
        let leaf = match leaf {
            Some(leaf) => leaf,
            None => {
                let leaf = claimed_material(record).mint(&self.secret, now())?;
                leaf.write(&self.effects, self.state_dir())?;
                leaf
            }
        };
        self.serve_leaf(&leaf);
        Ok(())
    }

    fn claimed(&self) -> Result<ClaimRecord, ApplierError> {
        match claim::read(self.state_dir()) {
            Kept::Valid(record) => Ok(record),
            Kept::Missing => Err(ApplierError::NotClaimed("this host is not claimed".to_owned())),
            Kept::Unreadable { reason } => {
                Err(ApplierError::NotClaimed(format!("the claim of this host cannot be read: {reason}")))
            }
        }
    }

    fn contents(&self) -> Result<Contents, ApplierError> {
        self.ledger.read().map_err(|unreadable| ApplierError::Frozen(unreadable.to_string()))
    }

    fn take_in(&self, sections: &[SignedSection]) -> Result<(ClaimRecord, Admitted), ApplierError> {
        let record = self.claimed()?;
        let admitted = take_in(&record, &self.contents()?, sections)?;
        Ok((record, admitted))
    }

    /// Whether the caller may change this host: with the lease, or in what needs none.
    fn check_lease(&self, order: &ApplyOrder, contents: &Contents) -> Result<(), ApplierError> {
        let only_claims = !order.sections.is_empty()
            && order.sections.iter().all(|section| section.header.section == SectionKind::Claims);
        let is_released = Target::of(contents, Which::Confirmed)
            .ok()
            .flatten()
            .is_some_and(|target| matches!(target.run(), host_state::desired::Run::Released(_)));
        if only_claims || (order.mode == ApplyMode::Stage && !is_released) {
            return Ok(());
        }
        let current = lease::current(self.state_dir());
        if host_state::lease::is_held_by(current.as_ref(), &order.lease_id, now_ms()) {
            return Ok(());
        }
        let text = match current.filter(|lease| lease.expires_ms > now_ms()) {
            Some(lease) => format!("{} holds the lease of this host", lease.holder),
            None => "the lease of this host ran out or was never taken; take it and try again".to_owned(),
        };
        Err(ApplierError::Leased(text))
    }

    async fn apply(&self, order: ApplyOrder, events: &Events) -> Result<Outcome, ApplierError> {
        let _work = self.work.lock().await;
        let (record, admitted) = self.take_in(&order.sections)?;
        self.check_lease(&order, &self.contents()?)?;
        let Admitted { contents, new } = admitted;
        let goal = match order.mode {
            ApplyMode::Stage => Goal::Stage,
            ApplyMode::Roll => Goal::Roll,
        };
        self.forget_notes();
        let outcome = self.bring(contents, &new, goal, events).await?;
        // A newer cluster section may carry newer keys of the authority.
        if new.contains(&SectionKind::Cluster) && !matches!(outcome, Outcome::Refused { .. }) {
            let trust = admit::current_trust(&record, &self.contents()?);
            self.publish_claim(&record, trust);
        }
        Ok(outcome)
    }

    async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError> {
        let _work = self.work.lock().await;
        let failed = |error: &dyn std::error::Error| ApplierError::Failed(host_state::chain(error));
        let NewClaim { generation, claim_id, trust, issuer_pem, names } = claim;
        let issuer = issuer_pem.parse();
        let issuer = issuer.map_err(|error: identity::CertificatePemError| ApplierError::InvalidDocument(host_state::chain(&error)))?;
        let record = ClaimRecord { host: names.host.to_string(), generation, claim_id, trust, issuer, names };
        match claim::read(self.state_dir()) {
            Kept::Valid(kept) if kept == record => return Ok(()),
            Kept::Valid(kept) => {
                let text = format!("this host is claimed already by authority `{}`", kept.trust.authority);
                return Err(ApplierError::Conflict(text));
            }
            Kept::Unreadable { reason } => {
                return Err(ApplierError::NotClaimed(format!("the claim of this host cannot be read: {reason}")));
            }
            Kept::Missing => {}
        }
        let seen = claim::read_enrollment(&self.effects, self.state_dir(), now().unix_timestamp());
        check_enrollment(&record, &seen.map_err(|error| failed(&error))?)?;
        let material = claimed_material(&record);
        let invalid = |error: LeafError| ApplierError::InvalidDocument(host_state::chain(&error));
        material.verify().map_err(invalid)?;
        let leaf = material.mint(&self.secret, now()).map_err(invalid)?;
        leaf.write(&self.effects, self.state_dir()).map_err(|error| failed(&error))?;
        claim::write(&self.effects, self.state_dir(), &record).map_err(|error| failed(&error))?;
        // The claim shuts the door already; a token that could not be burnt is burnt by the next start.
        if let Err(error) = claim::burn(&self.effects, self.state_dir(), &record.host, record.generation) {
            tracing::warn!(error = host_state::chain(&error), "the used token is still on disk");
        }
        self.serve_leaf(&leaf);
        let trust = record.trust.clone();
        self.publish_claim(&record, trust);
        Ok(())
    }

    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        let _work = self.work.lock().await;
        if section.header.section != SectionKind::Claims {
            let text = format!("expected a `claims` section, found `{}`", section.header.section);
            return Err(ApplierError::InvalidDocument(text));
        }
        let record = self.claimed()?;
        let contents = self.contents()?;
        let admitted = admit::take_peer_claims(&record, &contents, &section)?;
        let Some(mut contents) = admitted else { return Ok(false) };
        let failed = |error: FileError| ApplierError::Failed(host_state::chain(&error));
        if let Some(entry) = &contents.claims {
            self.ledger.write_section(SectionKind::Claims, entry).map_err(failed)?;
        }
        let marks = [(SectionKind::Claims, section.header.content)];
        self.mark_confirmed(&mut contents, &marks).map_err(failed)?;
        if self.running_server().is_some()
            && let Ok(Some(target)) = Target::of(&contents, Which::Confirmed)
        {
            self.converge_claims(&target, &contents.facts, &Events::default()).await;
        }
        Ok(true)
    }

    async fn preview(&self, sections: &[SignedSection]) -> Result<Plan, ApplierError> {
        let (_, Admitted { contents, .. }) = self.take_in(sections)?;
        let target = Target::of(&contents, Which::Accepted);
        let target = target.map_err(|error| ApplierError::InvalidDocument(host_state::chain(&error)))?;
        match target {
            None => Ok(Plan::empty()),
            Some(target) => Ok(self.plan(&self.look(&target, &contents.facts).await)),
        }
    }
}

fn check_enrollment(record: &ClaimRecord, seen: &EnrollmentFile) -> Result<(), ApplierError> {
    let EnrollmentFile::Open { enrollment, .. } = seen else {
        return Err(ApplierError::NotClaimed("this host has no enrolment that may be used".to_owned()));
    };
    let ClaimRecord { host, generation, claim_id, trust, .. } = record;
    let mut problems = Vec::new();
    if *host != enrollment.host.as_str() {
        problems.push(format!("it is for host `{host}`, the enrolment is for `{}`", enrollment.host));
    }
    if *generation != enrollment.generation {
        problems.push(format!("it is of enrolment generation {generation}, this host has {}", enrollment.generation));
    }
    if trust.authority != enrollment.authority {
        problems.push(format!("it is by authority `{}`, the enrolment is of `{}`", trust.authority, enrollment.authority));
    }
    if trust.fleet_ca != enrollment.fleet_ca {
        problems.push("its fleet CA is not that of the enrolment".to_owned());
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if claim_id.len() != 32 || !claim_id.bytes().all(is_hex) {
        problems.push("its id is not 32 lower-case hex digits".to_owned());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ApplierError::InvalidDocument(format!("the claim cannot be taken: {}", problems.join("; "))))
    }
}

fn claimed_material(record: &ClaimRecord) -> Material {
    Material {
        issuer: record.issuer.clone(),
        host_ca: record.trust.host_ca_bundle(),
        names: record.names.clone(),
    }
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
        Ok(self.host.report().await)
    }

    async fn sections(&self) -> Result<Vec<SignedSection>, ApplierError> {
        let contents = self.host.contents()?;
        let entries = [contents.cluster, contents.gateway, contents.claims];
        Ok(entries.into_iter().flatten().map(|entry| entry.accepted).collect())
    }

    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ApplierError> {
        self.host.preview(&sections).await
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
            let outcome = host.apply(order, &events).await?;
            let report = Box::new(host.report().await);
            events.finish(ApplyEvent::Finished { outcome, report }).await;
            Ok(())
        })
        .await
    }

    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ApplierError> {
        let LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
        let record = self.host.claimed()?;
        let contents = self.host.ledger.read().unwrap_or_default();
        let trust = admit::current_trust(&record, &contents);
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

    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        let host = Arc::clone(&self.host);
        to_the_end(async move { host.take_claims(section).await }).await
    }

    async fn shut_down(&self) {
        self.reconciler.abort();
        let _work = self.host.work.lock().await;
        let target = self.host.ledger.read().ok().and_then(|contents| {
            let confirmed = Target::of(&contents, Which::Confirmed).ok().flatten();
            confirmed.or_else(|| Target::of(&contents, Which::Accepted).ok().flatten())
        });
        if let Err(reason) = self.host.stop_any_server(target.as_ref()).await {
            tracing::error!(reason, "nats-server goes on");
        }
    }
}
