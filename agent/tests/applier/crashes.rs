//! A crash at any point of a change ends in the old or the new configuration, never between.
//!
//! A crash is played by effects that all fail from one point on, so that nothing more reaches disk or process; then
//! the applier is dropped, which loses its memory, and opened again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_state::report::{Outcome, RunStatus};
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::roles::ApplyMode;
use nats_config::ByteSize;

use crate::rig::{Rig, until};

/// Lets `lives` moments pass; from then on nothing happens any more.
struct Crash {
    lives: usize,
    reached: AtomicUsize,
}

impl Crash {
    fn after(lives: usize) -> Arc<Crash> {
        Arc::new(Crash { lives, reached: AtomicUsize::new(0) })
    }

    fn struck(&self) -> bool {
        self.reached.load(Ordering::SeqCst) > self.lives
    }
}

impl Faults for Crash {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if matches!(effect, Effect::WriteLease) {
            return Ok(());
        }
        if self.reached.fetch_add(1, Ordering::SeqCst) < self.lives {
            return Ok(());
        }
        Err(io::Error::other(format!("crash at {effect} {moment:?}")))
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
