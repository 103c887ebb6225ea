//! A crash at any point of a change ends in the old or the new configuration, never between.
//!
//! A crash is played by effects that all fail from one point on, so that nothing more reaches disk or process; then
//! the applier is dropped, which loses its memory, and opened again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use host_state::document::OnDrift;
use host_state::report::{Outcome, RunStatus};
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::roles::{Applier, ApplyMode};
use nats_config::ByteSize;

use crate::rig::{Rig, until};

/// Lets `lives` moments pass once it is armed; from then on nothing happens any more.
struct Crash {
    is_armed: AtomicBool,
    lives: usize,
    reached: AtomicUsize,
}

impl Crash {
    fn after(lives: usize) -> Arc<Crash> {
        Arc::new(Crash { is_armed: AtomicBool::new(false), lives, reached: AtomicUsize::new(0) })
    }

    fn struck(&self) -> bool {
        self.reached.load(Ordering::SeqCst) > self.lives
    }
}

impl Faults for Crash {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        // Of a record of the audit log one moment counts: it comes before every other effect.
        let is_passed_by = effect == Effect::WriteLease
            || (effect == Effect::AppendAudit && moment != Moment::Written && !self.struck());
        if is_passed_by || !self.is_armed.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.reached.fetch_add(1, Ordering::SeqCst) < self.lives {
            return Ok(());
        }
        Err(io::Error::other(format!("crash at {effect} {moment}")))
    }
}

/// Crashes one change at every moment of every effect in turn, and looks at what a restarted agent makes of it.
///
/// `stride` leaves moments out where each round costs a restart.
async fn crash_everywhere(restart: bool, stride: usize) {
    let mut rig = Rig::running(|_| {}).await;
    let size = |round: usize| Some(ByteSize::from_bytes((2 << 20) + (round as u64) * 1024).unwrap());
    let mut round = 0;
    loop {
        let old = rig.digest().await.unwrap();
        let crash = Crash::after(round * stride);
        rig.reopen(Effects::with_faults(Arc::<Crash>::clone(&crash))).await;
        until("the server is found again", async || rig.report().await.run == RunStatus::Running).await;
        crash.is_armed.store(true, Ordering::SeqCst);
        let section = rig.cluster(|section| {
            section.config.limits.max_payload = size(round + 1);
            section.config.limits.max_subscriptions = restart.then_some(1000 + round as u64);
        });
        let wanted: host_state::document::ClusterSection = section.body().unwrap();
        let new = nats_config::render(&wanted.config).digest.to_string();
        let outcome = rig.apply(vec![section.clone()], ApplyMode::Roll).await;
        let is_through = !crash.struck();
        rig.reopen(Effects::default()).await;
        let what = format!("round {round}, which ended with {outcome:?}");
        let intent = rig.state().join("intent.json");
        until(&what, async || {
            let report = rig.report().await;
            let digest = rig.digest().await;
            // Observing does not wait for a restarted agent to take back what was interrupted.
            !intent.exists()
                && report.run == RunStatus::Running
                && report.drift.is_empty()
                && digest.is_some_and(|digest| digest == old || digest == new)
        })
        .await;
        let (outcome, report) = rig.roll(vec![section]).await;
        assert_eq!((outcome, report.drift.as_slice()), (Outcome::Confirmed, [].as_slice()), "{what}");
        assert_eq!(rig.digest().await, Some(new), "{what}");
        if is_through {
            break;
        }
        round += 1;
    }
    assert!(round > 10, "a change has more moments than {round}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_may_crash_anywhere() {
    crash_everywhere(false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_may_crash_anywhere() {
    crash_everywhere(true, 4).await;
}

/// Fails one effect once and for all, without a crash: the change is taken back by the running agent itself.
struct Broken(Effect);

impl Faults for Broken {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if effect == self.0 && moment == Moment::Before { Err(io::Error::other("broken")) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_cannot_be_sent_is_taken_back_byte_for_byte() {
    let mut rig = Rig::running(|_| {}).await;
    let (files, server) = (rig.current_files(), rig.report().await.server.unwrap());
    rig.reopen(Effects::with_faults(Arc::new(Broken(Effect::ReloadServer)))).await;
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap()));
    let (outcome, report) = rig.roll(vec![section]).await;
    let Outcome::RolledBack { step, reason } = outcome else { panic!("{outcome:?}") };
    assert_eq!(step, "reload nats-server");
    assert!(reason.contains("broken"), "{reason}");
    assert_eq!(rig.current_files(), files);
    // The way back could not reload either, so it restarted: what counts is that the old configuration runs.
    assert_eq!(report.server.unwrap().digest, server.digest);
    assert_eq!(report.drift, []);
    assert!(!rig.state().join("intent.json").exists());
}

/// A disk that refuses one effect from its `from`th time on, until it is healed.
struct Disk {
    effect: Effect,
    from: usize,
    met: AtomicUsize,
    is_healed: AtomicBool,
}

impl Disk {
    fn refusing(effect: Effect, from: usize) -> Arc<Disk> {
        Arc::new(Disk { effect, from, met: AtomicUsize::new(0), is_healed: AtomicBool::new(false) })
    }

    fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
    }
}

impl Faults for Disk {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        let is_its = effect == self.effect && moment == Moment::Before;
        if !is_its || self.is_healed.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.met.fetch_add(1, Ordering::SeqCst) < self.from {
            Ok(())
        } else {
            Err(io::Error::other("full"))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_passed_is_never_repaired_away_when_its_marks_could_not_be_written() {
    let mut rig = Rig::running(|section| section.on_drift = OnDrift::Repair).await;
    // The first write takes the section in, the second one marks it.
    let disk = Disk::refusing(Effect::WriteLedger, 1);
    rig.reopen(Effects::with_faults(Arc::<Disk>::clone(&disk))).await;
    rig.applier.settled().await;
    let section = rig.cluster(|section| {
        section.on_drift = OnDrift::Repair;
        section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap());
    });
    let (outcome, _) = rig.roll(vec![section]).await;
    let (digest, intent) = (rig.digest().await, rig.state().join("intent.json"));
    assert_eq!((outcome, intent.exists()), (Outcome::Confirmed, true));
    rig.applier.sweep().await;
    assert_eq!(rig.digest().await, digest, "the sweep waits for the marks");
    disk.heal();
    rig.applier.sweep().await;
    let report = rig.report().await;
    assert_eq!((rig.digest().await, intent.exists(), report.drift), (digest, false, Vec::new()));
    assert_eq!(report.sections[&host_state::SectionKind::Cluster].confirmed, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_end_could_not_be_marked_is_ended_by_the_next_apply() {
    let mut rig = Rig::running(|_| {}).await;
    let disk = Disk::refusing(Effect::RemoveIntent, 0);
    rig.reopen(Effects::with_faults(Arc::<Disk>::clone(&disk))).await;
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap()));
    assert_eq!(rig.roll(vec![section]).await.0, Outcome::Confirmed);
    assert!(rig.state().join("intent.json").exists());
    disk.heal();
    assert_eq!(rig.roll(Vec::new()).await.0, Outcome::Confirmed);
    assert!(!rig.state().join("intent.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_whose_store_could_not_be_marked_is_done_by_the_next_apply() {
    let mut rig = Rig::claimed().await;
    let disk = Disk::refusing(Effect::WriteStoreMark, 0);
    rig.reopen(Effects::with_faults(Arc::<Disk>::clone(&disk))).await;
    let section = rig.cluster(|_| {});
    let (outcome, _) = rig.roll(vec![section]).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    disk.heal();
    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Running), "{:#?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_record_is_the_only_one_and_found_again() {
    let mut rig = Rig::claimed().await;
    rig.reopen(Effects::with_faults(Disk::refusing(Effect::WriteProcessRecord, 0))).await;
    let section = rig.cluster(|_| {});
    assert_eq!(rig.roll(vec![section]).await.0, Outcome::Confirmed);
    let pid = rig.report().await.server.unwrap().pid;
    rig.reopen(Effects::default()).await;
    rig.applier.settled().await;
    assert_eq!(rig.report().await.server.unwrap().pid, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_is_tried_again_by_the_sweep_also_under_report() {
    let mut rig = Rig::running(|_| {}).await;
    rig.applier.shut_down().await;
    let disk = Disk::refusing(Effect::StartServer, 0);
    rig.reopen(Effects::with_faults(Arc::<Disk>::clone(&disk))).await;
    rig.applier.settled().await;
    assert_eq!(rig.report().await.run, RunStatus::Stopped);
    disk.heal();
    rig.applier.sweep().await;
    let report = rig.report().await;
    assert_eq!((report.run, report.drift), (RunStatus::Running, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_a_crash_left_is_ended_by_the_next_start() {
    let mut rig = Rig::claimed().await;
    let scratch = rig.state().join("shadow");
    std::fs::create_dir(&scratch).unwrap();
    let mut trial = std::process::Command::new("sh")
        .args(["-c", "read -r never", "shadow.json"])
        .stdin(std::process::Stdio::piped())
        .current_dir(&scratch)
        .spawn()
        .unwrap();
    until("it works there", async || crate::rig::server_in(&scratch).is_some()).await;
    rig.reopen(Effects::default()).await;
    let _input = trial.stdin.take();
    let waiting = std::thread::spawn(move || trial.wait());
    until("it has ended", async || waiting.is_finished()).await;
}
