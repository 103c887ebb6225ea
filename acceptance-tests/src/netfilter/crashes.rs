//! An agent that dies at any moment of a change of rules: the next one goes on, and blames nobody.
//!
//! A crash is an effect that fails with every one after it; then the firewall is dropped and another one opened on the same
//! files and the same kernel.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use host_state::firewall::FirewallRules;
use host_state::observed::FirewallObserved;
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::parts::firewall::{Firewall, FirewallError, Kept};

use super::namespaces::{HOST4, Pair};
use super::{TRIAL, establish, in_runtime, intents, only};
use crate::proof::Row;

/// Where it dies.
const EFFECTS: &[Effect] =
    &[Effect::WriteFirewall, Effect::WriteFirewallTrial, Effect::EndFirewallTrial, Effect::ReplaceTable];
/// How long a trial is that comes to its end.
const SHORT: Duration = Duration::from_secs(1);

/// Lets an effect be reached so many times, and then nothing more.
#[derive(Debug)]
struct Dying {
    effect: Effect,
    moment: Moment,
    left: AtomicU32,
    is_armed: AtomicBool,
    is_dead: AtomicBool,
}

impl Faults for Dying {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if !self.is_armed.load(Ordering::Acquire) {
            return Ok(());
        }
        if (effect, moment) == (self.effect, self.moment) {
            let left =
                self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
            self.is_dead.fetch_or(left.is_err(), Ordering::AcqRel);
        }
        if self.is_dead.load(Ordering::Acquire) { Err(io::Error::other("killed")) } else { Ok(()) }
    }
}

/// What is under way when it dies.
#[derive(Debug, Clone, Copy)]
enum Change {
    Begin,
    Cancel,
    Confirm,
    Expire,
}

impl Change {
    /// Brings the host to where it begins: `rules` are on trial, but for one that begins.
    async fn prepare(self, firewall: &Firewall, rules: &FirewallRules) -> Result<Option<String>> {
        let ttl = match self {
            Change::Begin => return Ok(None),
            Change::Cancel | Change::Confirm => TRIAL,
            Change::Expire => SHORT,
        };
        let trial = firewall.begin_trial(rules, ttl).await?;
        if let Change::Expire = self {
            tokio::time::sleep(ttl).await;
        }
        Ok(Some(trial.id))
    }

    async fn run(self, firewall: &Firewall, rules: &FirewallRules, id: &str) -> Result<(), FirewallError> {
        match self {
            Change::Begin => firewall.begin_trial(rules, TRIAL).await.map(|_| ()),
            Change::Cancel => firewall.cancel(id).await,
            Change::Confirm => firewall.confirm(id, u64::MAX).await,
            Change::Expire => firewall.keep().await.map(|_| ()),
        }
    }
}

/// One crash; `before` are the rules that were confirmed.
struct Crash<'a> {
    change: Change,
    dying: &'a Arc<Dying>,
    before: Option<&'a FirewallRules>,
    after: &'a FirewallRules,
}

impl Crash<'_> {
    /// Whether it died: it does not where the change reaches the effect less often.
    async fn happens(&self, state: &Path) -> Result<bool> {
        let Crash { change, dying, before, after } = self;
        let first = Firewall::open(Effects::with_faults(Arc::<Dying>::clone(dying)), state);
        first.load_confirmed().await?;
        if let Some(before) = before {
            establish(&first, before).await?;
        }
        let id = change.prepare(&first, after).await?.unwrap_or_default();
        dying.is_armed.store(true, Ordering::Release);
        // That it failed says less than what the next one finds.
        let _ = change.run(&first, after, &id).await;
        drop(first);
        let next = Firewall::open(Effects::default(), state);
        let kept = next.keep().await?;
        let is_blameless = matches!(kept, Kept::Resumed | Kept::Expired { .. } | Kept::Intact);
        ensure!(is_blameless, "it was kept by {kept:?}");
        let kept = next.keep().await?;
        ensure!(kept == Kept::Intact, "it was kept by {kept:?} once more");
        self.is_right(&next).await?;
        Ok(dying.is_dead.load(Ordering::Acquire))
    }

    /// Whether the rules before or after the change hold, or are on trial, in the kernel as on disk.
    async fn is_right(&self, firewall: &Firewall) -> Result<()> {
        let Crash { change, dying: _, before, after } = self;
        let seen = match firewall.observe(after).await {
            FirewallObserved::Seen(seen) => seen,
            other => bail!("{other:?}"),
        };
        ensure!(seen.table.is_empty(), "{:?}", seen.table);
        let (confirmed, trial) = (seen.confirmed.as_ref(), seen.trial.map(|trial| trial.rules));
        let is_before = confirmed == *before;
        let is_right = match change {
            Change::Begin | Change::Cancel => is_before && trial.as_ref().is_none_or(|trial| trial == *after),
            Change::Expire => is_before && trial.is_none(),
            Change::Confirm if is_before => trial.as_ref() == Some(*after),
            Change::Confirm => confirmed == Some(*after) && trial.is_none(),
        };
        ensure!(is_right, "confirmed: {confirmed:?}, on trial: {trial:?}");
        Ok(())
    }
}

/// Each change with rules before and without, dead at each moment that it comes to.
pub(super) fn crashes_blame_nobody(pair: &Pair) -> Result<Vec<Row>> {
    let plain = intents::plain(HOST4);
    let (before, after) = (only(&plain, &["10.1.0.0/16"])?, only(&plain, &["10.2.0.0/16"])?);
    let (mut crashes, mut failed) = (0_u64, Vec::new());
    for change in [Change::Begin, Change::Cancel, Change::Confirm, Change::Expire] {
        for before in [None, Some(&before)] {
            for effect in EFFECTS {
                for moment in [Moment::Before, Moment::After] {
                    let mut times = 0;
                    while one(pair, (change, before, &after), (*effect, moment, times)).unwrap_or_else(
                        |error| {
                            let at = format!("{change:?}, {effect:?} {moment:?}, {times} passed");
                            failed.push(format!("{at}, rules before: {}: {error:#}", before.is_some()));
                            true
                        },
                    ) {
                        (crashes, times) = (crashes + 1, times + 1);
                    }
                }
            }
        }
    }
    let ended = crashes - u64::try_from(failed.len()).context("a count")?;
    let mut rows = vec![
        Row::at_least("moments of a change of rules at which the agent died", crashes, 40),
        Row::exactly("of them after which the next one went on, and blamed nobody", ended, crashes),
    ];
    rows.extend(failed.into_iter().map(|one| Row::told("a crash that ended otherwise", one)));
    Ok(rows)
}

fn one(
    pair: &Pair,
    (change, before, after): (Change, Option<&FirewallRules>, &FirewallRules),
    (effect, moment, times): (Effect, Moment, u32),
) -> Result<bool> {
    // More are reached by no change.
    if times > 9 {
        return Ok(false);
    }
    let state = tempfile::tempdir()?;
    let dying = Arc::new(Dying {
        effect,
        moment,
        left: AtomicU32::new(times),
        is_armed: AtomicBool::new(false),
        is_dead: AtomicBool::new(false),
    });
    let crash = Crash { change, dying: &dying, before, after };
    pair.host.inside(|| in_runtime(async || crash.happens(state.path()).await))
}
