//! The loop that keeps a host as it was confirmed: at start, when the server ends, and in a sweep every minute.
//!
//! The loop cannot fail; what a round could not do is in the log and in the report. Under `on_drift = "report"` it
//! repairs nothing but what would end by itself: certificates are renewed and accounts brought up to date always.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use host_state::audit::{Occasion, What};
use host_state::desired::Run;
use host_state::document::OnDrift;
use host_state::report::Outcome;
use host_state::{Finding, layout};

use super::candidate::Goal;
use super::claim::{self, EnrollmentFile};
use super::events::Events;
use super::files::FileError;
use super::gate;
use super::host::{Host, now};
use super::ledger::{Contents, HostFacts, Kept};
use super::pulse::Work;
use super::target::{Target, Which};
use crate::parts::nats::process::ServerProcess;
use crate::parts::nats::unit::Found;
use crate::parts::store::{self, Mark};
use crate::parts::tls::{Leaf, LeafError};
use crate::roles::{ClaimState, OpenDoor};
use crate::shadow;

/// How often the host is looked at whole.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the loop looks at what is cheap: the enrolment file, whether the server lives.
const TICK: Duration = Duration::from_millis(500);
/// Pause before a server that ended is started again; doubles each time, up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// A server that lived so long starts again without a longer pause.
const STABLE: Duration = Duration::from_secs(60);

/// When things are due.
struct Clock {
    sweep: Instant,
    start: Instant,
    pause: Duration,
    /// The server whose post in the mesh the front holds; absent when none ran.
    in_mesh: Option<u32>,
}

/// What a look at the unit of nats-server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// What runs is known.
    Settled,
    /// systemd is about to start it, or cannot be asked.
    Coming,
}

/// Runs until it is dropped. `started` is the work lock, held since before anybody could ask for a change.
pub(super) async fn run(host: Arc<Host>, started: Work) {
    host.follow_unit().await;
    let acting = host.audit.acting_by_itself(Occasion::Start);
    host.end_left_trial().await;
    if host.recover().await {
        host.come_up().await;
    }
    // Also under an unreadable ledger, which nothing else is done with.
    host.renew_certificate().await;
    drop(acting);
    drop(started);
    let (sweep, start) = (Instant::now() + SWEEP_INTERVAL, Instant::now());
    let mut clock = Clock { sweep, start, pause: BACK_OFF, in_mesh: None };
    loop {
        tokio::time::sleep(TICK).await;
        host.pulse.beat();
        host.refresh_claim();
        host.tick(&mut clock).await;
    }
}

impl Host {
    /// Brings the host to what was confirmed, whatever `on_drift` says: this is the start. One that fails is tried again
    /// by every sweep until something ran; a server that ran and ended is not its matter.
    async fn come_up(&self) {
        let Ok(contents) = self.ledger.read() else { return };
        let is_up = if let Ok(Some(target)) = Target::of(&contents, Which::Confirmed) {
            self.hold_ports(&target).await;
            self.repair(contents).await
        } else {
            if let Ok(Some(target)) = Target::of(&contents, Which::Accepted) {
                self.hold_ports(&target).await;
            }
            true
        };
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    async fn tick(&self, clock: &mut Clock) {
        if !matches!(*self.claim.borrow(), ClaimState::Claimed(_)) {
            return;
        }
        // What systemd starts again by itself is left to it, and what a change that is under way starts and stops is that
        // change's to tell.
        let is_left = self.service.is_some()
            && match self.try_look() {
                Some(_alone) => self.follow_unit().await == Followed::Coming,
                None => true,
            };
        let has_ended = !is_left && self.server().is_some_and(|server| !server.is_running());
        if has_ended && Instant::now() >= clock.start {
            self.server_ended(clock).await;
        }
        let runs = self.running_server().map(|server| server.run().pid);
        if clock.in_mesh != runs {
            clock.in_mesh = runs;
            self.stand_in_mesh().await;
        }
        let is_wanted = self.sweep_wanted.load(Ordering::Acquire);
        if is_wanted || Instant::now() >= clock.sweep {
            clock.sweep = Instant::now() + SWEEP_INTERVAL;
            self.sweep().await;
        } else {
            self.note_formed(&mut clock.sweep).await;
        }
    }

    /// Finds the run of the unit that this applier does not know: one that an earlier applier started, or that systemd
    /// started again after the server ended by itself. It is taken as it is, never restarted for being another.
    pub(super) async fn follow_unit(&self) -> Followed {
        let Some(service) = &self.service else { return Followed::Settled };
        if self.running_server().is_some() {
            return Followed::Settled;
        }
        // A host without a server asks for no more than that.
        let found = match service.main_pid().await {
            Ok(None) if self.server().is_none() => Ok(Found::Stopped { last_exit: None }),
            Ok(_) => service.find().await,
            Err(error) => Err(error),
        };
        self.adopted.send_replace(true);
        match found {
            Ok(Found::Running(run)) => {
                tracing::info!(pid = run.pid, "nats-server runs");
                self.set_server(Some(ServerProcess::of_unit(service.clone(), run)));
                self.set_running_config(None);
                Followed::Settled
            }
            Ok(Found::Coming) => Followed::Coming,
            Ok(Found::Stopped { .. }) => Followed::Settled,
            Err(error) => {
                tracing::warn!(error = host_state::chain(&error), "whether nats-server runs is not known");
                Followed::Coming
            }
        }
    }

    /// Ends a trial that a crash left behind; one that stays is tried again by the next sweep or apply.
    pub(super) async fn end_left_trial(&self) {
        if self.trial.is_some() {
            // The unit ends with everything in it.
            return;
        }
        let scratch = self.state_dir().join(layout::SHADOW);
        if let Err(error) = shadow::end_left_over(&self.effects, &scratch).await {
            tracing::warn!(%error, "a trial that a crash left behind goes on");
        }
    }

    /// A server that ended although it should run starts again, after a pause that grows.
    async fn server_ended(&self, clock: &mut Clock) {
        let Some(_work) = self.try_work() else { return };
        let _acting = self.audit.acting_by_itself(Occasion::Sweep);
        if !self.recover().await {
            return;
        }
        let Ok(contents) = self.ledger.read() else { return };
        let Ok(Some(target)) = Target::of(&contents, Which::Confirmed) else { return };
        let is_wanted =
            matches!(target.run(), Run::Released(_)) && target.cluster.on_drift == OnDrift::Repair;
        if !is_wanted || self.running_server().is_some() {
            return;
        }
        let exit = self.server().and_then(|server| server.last_exit()).unwrap_or_default();
        tracing::warn!(exit, "nats-server ended and starts again");
        let begin = Instant::now();
        self.repair(contents).await;
        let is_up = self.running_server().is_some();
        clock.pause =
            if is_up && begin.elapsed() < STABLE { BACK_OFF } else { (clock.pause * 2).min(BACK_OFF_MAX) };
        clock.start = Instant::now() + clock.pause;
    }

    /// Looks at everything, renews what is due, and repairs where that was asked for.
    pub(super) async fn sweep(&self) {
        // While a change is under way a wish stays.
        let Some(_work) = self.try_work() else { return };
        self.sweep_wanted.store(false, Ordering::Release);
        let _acting = self.audit.acting_by_itself(Occasion::Sweep);
        self.audit.settle();
        self.end_left_trial().await;
        let is_ended = self.recover().await;
        self.renew_certificate().await;
        if !is_ended {
            return;
        }
        if self.follow_unit().await == Followed::Coming {
            return;
        }
        if !self.is_up.load(Ordering::Relaxed) && self.server().is_none() {
            self.come_up().await;
        }
        let Ok(contents) = self.ledger.read() else { return };
        let Ok(Some(target)) = Target::of(&contents, Which::Confirmed) else { return };
        match target.cluster.on_drift {
            OnDrift::Repair => {
                self.repair(contents).await;
            }
            OnDrift::Report if self.running_server().is_some() => {
                let (facts, written) = (&contents.facts, BTreeSet::new());
                self.converge_claims(&target, facts, &written, &Events::default()).await;
            }
            OnDrift::Report => {}
        }
    }

    async fn repair(&self, contents: Contents) -> bool {
        match self.bring(contents, &[], Goal::Repair, &Events::default()).await {
            Ok(Outcome::Confirmed | Outcome::Staged) => return true,
            Ok(Outcome::Refused { reason }) => tracing::warn!(reason, "the host cannot be repaired"),
            Ok(Outcome::RolledBack { step, reason }) => tracing::warn!(step, reason, "a repair failed"),
            Err(error) => tracing::warn!(error = host_state::chain(&error), "a repair failed"),
        }
        false
    }

    /// Mints and brings in a new leaf when one third of its life is over. Needs no readable ledger, so that
    /// certificates stay valid while changes are frozen; and no audit log that can be written, for the same reason.
    pub(super) async fn renew_certificate(&self) {
        let renewed = match self.due_leaf() {
            Ok(None) => return,
            Ok(Some(leaf)) => {
                let _acting = self.audit.acting_by_itself(Occasion::Renewal);
                let announced = self.audit.announce_anyway(What::Certificate { leaf: leaf.fingerprint() });
                announced.told(self.bring_leaf(&leaf).await)
            }
            Err(error) => Err(host_state::chain(&error)),
        };
        if let Err(reason) = renewed {
            self.note(Finding {
                item: "certificate".to_owned(),
                problem: format!("the certificate is due and was not renewed: {reason}"),
                remedy: "look at the cause; the agent tries again every minute".to_owned(),
            });
        }
    }

    fn due_leaf(&self) -> Result<Option<Leaf>, LeafError> {
        match Leaf::read(self.state_dir())? {
            Some(leaf) if leaf.is_due(now())? => Ok(Some(leaf.material.mint(&self.secret, now())?)),
            Some(_) | None => Ok(None),
        }
    }

    /// Keeps the leaf, then switches to the current configuration with it. No intent: both ways of a crash run the
    /// same configuration.
    async fn bring_leaf(&self, leaf: &Leaf) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| host_state::chain(error);
        let current = self.renditions.current().map_err(|error| text(&error))?;
        if let Some(number) = current {
            let before = Leaf::read(self.state_dir()).map_err(|error| text(&error))?;
            self.undo_edits(before.as_ref().unwrap_or(leaf))?;
            let config = self.renditions.model(number).map_err(|error| text(&error))?;
            let manifest = self.renditions.manifest(number).map_err(|error| text(&error))?;
            let files = self.files(&config, leaf);
            let candidate = self.renditions.write_candidate(&files, manifest.sections, manifest.whole);
            let candidate = candidate.map_err(|error| text(&error))?;
            self.renditions.keep(&candidate).map_err(|error| text(&error))?;
            leaf.write(&self.effects, self.state_dir()).map_err(|error| text(&error))?;
            self.renditions.switch(Some(candidate.number)).map_err(|error| text(&error))?;
            if let Kept::Valid(facts) = self.ledger.facts()
                && facts.confirmed_rendition == Some(number)
            {
                let facts = HostFacts { confirmed_rendition: Some(candidate.number), ..facts };
                self.ledger.write_facts(&facts).map_err(|error| text(&error))?;
            }
            self.prune_renditions();
        } else {
            leaf.write(&self.effects, self.state_dir()).map_err(|error| text(&error))?;
        }
        self.serve_leaf(leaf);
        tracing::info!("the certificate is renewed");
        if self.running_server().is_some() { self.reload_server(leaf).await } else { Ok(()) }
    }

    /// Removes what a row of renewals left behind. What is gone back to stays, whatever its age; that something could not
    /// be removed keeps no certificate from being renewed.
    fn prune_renditions(&self) {
        let Kept::Valid(facts) = self.ledger.facts() else { return };
        let needed: Vec<u64> = facts.confirmed_rendition.into_iter().collect();
        if let Err(error) = self.renditions.prune(&needed) {
            tracing::warn!(error = host_state::chain(&error), "older renditions are still on disk");
        }
    }

    /// Marks the meta group as formed once a leader was seen: from then on this host is released into no other.
    async fn note_formed(&self, sweep: &mut Instant) {
        let Kept::Valid(facts) = self.ledger.facts() else { return };
        if facts.formed || facts.meta_lineage.is_none() || self.running_server().is_none() {
            return;
        }
        // A server that was found running tells of no configuration; its monitoring port is that of the rendition.
        let rendered = || self.renditions.model(self.renditions.current().ok().flatten()?).ok();
        let config = self.running_config().or_else(rendered);
        let Some(monitor) = config.as_ref().and_then(gate::monitor_address) else { return };
        if self.view.healthz(monitor, "js-meta-only=true").await.is_err() {
            return;
        }
        let Some(_work) = self.try_work() else { return };
        let Ok(contents) = self.ledger.read() else { return };
        let facts = HostFacts { formed: true, ..contents.facts.clone() };
        let _acting = self.audit.acting_by_itself(Occasion::Sweep);
        let what = What::Formed { lineage: facts.meta_lineage.clone().unwrap_or_default() };
        let told = |error: &dyn std::error::Error| {
            let error = host_state::chain(error);
            tracing::warn!(error, "that the meta group has formed is not kept yet");
        };
        match self.audit.announce(what) {
            Err(error) => told(&error),
            Ok(announced) => {
                if let Err(error) = announced.ended(self.mark_formed(&contents, facts, sweep)) {
                    told(&error);
                }
            }
        }
    }

    /// See [`Host::note_formed`].
    fn mark_formed(
        &self,
        contents: &Contents,
        facts: HostFacts,
        sweep: &mut Instant,
    ) -> Result<(), FileError> {
        self.ledger.write_facts(&facts)?;
        tracing::info!(lineage = facts.meta_lineage, "the meta group has a leader");
        if let (Ok(Some(target)), Some(store_id)) =
            (Target::of(contents, Which::Accepted), facts.store_id.clone())
        {
            let mark = Mark { store_id, meta_lineage: facts.meta_lineage, formed: true };
            if let Err(error) = store::prepare(
                &self.effects,
                &target.cluster.store,
                &mark,
                self.settings.place.service_user(),
            ) {
                // The next sweep finds the mark missing and writes it.
                tracing::warn!(error = host_state::chain(&error), "the store is not marked as formed yet");
                *sweep = Instant::now();
            }
        }
        Ok(())
    }

    /// Reads whose host this is and what it may be claimed with, and tells the front when that changed.
    pub(super) fn refresh_claim(&self) {
        if matches!(*self.claim.borrow(), ClaimState::Claimed(_)) {
            return;
        }
        let next = match claim::read(self.state_dir()) {
            Kept::Valid(record) => {
                // Where the cluster section itself cannot be read the claim says whom to answer; nothing is changed then.
                let contents = self.ledger.read().unwrap_or_else(|unreadable| {
                    tracing::error!(%unreadable, "changes are frozen");
                    self.readable_contents()
                });
                let trust = super::admit::current_trust(&record, &contents);
                self.publish_claim(&record, trust);
                return;
            }
            Kept::Unreadable { reason } => {
                ClaimState::Unreadable { reason: format!("`{}`: {reason}", layout::CLAIM_FILE) }
            }
            Kept::Missing => self.door(),
        };
        let is_same = match (&*self.claim.borrow(), &next) {
            (ClaimState::Closed, ClaimState::Closed) => true,
            (ClaimState::Open(one), ClaimState::Open(other)) => {
                one.expires_at == other.expires_at && one.enrollment.to_text() == other.enrollment.to_text()
            }
            (ClaimState::Unreadable { reason: one }, ClaimState::Unreadable { reason: other }) => {
                one == other
            }
            _ => false,
        };
        if !is_same {
            tracing::info!(open = matches!(next, ClaimState::Open(_)), "the door changed");
            self.claim.send_replace(next);
        }
    }

    fn door(&self) -> ClaimState {
        match claim::read_enrollment(&self.effects, self.state_dir(), now().unix_timestamp()) {
            Ok(EnrollmentFile::Open { enrollment, expires_at }) => {
                ClaimState::Open(OpenDoor { enrollment: Arc::from(*enrollment), expires_at })
            }
            Ok(EnrollmentFile::Missing | EnrollmentFile::Expired { .. } | EnrollmentFile::Burnt { .. }) => {
                ClaimState::Closed
            }
            Ok(EnrollmentFile::Unreadable { reason }) => {
                tracing::debug!(reason, "the enrolment cannot be used");
                ClaimState::Closed
            }
            Err(error) => {
                tracing::warn!(error = host_state::chain(&error), "the enrolment cannot be used");
                ClaimState::Closed
            }
        }
    }
}
