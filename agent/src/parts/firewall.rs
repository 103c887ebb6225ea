//! The firewall: one nftables table of ours, replaced while packets come in; a change is on trial until it is confirmed.
//!
//! Three things are told apart: the *confirmed* rules on disk, which alone are loaded at boot; a *trial*, which the
//! kernel itself ends when its time is over; and the *table*, which anybody with the right may change. Nothing has to run
//! for a trial to end. Tables of others are looked at, never changed.
//!
//! An agent that runs as an ordinary user manages none; it says so instead of seeming to.

mod due;
pub mod generations;
mod kept;
mod load;
pub mod nft;
mod trial;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host_state::document::FirewallIntent;
use host_state::firewall::{self, FirewallRules, OnTrial, Table, compare, replace_commands};
use host_state::observed::{FirewallObserved, FirewallSeen, TrialSeen};
use host_state::{Finding, chain};
use tokio::sync::{Mutex, MutexGuard, Notify, OwnedMutexGuard};

use self::generations::{Author, Generations, of_others};
use self::kept::{BOOT_ID, KeptRules};
use self::load::{found, table};
use self::nft::NftError;
use crate::applier::files::FileError;
use crate::parts::effects::Effects;
use crate::random_id::NoRandomBytes;

pub use self::due::{Due, Kept};
pub use self::kept::{Now, TrialRecord};
pub use self::trial::Trial;

/// Why the firewall could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// A file of the state directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel or `nft`.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// What is kept cannot be read.
    #[error("{0}; restore the file, or remove it and apply again")]
    Kept(String),
    /// A trial needs an id.
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
    /// Nobody could tell whether a trial began before a reboot.
    #[error("`{BOOT_ID}` cannot be read, so no rules can be tried; mount `/proc`")]
    NoBootId,
    /// Another trial is under way.
    #[error(
        "firewall rules are on trial as `{id}` for another {} s; confirm or cancel them, or wait",
        remaining_ms.div_ceil(1000)
    )]
    Pending {
        /// Its id.
        id: String,
        /// Milliseconds that are left.
        remaining_ms: u64,
    },
    /// There is no such trial.
    #[error("no firewall rules are on trial as `{asked}`: {found}")]
    NoTrial {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
    /// The confirmation says nothing of the new rules.
    #[error(
        "the connection is older than trial `{id}` and proves nothing: connect anew and confirm over that"
    )]
    OldConnection {
        /// The trial's id.
        id: String,
    },
    /// The kernel goes by other rules, so that a connection proves nothing of these.
    #[error(
        "the rules of trial `{id}` are not what the kernel goes by (`{place}` differs), so no connection proves them: they \
         are loaded again, unless their time is over; connect anew and confirm over that, or apply again"
    )]
    NotLoaded {
        /// The trial's id.
        id: String,
        /// The first place that differs.
        place: String,
    },
}

/// The firewall of the network namespace that the process is in.
#[derive(Debug)]
pub struct Firewall {
    effects: Effects,
    kept: KeptRules,
    /// `None` where the kernel tells nothing: then the sweep alone notices.
    generations: Option<Generations>,
    /// Held by who looks or changes, one at a time.
    memory: Arc<Mutex<Memory>>,
    /// That somebody was told of a change by others who does not keep the table.
    touched: Notify,
}

/// What is known of the loaded table beside what is on disk.
#[derive(Debug)]
struct Memory {
    /// Who last changed our table without being us.
    author: Option<Author>,
    /// Whether others changed it since the last look that came to its end.
    is_touched: bool,
    /// What of it is known to be in the kernel.
    load: Load,
}

/// What this process knows of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Nothing: it neither changed it nor found it as it should be.
    Unknown,
    /// The kernel did not take what it was last to take, or nobody heard that it did.
    Behind,
    /// The kernel took it, or had it when it was looked at.
    Holds {
        /// Since when at the latest, on the clock of [`nats_agent_api::order::boot_ms`].
        since_ms: u64,
    },
}

/// As long as it lives, nobody looks at a firewall or changes it.
#[derive(Debug)]
#[must_use]
pub struct Rest {
    _memory: OwnedMutexGuard<Memory>,
}

impl Firewall {
    /// The firewall whose files lie in `state_dir`. Changes nothing. Must be called in a tokio runtime.
    #[must_use]
    pub fn open(effects: Effects, state_dir: &Path) -> Firewall {
        let generations = match Generations::open() {
            Ok(generations) => Some(generations),
            Err(error) => {
                tracing::warn!(%error, "changes of the firewall by others are noticed by the sweep only");
                None
            }
        };
        let kept = KeptRules::new(effects.clone(), state_dir);
        let memory = Memory { author: None, is_touched: false, load: Load::Unknown };
        Firewall { effects, kept, generations, memory: Arc::new(Mutex::new(memory)), touched: Notify::new() }
    }

    /// Waits until the look or change that is under way has come to its end, and keeps the next one from beginning for as long
    /// as what it returns lives.
    pub async fn rest(&self) -> Rest {
        Rest { _memory: Arc::clone(&self.memory).lock_owned().await }
    }

    /// Loads the confirmed rules and nothing else, as at boot; returns them. Without any our table goes away.
    ///
    /// # Errors
    /// [`FirewallError`]; then the table is as it was.
    pub async fn load_confirmed(&self) -> Result<Option<FirewallRules>, FirewallError> {
        let mut memory = self.alone().await;
        let confirmed = self.confirmed()?;
        self.commit(&mut memory, confirmed.as_ref(), None).await?;
        Ok(confirmed)
    }

    /// Puts the table to what it should be: the confirmed rules, and a trial for the rest of its time.
    ///
    /// # Errors
    /// [`FirewallError`]; then the table is as it was.
    pub async fn repair(&self) -> Result<(), FirewallError> {
        let mut memory = self.alone().await;
        let (confirmed, trial) = self.wanted()?;
        self.commit(&mut memory, confirmed.as_ref(), trial.as_ref()).await
    }

    /// Asks the kernel whether it would take `rules`. Changes nothing.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn check(&self, rules: &FirewallRules) -> Result<(), FirewallError> {
        let trial = OnTrial { id: "check", rules, lifetime: Duration::from_secs(1) };
        Ok(nft::check(&self.effects, &replace_commands(&Table::of(None, Some(trial)))).await?)
    }

    /// The trial that is under way, and the milliseconds left of it.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub fn trial(&self) -> Result<Option<(TrialRecord, u64)>, FirewallError> {
        let Some(trial) = self.kept.trial().map_err(FirewallError::Kept)? else { return Ok(None) };
        let confirmed = self.kept.confirmed().map_err(FirewallError::Kept)?;
        if confirmed.is_some_and(|confirmed| confirmed.trial == trial.id) {
            return Ok(None);
        }
        Ok(trial.remaining_ms(&Now::read()).map(|left| (trial, left)))
    }

    /// The confirmed rules; absent before the first.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub fn confirmed(&self) -> Result<Option<FirewallRules>, FirewallError> {
        let confirmed = self.kept.confirmed().map_err(FirewallError::Kept)?;
        Ok(confirmed.map(|confirmed| confirmed.rules))
    }

    /// What the firewall is, and what of other tables stands against `desired`.
    pub async fn observe(&self, desired: &FirewallRules) -> FirewallObserved {
        let _memory = self.alone().await;
        match self.look(desired).await {
            Ok(seen) => FirewallObserved::Seen(Box::new(seen)),
            Err(error) => FirewallObserved::Unreadable { reason: chain(&error) },
        }
    }

    async fn look(&self, desired: &FirewallRules) -> Result<FirewallSeen, FirewallError> {
        let (confirmed, trial) = self.wanted()?;
        let table = match table(confirmed.as_ref(), trial.as_ref()) {
            Some(table) => compare(&table, found().await?.as_ref()),
            None => Vec::new(),
        };
        let foreign =
            firewall::foreign::foreign_drops(&nft::list_all().await?, desired).map_err(NftError::from)?;
        let now = Now::read();
        let trial = trial.and_then(|trial| {
            let remaining_ms = trial.remaining_ms(&now)?;
            Some(TrialSeen { id: trial.id, remaining_ms, rules: trial.rules })
        });
        Ok(FirewallSeen { confirmed, trial, table, foreign })
    }

    /// Takes the one place of who looks or changes, with what was told until now.
    async fn alone(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().await;
        if self.hear(&mut memory, &[]) {
            self.touched.notify_one();
        }
        memory
    }

    /// Takes what the kernel told until now; whether somebody changed our table who is none of the processes `own`.
    fn hear(&self, memory: &mut Memory, own: &[u32]) -> bool {
        let Some(generations) = &self.generations else { return false };
        let told = match generations.take() {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "changes of the firewall by others are not told");
                return false;
            }
        };
        let others = of_others(told.commits, own);
        if others.is_empty() && !told.is_cut {
            return false;
        }
        memory.is_touched |= !others.is_empty();
        if let Some(author) = others.into_iter().flatten().next_back() {
            memory.author = Some(author);
        }
        true
    }

    fn wanted(&self) -> Result<(Option<FirewallRules>, Option<TrialRecord>), FirewallError> {
        let confirmed = self.confirmed()?;
        Ok((confirmed, self.trial()?.map(|(trial, _)| trial)))
    }
}

/// What a person has to know where the firewall is not managed; nothing when no network was named and so nothing is to
/// be kept out.
#[must_use]
pub fn off_finding(intent: &FirewallIntent) -> Option<Finding> {
    let FirewallIntent { clients, metrics, management, metrics_port: _ } = intent;
    let is_relied_on = ![clients, metrics, management].iter().all(|networks| networks.is_empty());
    is_relied_on.then(|| Finding {
        item: "firewall".to_owned(),
        problem: "the firewall is off: this agent runs as an ordinary user and changes no kernel rules"
            .to_owned(),
        remedy: "keep other networks out by other means, or name none in `firewall`".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_said_to_be_off_only_where_somebody_relies_on_it() {
        let mut intent = FirewallIntent {
            clients: Vec::new(),
            metrics: Vec::new(),
            management: Vec::new(),
            metrics_port: 7777,
        };
        assert_eq!(off_finding(&intent), None);
        intent.clients.push("10.0.0.0/8".parse().unwrap());
        assert!(off_finding(&intent).unwrap().problem.starts_with("the firewall is off"));
    }
}
