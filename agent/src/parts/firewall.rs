//! The firewall: one nftables table of ours, replaced in one transaction; a change is on trial until it is confirmed.
//!
//! Three things are told apart: the *confirmed* rules on disk, which alone are loaded at boot; a *trial*, which the
//! kernel itself ends when its time is over; and the *table*, which anybody with the right may change. Nothing has to run
//! for a trial to end. Tables of others are looked at, never changed.
//!
//! An agent that runs as an ordinary user manages none; it says so instead of seeming to.

pub mod generations;
mod kept;
pub mod nft;

use std::path::Path;
use std::time::Duration;

use host_state::document::FirewallIntent;
use host_state::firewall::{
    FirewallRules, Table, TableDifference, compare, delete_commands, parse, replace_commands,
};
use host_state::observed::{FirewallObserved, FirewallSeen, TrialSeen};
use host_state::{Finding, chain, firewall};
use tokio::sync::{Mutex, MutexGuard, Notify};

use self::generations::{Author, Changes, Generations};
use self::kept::KeptRules;
use self::nft::NftError;
use crate::applier::files::FileError;
use crate::parts::effects::Effects;

pub use self::kept::{Now, TrialRecord};

/// How often the table is looked at although nothing was told.
const SWEEP: Duration = Duration::from_secs(60);
/// Least pause between two looks: others may change their tables all the time.
const PAUSE: Duration = Duration::from_millis(100);

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
    /// The system gives no random bytes for the trial's id.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
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
}

/// A trial that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// 32 lower-case hex digits.
    pub id: String,
    /// How long the kernel keeps it up.
    pub ttl: Duration,
}

/// What was found when the table was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// As it should be.
    Intact,
    /// It was gone, or let everybody in, and is loaded again.
    Reloaded {
        /// Who took it away; absent where nobody saw.
        by: Option<Author>,
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

/// The firewall of the network namespace that the process is in.
#[derive(Debug)]
pub struct Firewall {
    effects: Effects,
    kept: KeptRules,
    /// `None` where the kernel tells nothing: then the sweep alone notices.
    generations: Option<Generations>,
    /// One who looks or changes at a time; with who last changed our table without being us.
    author: Mutex<Option<Author>>,
    /// That somebody was told of a change by others who does not keep the table.
    touched: Notify,
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
        Firewall { effects, kept, generations, author: Mutex::new(None), touched: Notify::new() }
    }

    /// Loads the confirmed rules and nothing else, as at boot; returns them. Without any our table goes away.
    ///
    /// # Errors
    /// [`FirewallError`]; then the table is as it was.
    pub async fn load_confirmed(&self) -> Result<Option<FirewallRules>, FirewallError> {
        let _author = self.alone().await;
        let confirmed = self.confirmed()?;
        self.commit(confirmed.as_ref(), None).await?;
        Ok(confirmed)
    }

    /// Puts the table to what it should be: the confirmed rules, and a trial for the rest of its time.
    ///
    /// # Errors
    /// [`FirewallError`]; then the table is as it was.
    pub async fn repair(&self) -> Result<(), FirewallError> {
        let _author = self.alone().await;
        let (confirmed, trial) = self.wanted()?;
        self.commit(confirmed.as_ref(), trial.as_ref()).await
    }

    /// Asks the kernel whether it would take `rules`. Changes nothing.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn check(&self, rules: &FirewallRules) -> Result<(), FirewallError> {
        let table = Table::of(Some(rules), Some((rules, Duration::from_secs(1))));
        Ok(nft::check(&self.effects, &replace_commands(&table)).await?)
    }

    /// Puts `rules` on trial: the kernel goes by them for `ttl`, rounded up to seconds, and then by the confirmed ones again,
    /// unless they are confirmed before. Needs no process for that.
    ///
    /// The record is durable before the kernel has the rules; a crash between leaves a trial that a restarted agent brings
    /// up for the rest of its time.
    ///
    /// # Errors
    /// [`FirewallError`]; then nothing changed.
    pub async fn begin_trial(&self, rules: &FirewallRules, ttl: Duration) -> Result<Trial, FirewallError> {
        let _author = self.alone().await;
        let (confirmed, pending) = self.wanted()?;
        let now = Now::read();
        if let Some(pending) = pending {
            let remaining_ms = pending.remaining_ms(&now).unwrap_or_default();
            return Err(FirewallError::Pending { id: pending.id, remaining_ms });
        }
        let ttl = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let trial = TrialRecord {
            id: random_id()?,
            boot: now.boot,
            started_ms: now.boot_ms,
            ttl_ms: ttl.as_secs() * 1000,
            rules: rules.clone(),
        };
        self.kept.write_trial(&trial)?;
        if let Err(error) = self.commit(confirmed.as_ref(), Some(&trial)).await {
            self.kept.remove_trial()?;
            return Err(error);
        }
        tracing::info!(trial = trial.id, seconds = ttl.as_secs(), rules = %rules.hash(), "firewall rules are on trial");
        Ok(Trial { id: trial.id, ttl })
    }

    /// Makes the rules on trial the confirmed ones. `opened_ms` is when the connection over which that is asked was opened,
    /// by [`nats_agent_api::order::boot_ms`]: one that was there before proves nothing.
    ///
    /// They are durable before the kernel has them for good; a crash between leaves rules that the next look loads.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn confirm(&self, id: &str, opened_ms: u64) -> Result<(), FirewallError> {
        let _author = self.alone().await;
        let trial = self.pending(id)?;
        if opened_ms <= trial.started_ms {
            return Err(FirewallError::OldConnection { id: trial.id });
        }
        self.kept.write_confirmed(&trial.rules)?;
        self.commit(Some(&trial.rules), None).await?;
        self.kept.remove_trial()?;
        tracing::info!(trial = trial.id, rules = %trial.rules.hash(), "firewall rules are confirmed");
        Ok(())
    }

    /// Ends a trial at once: the confirmed rules hold again.
    ///
    /// # Errors
    /// [`FirewallError`]; the kernel ends the trial by itself in any case.
    pub async fn cancel(&self, id: &str) -> Result<(), FirewallError> {
        let _author = self.alone().await;
        let trial = self.pending(id)?;
        self.kept.remove_trial()?;
        self.commit(self.confirmed()?.as_ref(), None).await?;
        tracing::info!(trial = trial.id, "a trial of firewall rules was cancelled");
        Ok(())
    }

    /// The trial that is under way, and the milliseconds left of it.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub fn trial(&self) -> Result<Option<(TrialRecord, u64)>, FirewallError> {
        let trial = self.kept.trial().map_err(FirewallError::Kept)?;
        Ok(trial.and_then(|trial| {
            let remaining_ms = trial.remaining_ms(&Now::read())?;
            Some((trial, remaining_ms))
        }))
    }

    /// The confirmed rules; absent before the first.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub fn confirmed(&self) -> Result<Option<FirewallRules>, FirewallError> {
        self.kept.confirmed().map_err(FirewallError::Kept)
    }

    /// What the firewall is, and what of other tables stands against `desired`.
    pub async fn observe(&self, desired: &FirewallRules) -> FirewallObserved {
        let _author = self.alone().await;
        match self.look(desired).await {
            Ok(seen) => FirewallObserved::Seen(Box::new(seen)),
            Err(error) => FirewallObserved::Unreadable { reason: chain(&error) },
        }
    }

    async fn look(&self, desired: &FirewallRules) -> Result<FirewallSeen, FirewallError> {
        let (confirmed, trial) = self.wanted()?;
        let table = self.differences(confirmed.as_ref(), trial.as_ref()).await?;
        let foreign =
            firewall::foreign::foreign_drops(&nft::list_all().await?, desired).map_err(NftError::from)?;
        let now = Now::read();
        let trial = trial.and_then(|trial| {
            let remaining_ms = trial.remaining_ms(&now)?;
            Some(TrialSeen { id: trial.id, remaining_ms, rules: trial.rules })
        });
        Ok(FirewallSeen { confirmed, trial, table, foreign })
    }

    async fn differences(
        &self,
        confirmed: Option<&FirewallRules>,
        trial: Option<&TrialRecord>,
    ) -> Result<Vec<TableDifference>, FirewallError> {
        if confirmed.is_none() && trial.is_none() {
            return Ok(Vec::new());
        }
        let found = match nft::list_own().await? {
            Some(listing) => parse(&listing).map_err(NftError::from)?,
            None => None,
        };
        Ok(compare(&table(confirmed, trial), found.as_ref()))
    }

    /// Waits until somebody changed our table, a trial ends, or a minute is over.
    pub async fn until_due(&self) {
        tokio::time::sleep(PAUSE).await;
        let trial = self.trial().ok().flatten();
        let pause = trial.map_or(SWEEP, |(_, left)| Duration::from_millis(left + 1).min(SWEEP));
        let told = async {
            let Some(generations) = &self.generations else { return std::future::pending().await };
            loop {
                match generations.changed().await {
                    Ok(changes) => {
                        if self.note(changes).await {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "changes of the firewall by others are not told");
                        return std::future::pending().await;
                    }
                }
            }
        };
        tokio::select! {
            () = told => {}
            () = self.touched.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Looks at the table, ends a trial whose time is over, and loads a table anew that is gone or lets everybody in. What
    /// else was changed stays for whoever decides on repairs.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn keep(&self) -> Result<Kept, FirewallError> {
        let mut author = self.alone().await;
        let kept = self.kept.trial().map_err(FirewallError::Kept)?;
        let expired = kept.filter(|trial| trial.remaining_ms(&Now::read()).is_none());
        let (confirmed, trial) = self.wanted()?;
        if let Some(expired) = expired {
            self.kept.remove_trial()?;
            self.commit(confirmed.as_ref(), None).await?;
            return Ok(Kept::Expired { id: expired.id });
        }
        let differences = self.differences(confirmed.as_ref(), trial.as_ref()).await?;
        let is_open = differences.iter().any(is_hole);
        let Some(first) = differences.into_iter().next() else {
            *author = None;
            return Ok(Kept::Intact);
        };
        let by = author.clone();
        if !is_open {
            return Ok(Kept::Changed { by, first });
        }
        self.commit(confirmed.as_ref(), trial.as_ref()).await?;
        *author = None;
        Ok(Kept::Reloaded { by })
    }

    /// Takes the one place of who looks or changes, with what was told until now.
    async fn alone(&self) -> MutexGuard<'_, Option<Author>> {
        let mut author = self.author.lock().await;
        if let Some(generations) = &self.generations
            && let Ok(changes) = generations.take()
            && changes.is_ours
        {
            self.touched.notify_one();
            remember(&mut author, changes);
        }
        author
    }

    /// Keeps who changed our table; whether anybody did.
    async fn note(&self, changes: Changes) -> bool {
        let is_ours = changes.is_ours;
        if is_ours {
            remember(&mut *self.author.lock().await, changes);
        }
        is_ours
    }

    /// Replaces our table. What the kernel tells of it meanwhile by the name of `nft` is our own.
    async fn commit(
        &self,
        confirmed: Option<&FirewallRules>,
        trial: Option<&TrialRecord>,
    ) -> Result<(), FirewallError> {
        let commands = match (confirmed, trial) {
            (None, None) => delete_commands(),
            (confirmed, trial) => replace_commands(&table(confirmed, trial)),
        };
        let done = nft::commit(&self.effects, &commands).await;
        if let Some(generations) = &self.generations {
            // A foreign commit in the same moment is noticed all the same: whoever looks compares the table.
            let _ = generations.take();
        }
        Ok(done?)
    }

    fn wanted(&self) -> Result<(Option<FirewallRules>, Option<TrialRecord>), FirewallError> {
        let confirmed = self.confirmed()?;
        Ok((confirmed, self.trial()?.map(|(trial, _)| trial)))
    }

    fn pending(&self, id: &str) -> Result<TrialRecord, FirewallError> {
        let none = |found: String| FirewallError::NoTrial { asked: id.to_owned(), found };
        match self.trial()? {
            Some((trial, _)) if trial.id == id => Ok(trial),
            Some((trial, _)) => Err(none(format!("`{}` is on trial", trial.id))),
            None => Err(none("its time is over, or it never began; apply again".to_owned())),
        }
    }
}

/// The table as it should be. A trial's time is set in seconds, so one that is loaded again may last a second longer.
fn table(confirmed: Option<&FirewallRules>, trial: Option<&TrialRecord>) -> Table {
    let left = trial.and_then(|trial| {
        let seconds = trial.remaining_ms(&Now::read())?.div_ceil(1000);
        Some((&trial.rules, Duration::from_secs(seconds)))
    });
    Table::of(confirmed, left)
}

/// Whether it leaves every port open: the table is gone or asleep, or its base chain is not what it was.
fn is_hole(difference: &TableDifference) -> bool {
    let TableDifference { place, desired, found: _ } = difference;
    place.starts_with("table ") || (place == "chain input" && desired.is_some())
}

fn remember(author: &mut Option<Author>, changes: Changes) {
    if changes.author.is_some() {
        *author = changes.author;
    }
}

fn random_id() -> Result<String, FirewallError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| FirewallError::Random(error.to_string()))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
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
