//! The firewall's part of the applier: trials and their end, and the watch over the loaded table.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use data_encoding::BASE64;
use host_state::Finding;
use host_state::audit::{What, Who, clip};
use host_state::desired::Desired;
use host_state::document::{ContentHash, OnDrift};
use host_state::firewall::{TRIAL_DOMAIN, TrialAction};
use host_state::observed::FirewallObserved;
use host_state::report::{FirewallStatus, TrialStatus};
use identity::Trust;

use super::admit;
use super::host::Host;
use super::target::{Target, Which};
use crate::parts::firewall::generations::Author;
use crate::parts::firewall::{FirewallError, Kept};
use crate::roles::{ApplierError, Caller, TrialWish};

/// How long new firewall rules hold without a confirmation. A provider confirms within seconds; this is how long somebody
/// who locked himself out has to wait.
const TRIAL_TTL: Duration = Duration::from_secs(60);
/// Pause after the table could not be looked at or loaded.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Keeps the firewall as long as the applier lives. Takes no part in the work lock: a hole is closed also while a change
/// is under way.
pub(super) async fn watch(host: Arc<Host>) {
    let Some(firewall) = &host.firewall else { return };
    loop {
        match firewall.keep().await {
            Ok(kept) => host.tell_kept(kept),
            Err(error) => {
                tracing::warn!(error = host_state::chain(&error), "the firewall is not kept");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
        firewall.until_due().await;
    }
}

impl Host {
    fn tell_kept(&self, kept: Kept) {
        let by = |author: Option<Author>| {
            author.map_or("somebody whom the kernel did not name".to_owned(), |author| author.to_string())
        };
        let finding = |problem: String, remedy: &str| Finding {
            item: "firewall".to_owned(),
            problem,
            remedy: remedy.to_owned(),
        };
        match kept {
            Kept::Intact => {}
            Kept::Reloaded { by: author } => self.note(finding(
                format!(
                    "the firewall table was taken away or opened by {} and is loaded again",
                    by(author)
                ),
                "have whoever flushes rules leave `inet nats_agent` alone; nothing else is to be done",
            )),
            Kept::Changed { by: author, first } => {
                tracing::warn!(by = by(author), place = first.place, "the firewall table was changed");
                if self.repairs_by_itself() {
                    self.sweep_wanted.store(true, Ordering::Release);
                }
            }
            Kept::Expired { id } => self.note(finding(
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

    pub(super) fn firewall_status(&self) -> Option<FirewallStatus> {
        let firewall = self.firewall.as_ref()?;
        let confirmed: Option<ContentHash> = firewall.confirmed().ok()?.map(|rules| rules.hash());
        let trial = firewall.trial().ok()?;
        let trial = trial.map(|(trial, remaining_ms)| TrialStatus { id: trial.id, remaining_ms });
        Some(FirewallStatus { confirmed, trial })
    }

    /// Refuses a change while firewall rules are on trial: what a confirmation would then prove is anybody's guess.
    ///
    /// # Errors
    /// [`ApplierError::Conflict`], naming the trial.
    pub(super) fn check_no_trial(&self) -> Result<(), ApplierError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        match firewall.trial().map_err(applier_error)? {
            None => Ok(()),
            Some((trial, remaining_ms)) => {
                Err(applier_error(FirewallError::Pending { id: trial.id, remaining_ms }))
            }
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

    /// Puts the rules of `target` on trial; returns the trial's id.
    pub(super) async fn try_firewall(&self, target: &Target) -> Result<Option<String>, String> {
        let (Some(firewall), Some(rules)) = (&self.firewall, self.firewall_rules(target)) else {
            return Ok(None);
        };
        let what = What::Firewall { rules: format!("sha256 {}, on trial", rules.hash()) };
        let announced = self.audit.announce(what).map_err(|error| host_state::chain(&error))?;
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

    /// Ends a trial as `order` says, once it is proven that the authority says so.
    ///
    /// # Errors
    /// [`ApplierError`].
    pub(super) async fn end_trial(
        &self,
        order: TrialWish,
        action: TrialAction,
        caller: &Caller,
    ) -> Result<(), ApplierError> {
        let TrialWish { trial_id, signature } = order;
        let record = self.claimed()?;
        let contents = self.ledger.read().unwrap_or_default();
        if !is_signed(&admit::current_trust(&record, &contents), action, &trial_id, &signature) {
            let text =
                format!("the end of trial `{trial_id}` is not signed by this authority's document key");
            return Err(ApplierError::InvalidDocument(text));
        }
        let Some(firewall) = &self.firewall else {
            return Err(ApplierError::Conflict(format!("no change is on trial, so not `{trial_id}` either")));
        };
        tracing::info!(role = %caller.role, serial = caller.serial, trial_id, ?action, "end of a trial");
        let _work = self.work().await;
        let Caller { role, serial, opened_ms } = caller;
        let _acting = self.audit.acting(Who::Caller {
            role: role.to_string(),
            serial: serial.clone(),
            writer: String::new(),
        });
        let rules = match action {
            TrialAction::Confirm => format!("those on trial as {trial_id}"),
            TrialAction::Cancel => format!("those before trial {trial_id}"),
        };
        let announced = self.audit.announce(What::Firewall { rules: clip(&rules) })?;
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
        | FirewallError::OldConnection { .. } => ApplierError::Conflict(text),
        FirewallError::File(_)
        | FirewallError::Nft(_)
        | FirewallError::Kept(_)
        | FirewallError::Random(_) => ApplierError::Failed(text),
    }
}
