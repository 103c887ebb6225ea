//! What the firewall needs without anybody asking: a trial's end, a table that was taken away, a change that stopped
//! half-way.

use std::time::Duration;

use host_state::firewall::{
    FirewallRules, TABLE, TABLE_FAMILY, Table, TableDifference, compare, is_left_behind, opens,
};
use nats_agent_api::order::boot_ms;
use tokio::sync::MutexGuard;

use super::generations::Author;
use super::load::{found, table};
use super::{Firewall, FirewallError, Load, Memory, Now, TrialRecord};

/// How often the table is looked at although nothing was told.
const SWEEP: Duration = Duration::from_secs(60);
/// Least pause between two looks: others may change their tables all the time.
const PAUSE: Duration = Duration::from_millis(100);

/// What was found when the table was looked at, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// As it should be.
    Intact,
    /// A change of ours had stopped half-way, and is brought to its end.
    Resumed,
    /// It was gone, or let everybody in, and is loaded again.
    Reloaded {
        /// Who took it away; absent where nobody saw.
        by: Option<Author>,
        /// The first difference.
        first: TableDifference,
    },
    /// It was changed, and stays so until somebody asks for a repair.
    Changed {
        /// Who did it; absent where nobody saw.
        by: Option<Author>,
        /// The first difference.
        first: TableDifference,
    },
    /// A trial was over: the kernel has gone back to the confirmed rules.
    Expired {
        /// The trial's id.
        id: String,
    },
}

impl Kept {
    /// Whether the host is changed for it.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Kept::Intact | Kept::Changed { .. } => false,
            Kept::Resumed | Kept::Reloaded { .. } | Kept::Expired { .. } => true,
        }
    }
}

/// What is due; nobody else looks or changes while it is there.
#[derive(Debug)]
pub struct Due<'a> {
    firewall: &'a Firewall,
    memory: MutexGuard<'a, Memory>,
    confirmed: Option<FirewallRules>,
    /// A trial that goes on.
    trial: Option<TrialRecord>,
    /// Whether there is the record of one that is over.
    is_over: bool,
    kept: Kept,
}

impl Due<'_> {
    /// What it is.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Does it; returns what it was. May be repeated, and a crash half-way leaves the rest to the next.
    ///
    /// # Errors
    /// [`FirewallError`]; then it stays due.
    pub async fn done(self) -> Result<Kept, FirewallError> {
        let Due { firewall, mut memory, confirmed, trial, is_over, kept } = self;
        let done = match (&kept, &trial) {
            (Kept::Intact, _) => {
                if !matches!(memory.load, Load::Holds { .. }) {
                    memory.load = Load::Holds { since_ms: boot_ms() };
                }
                Ok(())
            }
            (Kept::Changed { .. }, _) => Ok(()),
            (Kept::Resumed | Kept::Expired { .. }, None) => {
                firewall.take_back(&mut memory, confirmed.as_ref()).await
            }
            (Kept::Resumed | Kept::Expired { .. } | Kept::Reloaded { .. }, trial) => {
                firewall.commit(&mut memory, confirmed.as_ref(), trial.as_ref()).await
            }
        };
        if let Err(error) = done {
            firewall.touched.notify_one();
            return Err(error);
        }
        if is_over && matches!(kept, Kept::Reloaded { .. }) {
            // How the trial ended is told by itself.
            firewall.touched.notify_one();
        }
        memory.is_touched = false;
        if !matches!(kept, Kept::Changed { .. }) {
            memory.author = None;
        }
        Ok(kept)
    }
}

impl Firewall {
    /// Looks at the table and at the trial, and says what is due: the end of a trial whose time is over, a table that is
    /// gone or lets everybody in. What else others changed stays for whoever decides on repairs. Changes nothing.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn due(&self) -> Result<Due<'_>, FirewallError> {
        let memory = self.alone().await;
        let confirmed = self.kept.confirmed().map_err(FirewallError::Kept)?;
        let record = self.kept.trial().map_err(FirewallError::Kept)?;
        let is_confirmed = |trial: &TrialRecord| confirmed.as_ref().is_some_and(|one| one.trial == trial.id);
        let (over, trial) = match record {
            Some(trial) if trial.is_withdrawn || is_confirmed(&trial) => (Some(Kept::Resumed), None),
            Some(trial) if trial.remaining_ms(&Now::read()).is_none() => {
                (Some(Kept::Expired { id: trial.id }), None)
            }
            trial => (None, trial),
        };
        let confirmed = confirmed.map(|confirmed| confirmed.rules);
        let wanted = Wanted {
            desired: table(confirmed.as_ref(), trial.as_ref()),
            before: trial.is_some().then(|| table(confirmed.as_ref(), None)),
        };
        let is_known =
            matches!(memory.load, Load::Holds { .. }) && !memory.is_touched && memory.author.is_none();
        // Where no rules are wanted and nobody made any, there is nothing to look for.
        let found = if wanted.desired.is_none() && is_known { None } else { found().await? };
        let is_over = over.is_some();
        let kept = match (over, judged(&wanted, found.as_ref(), &memory)) {
            (Some(_), kept @ Kept::Reloaded { .. }) if memory.is_touched => kept,
            (Some(over), _) => over,
            (None, kept) => kept,
        };
        Ok(Due { firewall: self, memory, confirmed, trial, is_over, kept })
    }

    /// Looks, and does what is due.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn keep(&self) -> Result<Kept, FirewallError> {
        self.due().await?.done().await
    }

    /// Waits until somebody changed our table, a trial ends, or a minute is over.
    pub async fn until_due(&self) {
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = self.told() => {}
            () = self.touched.notified() => {}
            () = tokio::time::sleep(self.pause()) => {}
        }
    }

    /// How long nothing is due by time. Also a trial that is over and not ended yet counts; one that is withdrawn does not:
    /// who withdraws it takes it back at once, and says so where that fails.
    fn pause(&self) -> Duration {
        let trial = self.kept.trial().ok().flatten().filter(|trial| !trial.is_withdrawn);
        let left = trial.map(|trial| trial.remaining_ms(&Now::read()).map_or(0, |left| left + 1));
        left.map_or(SWEEP, |left| Duration::from_millis(left).min(SWEEP))
    }

    /// Waits until the kernel tells of a change of our table that is none of ours.
    async fn told(&self) {
        let Some(generations) = &self.generations else { return std::future::pending().await };
        loop {
            let ready = generations.readable().await;
            // Whoever changes the table himself takes what is told of that before he gives this up.
            let mut memory = self.memory.lock().await;
            match ready {
                Ok(mut ready) => {
                    let is_touched = self.hear(&mut memory, &[]);
                    ready.clear_ready();
                    if is_touched {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "changes of the firewall by others are not told");
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// What a look is for.
#[derive(Debug)]
struct Wanted {
    /// The table as it should be; `None`: no table.
    desired: Option<Table>,
    /// While a trial goes on, the table as it was before that.
    before: Option<Option<Table>>,
}

/// What a table that was found comes to. Others are to blame only where nothing that this agent left half-way explains
/// it, or where the kernel told of them.
fn judged(wanted: &Wanted, found: Option<&Table>, memory: &Memory) -> Kept {
    let Wanted { desired, before } = wanted;
    let desired = desired.as_ref();
    let Some(first) = difference(desired, found) else { return Kept::Intact };
    let by = memory.author.clone();
    let is_open = desired.is_some_and(|desired| opens(desired, found));
    let is_before = || before.as_ref().is_some_and(|before| is_ours(before.as_ref(), found));
    let is_half_way = match memory.load {
        Load::Unknown => !memory.is_touched && (desired.is_none() || is_before()),
        Load::Behind => true,
        Load::Holds { .. } => false,
    };
    if is_open && memory.is_touched {
        Kept::Reloaded { by, first }
    } else if is_half_way || is_ours(desired, found) {
        Kept::Resumed
    } else if is_open {
        Kept::Reloaded { by, first }
    } else {
        Kept::Changed { by, first }
    }
}

/// The first difference between the table as it should be and as it was found; either may be none.
pub(super) fn difference(desired: Option<&Table>, found: Option<&Table>) -> Option<TableDifference> {
    match (desired, found) {
        (Some(desired), found) => compare(desired, found).into_iter().next(),
        (None, None) => None,
        (None, Some(_)) => Some(TableDifference {
            place: format!("table {TABLE_FAMILY} {TABLE}"),
            desired: None,
            found: Some("loaded".to_owned()),
        }),
    }
}

/// Whether `found` is `desired`, perhaps with parts that a replacement left behind.
pub(super) fn is_ours(desired: Option<&Table>, found: Option<&Table>) -> bool {
    let is_left_behind = desired.zip(found).is_some_and(|(desired, found)| is_left_behind(desired, found));
    is_left_behind || difference(desired, found).is_none()
}

#[cfg(test)]
mod tests;
