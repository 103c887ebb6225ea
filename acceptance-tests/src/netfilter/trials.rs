//! Trials whose answers are lost, whose steps fail, and whose proof is none.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use host_state::firewall::FirewallRules;
use host_state::observed::FirewallObserved;
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::parts::firewall::{Firewall, FirewallError, Kept};
use nats_agent_api::order::boot_ms;

use super::namespaces::{HOST4, Pair};
use super::{TRIAL, establish, in_runtime, intents, only};
use crate::proof::Row;

/// How long nobody may be woken by what the agent did itself.
const QUIET: Duration = Duration::from_millis(500);
/// How long a trial is that comes to its end.
const SHORT: Duration = Duration::from_secs(1);

/// Fails one effect so many times.
#[derive(Debug)]
struct Failing {
    effect: Effect,
    moment: Moment,
    left: AtomicU32,
}

impl Failing {
    fn new(effect: Effect, moment: Moment) -> Arc<Failing> {
        Arc::new(Failing { effect, moment, left: AtomicU32::new(0) })
    }
}

impl Faults for Failing {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if (effect, moment) != (self.effect, self.moment) {
            return Ok(());
        }
        let left = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if left.is_ok() { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

/// The rules before and those on trial.
struct Case<'a> {
    firewall: &'a Firewall,
    failing: &'a Failing,
    state: &'a Path,
    before: FirewallRules,
    after: FirewallRules,
}

impl Case<'_> {
    /// Whether `rules` hold, and nothing is left to do.
    async fn holds(&self, rules: &FirewallRules) -> Result<()> {
        ensure!(self.firewall.confirmed()?.as_ref() == Some(rules), "other rules are confirmed");
        match self.firewall.observe(rules).await {
            FirewallObserved::Seen(seen) => {
                ensure!(seen.table.is_empty() && seen.trial.is_none(), "{seen:?}");
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    }

    async fn keeps(&self, wanted: impl FnOnce(&Kept) -> bool) -> Result<()> {
        let kept = self.firewall.keep().await?;
        ensure!(wanted(&kept), "it was kept by {kept:?}");
        let kept = self.firewall.keep().await?;
        ensure!(kept == Kept::Intact, "it was kept by {kept:?} once more");
        Ok(())
    }

    async fn a_confirmation_is_repeated(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        self.firewall.confirm(&trial.id, u64::MAX).await?;
        self.firewall.confirm(&trial.id, 0).await?;
        let other = self.firewall.confirm("07", u64::MAX).await;
        ensure!(matches!(other, Err(FirewallError::NoTrial { .. })), "{other:?}");
        self.holds(&self.after).await
    }

    async fn a_connection_from_before_the_table_proves_nothing(&self) -> Result<()> {
        let begun = boot_ms();
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        ensure!(boot_ms() > begun + 1, "loading takes longer than a millisecond");
        let early = self.firewall.confirm(&trial.id, begun + 1).await;
        ensure!(matches!(early, Err(FirewallError::OldConnection { .. })), "{early:?}");
        self.firewall.confirm(&trial.id, boot_ms() + 1).await?;
        self.holds(&self.after).await
    }

    async fn what_is_confirmed_and_not_loaded_is_success_and_loaded_after(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        self.failing.left.store(1, Ordering::Release);
        self.firewall.confirm(&trial.id, u64::MAX).await?;
        ensure!(self.firewall.trial()?.is_none(), "the trial goes on");
        self.keeps(|kept| *kept == Kept::Resumed).await?;
        self.holds(&self.after).await
    }

    async fn a_trial_that_cannot_begin_leaves_nothing(&self) -> Result<()> {
        self.failing.left.store(1, Ordering::Release);
        let begun = self.firewall.begin_trial(&self.after, TRIAL).await;
        ensure!(begun.is_err() && self.firewall.trial()?.is_none(), "{begun:?}");
        self.keeps(|kept| matches!(kept, Kept::Intact | Kept::Resumed)).await?;
        self.holds(&self.before).await
    }

    async fn a_trial_that_cannot_be_taken_back_is_by_the_next_look(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        self.failing.left.store(1, Ordering::Release);
        ensure!(self.firewall.cancel(&trial.id).await.is_err(), "nothing failed");
        self.keeps(|kept| *kept == Kept::Resumed).await?;
        self.holds(&self.before).await
    }

    async fn who_flushes_after_a_trial_that_is_not_taken_back_is_named(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        self.failing.left.store(1, Ordering::Release);
        ensure!(self.firewall.cancel(&trial.id).await.is_err(), "nothing failed");
        take_away().await?;
        let kept = self.firewall.keep().await?;
        ensure!(matches!(&kept, Kept::Reloaded { by: Some(_), .. }), "it was kept by {kept:?}");
        self.keeps(|kept| *kept == Kept::Resumed).await?;
        self.holds(&self.before).await?;
        // And once nothing is left to do, the next one is as well.
        take_away().await?;
        self.keeps(|kept| matches!(kept, Kept::Reloaded { by: Some(_), .. })).await
    }

    async fn rules_that_others_took_away_are_not_confirmed(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        take_away().await?;
        let early = self.firewall.confirm(&trial.id, u64::MAX).await;
        ensure!(matches!(early, Err(FirewallError::NotLoaded { .. })), "{early:?}");
        let opened_ms = boot_ms();
        self.keeps(|kept| matches!(kept, Kept::Reloaded { .. })).await?;
        let early = self.firewall.confirm(&trial.id, opened_ms).await;
        ensure!(matches!(early, Err(FirewallError::OldConnection { .. })), "{early:?}");
        self.firewall.confirm(&trial.id, u64::MAX).await?;
        self.holds(&self.after).await
    }

    async fn a_trial_goes_on_over_a_restart_and_needs_a_connection_from_after_it(&self) -> Result<()> {
        let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
        let opened_ms = boot_ms() + 1;
        let state = self.state;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let next = Firewall::open(Effects::default(), state);
        let early = next.confirm(&trial.id, opened_ms).await;
        ensure!(matches!(early, Err(FirewallError::OldConnection { .. })), "{early:?}");
        next.confirm(&trial.id, boot_ms() + 1).await?;
        self.holds(&self.after).await
    }

    async fn own_changes_wake_nobody_and_a_trial_that_ends_does(&self) -> Result<()> {
        let work = async {
            let trial = self.firewall.begin_trial(&self.after, TRIAL).await?;
            self.firewall.cancel(&trial.id).await?;
            tokio::time::sleep(QUIET).await;
            Ok::<(), FirewallError>(())
        };
        tokio::select! {
            done = work => done?,
            () = self.firewall.until_due() => bail!("it was woken by its own change"),
        }
        let trial = self.firewall.begin_trial(&self.after, SHORT).await?;
        tokio::time::timeout(2 * SHORT, self.firewall.until_due()).await?;
        self.keeps(|kept| *kept == Kept::Expired { id: trial.id.clone() }).await?;
        self.holds(&self.before).await
    }
}

/// Takes our table away, as others do.
async fn take_away() -> Result<()> {
    let flushed = tokio::process::Command::new("/usr/sbin/nft")
        .args(["delete", "table", "inet", "nats_agent"])
        .status()
        .await?;
    ensure!(flushed.success(), "`nft delete table` failed");
    Ok(())
}

type Body = for<'a, 'b> fn(&'a Case<'b>) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

pub(super) fn trials_end(pair: &Pair) -> Result<Vec<Row>> {
    let before = (Effect::ReplaceTable, Moment::Before);
    let after = (Effect::ReplaceTable, Moment::After);
    let cases: &[(&str, (Effect, Moment), Body)] = &[
        ("repeated", before, |case| Box::pin(case.a_confirmation_is_repeated())),
        ("old connection", before, |case| Box::pin(case.a_connection_from_before_the_table_proves_nothing())),
        ("confirmed, not loaded", before, |case| {
            Box::pin(case.what_is_confirmed_and_not_loaded_is_success_and_loaded_after())
        }),
        ("confirmed, answer lost", after, |case| {
            Box::pin(case.what_is_confirmed_and_not_loaded_is_success_and_loaded_after())
        }),
        ("not begun", before, |case| Box::pin(case.a_trial_that_cannot_begin_leaves_nothing())),
        ("begun, answer lost", after, |case| Box::pin(case.a_trial_that_cannot_begin_leaves_nothing())),
        ("not written", (Effect::WriteFirewallTrial, Moment::Before), |case| {
            Box::pin(case.a_trial_that_cannot_begin_leaves_nothing())
        }),
        ("written, answer lost", (Effect::WriteFirewallTrial, Moment::After), |case| {
            Box::pin(case.a_trial_that_cannot_begin_leaves_nothing())
        }),
        ("not cancelled", before, |case| {
            Box::pin(case.a_trial_that_cannot_be_taken_back_is_by_the_next_look())
        }),
        ("not cancelled, answer lost", after, |case| {
            Box::pin(case.a_trial_that_cannot_be_taken_back_is_by_the_next_look())
        }),
        ("not cancelled, flushed", before, |case| {
            Box::pin(case.who_flushes_after_a_trial_that_is_not_taken_back_is_named())
        }),
        ("not cancelled, answer lost, flushed", after, |case| {
            Box::pin(case.who_flushes_after_a_trial_that_is_not_taken_back_is_named())
        }),
        ("not loaded", before, |case| Box::pin(case.rules_that_others_took_away_are_not_confirmed())),
        ("restarted", before, |case| {
            Box::pin(case.a_trial_goes_on_over_a_restart_and_needs_a_connection_from_after_it())
        }),
        ("woken", before, |case| Box::pin(case.own_changes_wake_nobody_and_a_trial_that_ends_does())),
    ];
    let mut failed = Vec::new();
    for (name, (effect, moment), body) in cases {
        let state = tempfile::tempdir()?;
        let done = one(pair, state.path(), &Failing::new(*effect, *moment), *body);
        if let Err(error) = done {
            failed.push(Row::told("a trial that did not end so", format!("{name}: {error:#}")));
        }
    }
    let mut rows = vec![Row::exactly(
        "ways of a trial to fail or to be asked twice that end as they should",
        cases.len() - failed.len(),
        cases.len(),
    )];
    rows.extend(failed);
    Ok(rows)
}

fn one(pair: &Pair, state: &Path, failing: &Arc<Failing>, body: Body) -> Result<()> {
    let plain = intents::plain(HOST4);
    let (before, after) = (only(&plain, &["10.1.0.0/16"])?, only(&plain, &["10.2.0.0/16"])?);
    pair.host.inside(|| {
        in_runtime(async || {
            let effects = Effects::with_faults(Arc::<Failing>::clone(failing));
            let firewall = Firewall::open(effects, state);
            establish(&firewall, &before).await?;
            body(&Case { firewall: &firewall, failing, state, before, after }).await
        })
    })
}
