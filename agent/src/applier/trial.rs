//! The firewall's part of the applier: trials and their end, and the watch over the loaded table, each change on record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use host_state::Finding;
use host_state::audit::{Ended, Occasion, What, Who, clip};
use host_state::desired::Desired;
use host_state::document::{ContentHash, OnDrift};
use host_state::firewall::{TRIAL_DOMAIN, TableDifference, TrialAction};
use host_state::observed::FirewallObserved;
use host_state::report::{FirewallStatus, TrialStatus};
use identity::Trust;

use super::admit;
use super::host::Host;
use super::target::{Target, Which};
use crate::parts::firewall::generations::Author;
use crate::parts::firewall::{Firewall, FirewallError, Kept};
use crate::roles::{ApplierError, Caller, TrialWish};

/// How long new firewall rules hold without a confirmation. A provider confirms within seconds; this is how long somebody
/// who locked himself out has to wait.
const TRIAL_TTL: Duration = Duration::from_secs(60);
/// Pause after the table could not be looked at or loaded.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Whether the change that firewall rules are on trial for is still under way. Until it has come to its end nobody confirms
/// them: it may yet be taken back.
#[derive(Debug, Default)]
pub(super) struct ChangeOnTrial(AtomicBool);

impl ChangeOnTrial {
    fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The change passed, or its trial was ended.
    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether a trial may be ended so from outside.
    ///
    /// # Errors
    /// [`ApplierError::Conflict`].
    fn check(&self, action: TrialAction, trial_id: &str) -> Result<(), ApplierError> {
        match action {
            TrialAction::Confirm if self.0.load(Ordering::Acquire) => Err(ApplierError::Conflict(format!(
                "trial `{trial_id}` is not to be confirmed yet: its change is still under way; confirm it once that has \
                 come to its end"
            ))),
            TrialAction::Confirm | TrialAction::Cancel => Ok(()),
        }
    }
}

/// Keeps the firewall as long as the applier lives. Takes no part in the work lock: a hole is closed also while a change
/// is under way.
pub(super) async fn watch(host: Arc<Host>) {
    let Some(firewall) = &host.firewall else { return };
    loop {
        if let Err(error) = host.keep_firewall(firewall).await {
            tracing::warn!(error = host_state::chain(&error), "the firewall is not kept");
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
        firewall.until_due().await;
    }
}

/// What a change that is due is to bring, without who it is due for; absent where nothing is changed.
fn what_is_due(kept: &Kept) -> Option<String> {
    Some(match kept {
        Kept::Intact | Kept::Changed { .. } => return None,
        Kept::Resumed => "those that hold, after a replacement that stopped half-way".to_owned(),
        Kept::Reloaded { .. } => "those that hold, taken away or opened by others".to_owned(),
        Kept::Expired { id } => format!("those before trial {id}, whose time is over"),
    })
}

/// The same for the audit log.
fn record_of(kept: &Kept, what: String) -> What {
    let rules = match kept {
        Kept::Reloaded { by, first: _ } => {
            format!("those that hold, taken away or opened by {}", named(by.as_ref()))
        }
        Kept::Intact | Kept::Changed { .. } | Kept::Resumed | Kept::Expired { .. } => what,
    };
    What::Firewall { rules: clip(&rules) }
}

fn named(author: Option<&Author>) -> String {
    author.map_or("somebody whom the kernel did not name".to_owned(), Author::to_string)
}

impl Host {
    /// Closes a hole whenever there is one; how often that goes on record is [`super::often`]'s matter.
    async fn keep_firewall(&self, firewall: &Firewall) -> Result<(), FirewallError> {
        let by_itself = || Who::Agent { occasion: Occasion::Firewall };
        let now = Instant::now();
        let over = self.often().over(now);
        for rules in over {
            let what = What::Firewall { rules: clip(&rules) };
            self.audit.announce_anyway_as(by_itself(), what).end(Ended::Done);
        }
        let due = firewall.due().await?;
        let announced = what_is_due(due.kept()).map(|what| {
            if self.often().is_first(&what, now) {
                self.audit.announce_anyway_as(by_itself(), record_of(due.kept(), what))
            } else {
                self.audit.announce_more(by_itself())
            }
        });
        let done = due.done().await;
        let kept = match announced {
            Some(announced) => announced.ended(done)?,
            None => done?,
        };
        self.tell_kept(kept);
        Ok(())
    }

    fn tell_kept(&self, kept: Kept) {
        let finding = |problem: String, remedy: &str| Finding {
            item: "firewall".to_owned(),
            problem,
            remedy: remedy.to_owned(),
        };
        match kept {
            Kept::Intact => {}
            Kept::Resumed => tracing::info!("a replacement of the firewall table is brought to its end"),
            Kept::Reloaded { by, first } => {
                let TableDifference { place, desired, found } = first;
                let found = found.map_or("missing".to_owned(), |found| format!("`{found}`"));
                let desired = desired.map_or("not be there".to_owned(), |desired| format!("be `{desired}`"));
                let problem = format!(
                    "the firewall table was taken away or opened by {} and is loaded again: `{place}` was {found}, should \
                     {desired}",
                    named(by.as_ref())
                );
                let remedy =
                    "have whoever flushes rules leave `inet nats_agent` alone; nothing else is to be done";
                self.note_newest("firewall-reloaded", finding(problem, remedy));
            }
            Kept::Changed { by, first } => {
                tracing::warn!(by = named(by.as_ref()), place = first.place, "the firewall table was changed");
                if self.repairs_by_itself() {
                    self.sweep_wanted.store(true, Ordering::Release);
                }
            }
            Kept::Expired { id } => self.note_newest("firewall-expired", finding(
                format!("nobody confirmed the firewall rules of trial `{id}`, and the host went back to those before"),
                "see that the agent is reached from here under the new rules, then apply again",
            )),
        }
    }

    fn repairs_by_itself(&self) -> bool {
        let contents = self.ledger.read().ok();
        let target = contents.and_then(|contents| Target::of(&contents, Which::Confirmed).ok().flatten());
        target.is_some_and(|target| target.cluster.on_drift == OnDrift::Repair)
    }

    /// What the firewall is, against `desired`.
    pub(super) async fn firewall_observed(&self, desired: &Desired) -> FirewallObserved {
        match (&self.firewall, &desired.firewall) {
            (Some(firewall), Some(rules)) => firewall.observe(rules).await,
            (None, _) | (_, None) => FirewallObserved::Off,
        }
    }

    /// What is confirmed and on trial; absent where the agent manages no firewall.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub(super) fn firewall_status(&self) -> Result<Option<FirewallStatus>, FirewallError> {
        let Some(firewall) = &self.firewall else { return Ok(None) };
        let confirmed: Option<ContentHash> = firewall.confirmed()?.map(|rules| rules.hash());
        let trial = firewall.trial()?;
        let trial = trial.map(|(trial, remaining_ms)| TrialStatus { id: trial.id, remaining_ms });
        Ok(Some(FirewallStatus { confirmed, trial }))
    }

    /// Takes back the firewall rules that an earlier roll left on trial: whoever rolls now holds the lease, so there is
    /// nobody any more to confirm them. What is only staged touches no rules.
    ///
    /// # Errors
    /// [`ApplierError`]; then they stay until their time is over.
    pub(super) async fn end_unconfirmed(&self) -> Result<(), ApplierError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        let Some((trial, _)) = firewall.trial().map_err(applier_error)? else { return Ok(()) };
        let rules = format!("those before trial {}, which nobody confirmed", trial.id);
        let announced = self.audit.announce(What::Firewall { rules: clip(&rules) })?;
        match announced.ended(firewall.cancel(&trial.id).await) {
            // Its time was over just now.
            Err(FirewallError::NoTrial { .. }) => Ok(()),
            ended => ended.map_err(applier_error),
        }
    }

    /// Asks the kernel whether it would take the rules of `desired`.
    pub(super) async fn check_firewall(&self, desired: &Desired) -> Result<(), String> {
        let (Some(firewall), Some(rules)) = (&self.firewall, &desired.firewall) else { return Ok(()) };
        firewall.check(rules).await.map_err(|error| host_state::chain(&error))
    }

    /// Loads the table again as it was confirmed.
    pub(super) async fn load_firewall(&self) -> Result<(), String> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        firewall.repair().await.map_err(|error| host_state::chain(&error))
    }

    /// Puts the rules of `target` on trial; returns the trial's id. Nobody confirms them before [`ChangeOnTrial::end`].
    pub(super) async fn try_firewall(&self, target: &Target) -> Result<Option<String>, String> {
        let (Some(firewall), Some(rules)) = (&self.firewall, self.firewall_rules(target)) else {
            return Ok(None);
        };
        let what = What::Firewall { rules: format!("sha256 {}, on trial", rules.hash()) };
        let announced = self.audit.announce(what).map_err(|error| host_state::chain(&error))?;
        self.change_on_trial.begin();
        let trial = announced.ended(firewall.begin_trial(&rules, TRIAL_TTL).await);
        trial.map(|trial| Some(trial.id)).map_err(|error| host_state::chain(&error))
    }

    /// Ends a trial whose change did not pass. The kernel ends it in any case.
    pub(super) async fn drop_trial(&self, id: &str) {
        let Some(firewall) = &self.firewall else { return };
        if let Err(error) = firewall.cancel(id).await {
            tracing::warn!(
                error = host_state::chain(&error),
                "firewall rules stay on trial until their time is over"
            );
        }
    }

    /// Ends a trial as `order` says, once it is proven that the authority says so. Takes no part in the work lock: a trial
    /// has little time, and a repair that is under way may take more.
    ///
    /// # Errors
    /// [`ApplierError`]; under an unreadable ledger nobody can say whose word counts, and the kernel goes back by itself.
    pub(super) async fn end_trial(
        &self,
        order: TrialWish,
        action: TrialAction,
        caller: &Caller,
    ) -> Result<(), ApplierError> {
        let TrialWish { trial_id, signature } = order;
        let record = self.claimed()?;
        if !is_signed(&admit::current_trust(&record, &self.contents()?), action, &trial_id, &signature) {
            let text =
                format!("the end of trial `{trial_id}` is not signed by this authority's document key");
            return Err(ApplierError::InvalidDocument(text));
        }
        let Some(firewall) = &self.firewall else {
            return Err(ApplierError::Conflict(format!("no change is on trial, so not `{trial_id}` either")));
        };
        self.change_on_trial.check(action, &trial_id)?;
        tracing::info!(role = %caller.role, serial = caller.serial, trial_id, ?action, "end of a trial");
        let Caller { role, serial, opened_ms } = caller;
        let who = Who::Caller { role: role.to_string(), serial: serial.clone(), writer: String::new() };
        let rules = match action {
            TrialAction::Confirm => format!("those on trial as {trial_id}"),
            TrialAction::Cancel => format!("those before trial {trial_id}"),
        };
        let announced = self.audit.announce_as(who, What::Firewall { rules: clip(&rules) })?;
        let ended = match action {
            TrialAction::Confirm => firewall.confirm(&trial_id, *opened_ms).await,
            TrialAction::Cancel => firewall.cancel(&trial_id).await,
        };
        announced.ended(ended).map_err(applier_error)
    }
}

fn is_signed(trust: &Trust, action: TrialAction, trial_id: &str, signature: &str) -> bool {
    let bytes = BASE64.decode(signature.as_bytes()).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let signed = action.signed_bytes(trial_id);
    bytes.is_some_and(|bytes| trust.verify_document(TRIAL_DOMAIN, &signed, &bytes))
}

fn applier_error(error: FirewallError) -> ApplierError {
    let text = host_state::chain(&error);
    match error {
        FirewallError::Pending { .. }
        | FirewallError::NoTrial { .. }
        | FirewallError::OldConnection { .. }
        | FirewallError::NotLoaded { .. } => ApplierError::Conflict(text),
        FirewallError::File(_)
        | FirewallError::Nft(_)
        | FirewallError::Kept(_)
        | FirewallError::Random(_)
        | FirewallError::NoBootId => ApplierError::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_under_way_is_not_confirmed_from_outside() {
        let change = ChangeOnTrial::default();
        change.check(TrialAction::Confirm, "07").unwrap();
        change.begin();
        let error = change.check(TrialAction::Confirm, "07").unwrap_err();
        assert!(matches!(error, ApplierError::Conflict(_)), "{error}");
        assert!(error.to_string().contains("its change is still under way"), "{error}");
        change.check(TrialAction::Cancel, "07").unwrap();
        change.end();
        change.check(TrialAction::Confirm, "07").unwrap();
    }
}
