//! What the firewall needs without anybody asking: a trial's end, a table that was taken away, a change that stopped half-way.

use std::time::Duration;

use host_state::firewall::{FirewallRules, Table, TableDifference, compare, is_left_behind, opens};
use tokio::sync::MutexGuard;

use super::generations::Author;
use super::load::{found, table};
use super::{Firewall, FirewallError, Memory, Now, TrialRecord};

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
        let Due { firewall, mut memory, confirmed, trial, kept } = self;
        if kept.is_change() {
            match &trial {
                Some(trial) => firewall.commit(&mut memory, confirmed.as_ref(), Some(trial)).await?,
                None => firewall.take_back(&mut memory, confirmed.as_ref()).await?,
            }
        }
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
        let (kept, trial) = match record {
            Some(trial) if is_confirmed(&trial) => (Some(Kept::Resumed), None),
            Some(trial) if trial.remaining_ms(&Now::read()).is_none() => {
                (Some(Kept::Expired { id: trial.id }), None)
            }
            trial => (None, trial),
        };
        let confirmed = confirmed.map(|confirmed| confirmed.rules);
        let kept = match (kept, table(confirmed.as_ref(), trial.as_ref())) {
            (Some(kept), _) => kept,
            (None, Some(table)) => judged(&table, found().await?.as_ref(), &memory),
            (None, None) if memory.is_behind => Kept::Resumed,
            (None, None) => Kept::Intact,
        };
        Ok(Due { firewall: self, memory, confirmed, trial, kept })
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

    /// How long nothing is due by time. Also a trial that is over and not ended yet counts.
    fn pause(&self) -> Duration {
        let trial = self.kept.trial().ok().flatten();
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

/// What a table that was found comes to.
fn judged(desired: &Table, found: Option<&Table>, memory: &Memory) -> Kept {
    let Some(first) = compare(desired, found).into_iter().next() else { return Kept::Intact };
    let by = memory.author.clone();
    if memory.is_behind || found.is_some_and(|found| is_left_behind(desired, found)) {
        Kept::Resumed
    } else if opens(desired, found) {
        Kept::Reloaded { by, first }
    } else {
        Kept::Changed { by, first }
    }
}
