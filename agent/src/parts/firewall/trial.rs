//! A trial of rules: begun, confirmed or cancelled. Its end by time is the kernel's.

use std::time::Duration;

use host_state::chain;
use host_state::firewall::{FirewallRules, TableDifference};
use nats_agent_api::order::boot_ms;

use super::due::{difference, is_ours};
use super::kept::Confirmed;
use super::load::{found, table};
use super::{Firewall, FirewallError, Load, Memory, Now, TrialRecord};
use crate::random_id::random_id;

/// A trial that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// 32 lower-case hex digits.
    pub id: String,
    /// How long the kernel keeps it up.
    pub ttl: Duration,
}

impl Firewall {
    /// Puts `rules` on trial: the kernel goes by them for `ttl`, rounded up to seconds, and then by the confirmed ones
    /// again, unless they are confirmed before. Needs no process for that.
    ///
    /// The record is durable before the kernel has the rules; a crash between leaves a trial that a restarted agent brings
    /// up for the rest of its time. A trial that failed is marked as withdrawn before the kernel is told to go back.
    ///
    /// # Errors
    /// [`FirewallError`]; then the rules before hold, or where the kernel cannot be told so, the next look loads them
    /// and the kernel's own clock ends what it may have begun.
    pub async fn begin_trial(&self, rules: &FirewallRules, ttl: Duration) -> Result<Trial, FirewallError> {
        let mut memory = self.alone().await;
        if let Some((TrialRecord { id, .. }, remaining_ms)) = self.trial()? {
            return Err(FirewallError::Pending { id, remaining_ms });
        }
        let confirmed = self.confirmed()?;
        let is_left = self.kept.trial().map_err(FirewallError::Kept)?.is_some();
        if is_left || memory.load == Load::Behind {
            // Before its record goes under: nothing else explains what the kernel may have of the one before.
            self.take_back(&mut memory, confirmed.as_ref()).await?;
        }
        let now = Now::read();
        let ttl = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let trial = TrialRecord {
            id: random_id()?,
            boot: now.boot.ok_or(FirewallError::NoBootId)?,
            started_ms: now.boot_ms,
            ttl_ms: ttl.as_secs() * 1000,
            is_withdrawn: false,
            rules: rules.clone(),
        };
        let begun = match self.kept.write_trial(&trial) {
            Ok(()) => self.commit(&mut memory, confirmed.as_ref(), Some(&trial)).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = begun {
            // Whatever of it was done, be it only that the answer was lost.
            self.kept.withdraw(&trial);
            if let Err(error) = self.take_back(&mut memory, confirmed.as_ref()).await {
                tracing::warn!(
                    error = chain(&error),
                    "a trial of firewall rules that failed is not taken back yet"
                );
                self.touched.notify_one();
            }
            return Err(error);
        }
        tracing::info!(trial = trial.id, seconds = ttl.as_secs(), rules = %rules.hash(), "firewall rules are on trial");
        Ok(Trial { id: trial.id, ttl })
    }

    /// Makes the rules on trial the confirmed ones. `opened_ms` is when the connection over which that is asked was opened,
    /// by [`boot_ms`]: one that was there before the kernel had them proves nothing, and none does while the kernel goes by
    /// other rules. May be repeated: that they are confirmed already is success.
    ///
    /// They are durable before the kernel has them for good, and confirmed from then on; what is left the next look does.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn confirm(&self, id: &str, opened_ms: u64) -> Result<(), FirewallError> {
        let mut memory = self.alone().await;
        let confirmed = self.kept.confirmed().map_err(FirewallError::Kept)?;
        if confirmed.is_some_and(|confirmed| confirmed.trial == id) {
            return Ok(());
        }
        let trial = self.pending(id)?;
        if let Err(error) = self.check_proof(&mut memory, &trial, opened_ms).await {
            self.touched.notify_one();
            return Err(error);
        }
        let TrialRecord { id, rules, .. } = trial;
        if let Err(error) = self.kept.write_confirmed(&Confirmed { trial: id.clone(), rules: rules.clone() })
        {
            // It may be written all the same.
            self.touched.notify_one();
            return Err(error.into());
        }
        if let Err(error) = self.take_back(&mut memory, Some(&rules)).await {
            tracing::warn!(error = chain(&error), "firewall rules are confirmed and not loaded for good yet");
            self.touched.notify_one();
        }
        tracing::info!(trial = id, rules = %rules.hash(), "firewall rules are confirmed");
        Ok(())
    }

    /// Whether a connection that was opened at `opened_ms` shows anything of the rules on trial.
    async fn check_proof(
        &self,
        memory: &mut Memory,
        trial: &TrialRecord,
        opened_ms: u64,
    ) -> Result<(), FirewallError> {
        let id = trial.id.clone();
        let desired = table(self.confirmed()?.as_ref(), Some(trial));
        let found = found().await?;
        let first = difference(desired.as_ref(), found.as_ref());
        if let Some(TableDifference { place, .. }) = first
            && !is_ours(desired.as_ref(), found.as_ref())
        {
            return Err(FirewallError::NotLoaded { id, place });
        }
        if !matches!(memory.load, Load::Holds { .. }) {
            memory.load = Load::Holds { since_ms: boot_ms() };
        }
        match memory.load {
            Load::Holds { since_ms } if since_ms < opened_ms => Ok(()),
            _ => Err(FirewallError::OldConnection { id }),
        }
    }

    /// Ends a trial at once: the confirmed rules hold again. The trial is marked as withdrawn before the kernel is
    /// told; what is left after a crash or a failure the next look does.
    ///
    /// # Errors
    /// [`FirewallError`]; the kernel ends the trial by itself in any case.
    pub async fn cancel(&self, id: &str) -> Result<(), FirewallError> {
        let mut memory = self.alone().await;
        let trial = self.pending(id)?;
        let confirmed = self.confirmed()?;
        self.kept.withdraw(&trial);
        if let Err(error) = self.take_back(&mut memory, confirmed.as_ref()).await {
            self.touched.notify_one();
            return Err(error);
        }
        tracing::info!(trial = trial.id, "a trial of firewall rules was cancelled");
        Ok(())
    }

    /// Has the kernel go by the confirmed rules alone, then ends the record of a trial that is over, be there one or
    /// not. In this order: until the kernel has gone back, the record explains what it has.
    pub(super) async fn take_back(
        &self,
        memory: &mut Memory,
        confirmed: Option<&FirewallRules>,
    ) -> Result<(), FirewallError> {
        self.commit(memory, confirmed, None).await?;
        Ok(self.kept.remove_trial()?)
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
