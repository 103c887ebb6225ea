//! Brings the kernel's table to what is wanted, and knows what it is by now.

use std::time::Duration;

use host_state::chain;
use host_state::firewall::{FirewallRules, OnTrial, Replacement, Table, at_once, parse, replacement};
use nats_agent_api::order::boot_ms;

use super::nft::{self, NftError};
use super::{Firewall, FirewallError, Load, Memory, Now, TrialRecord};

/// How long the parts of an old table stay after the last packet was told to go by them.
const DRAIN: Duration = Duration::from_millis(20);

impl Firewall {
    /// Makes the kernel's table the one that is wanted. Where that fails the next look tries again.
    pub(super) async fn commit(
        &self,
        memory: &mut Memory,
        confirmed: Option<&FirewallRules>,
        trial: Option<&TrialRecord>,
    ) -> Result<(), FirewallError> {
        memory.load = Load::Behind;
        let mut own = Vec::new();
        let done = self.replace(table(confirmed, trial).as_ref(), &mut own).await;
        if done.is_ok() {
            // What others did before is gone.
            (memory.author, memory.is_touched) = (None, false);
        }
        // Told before `nft` ended; what others did in the same moment is looked at once more.
        if self.hear(memory, &own) {
            self.touched.notify_one();
        }
        done?;
        memory.load = Load::Holds { since_ms: boot_ms() };
        Ok(())
    }

    /// Replaces our table by [`replacement`], or at once where somebody else was quicker. A crash on the way leaves the old
    /// rules or the new ones, and perhaps parts that nothing goes to; that those could not be removed is no failure, the next
    /// look does it. `own` are the processes that told the kernel.
    async fn replace(&self, desired: Option<&Table>, own: &mut Vec<u32>) -> Result<(), NftError> {
        let Replacement { load, clear } = match found().await {
            Ok(found) => replacement(desired, found.as_ref()),
            Err(NftError::Listing(_)) => at_once(desired),
            Err(error) => return Err(error),
        };
        for batch in &load {
            match nft::commit(&self.effects, batch, own).await {
                // Somebody else was quicker.
                Err(NftError::Refused(reason)) if *load != at_once(desired).load => {
                    tracing::warn!(reason, "the firewall table is replaced at once");
                    for batch in &at_once(desired).load {
                        nft::commit(&self.effects, batch, own).await?;
                    }
                    return Ok(());
                }
                done => done?,
            }
        }
        let Some(clear) = clear else { return Ok(()) };
        tokio::time::sleep(DRAIN).await;
        if let Err(error) = nft::commit(&self.effects, &clear, own).await {
            tracing::warn!(error = chain(&error), "parts of the old firewall table are still there");
        }
        Ok(())
    }
}

/// The table as it should be; none before the first rules. A trial's time is set in seconds, so one that is loaded again
/// may last a second longer.
pub(super) fn table(confirmed: Option<&FirewallRules>, trial: Option<&TrialRecord>) -> Option<Table> {
    let left = trial.and_then(|trial| {
        let seconds = trial.remaining_ms(&Now::read())?.div_ceil(1000);
        Some(OnTrial { id: &trial.id, rules: &trial.rules, lifetime: Duration::from_secs(seconds) })
    });
    (confirmed.is_some() || left.is_some()).then(|| Table::of(confirmed, left))
}

/// The table that is loaded.
pub(super) async fn found() -> Result<Option<Table>, NftError> {
    match nft::list_own().await? {
        Some(listing) => Ok(parse(&listing)?),
        None => Ok(None),
    }
}
