//! The fake once it is claimed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use host_state::document::SectionKind;
use host_state::firewall::{TRIAL_DOMAIN, TrialAction};
use host_state::lease::{Wish, decide, is_held_by};
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, Outcome};
use host_state::{Plan, SignedSection};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{Claimed, Shared, tunnel};
use crate::order::{
    ApplyMode, ApplyOrder, Caller, LEASE_DOMAIN, LeaseAnswer, LeaseOrder, Observation, ProbeOrder,
    ProbeResult, TrialOrder, TunnelRequest, TunnelResponse,
};
use crate::server::{AgentService, Method, ServiceError};

pub(super) struct Service {
    shared: Arc<Shared>,
    claimed: Arc<Claimed>,
    started: Instant,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, claimed: Arc<Claimed>) -> Service {
        Service { shared, claimed, started: Instant::now() }
    }

    /// Notes the call, is slow, fails: as the script says.
    async fn enter(&self, method: Method) -> Result<(), ServiceError> {
        let (delay, failure) = {
            let mut model = self.shared.model();
            model.calls.push(method);
            let script = self.shared.script();
            let from = script.fail_from.as_ref().and_then(|from| from.of(&model.calls));
            (script.delay, script.fail.get(&method).cloned().or(from))
        };
        tokio::time::sleep(delay).await;
        failure.map_or(Ok(()), Err)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn observation(&self, audit_seq: u64) -> Observation {
        let script = self.shared.script().clone();
        let model = self.shared.model();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let report = model.report(&self.claimed.claim, &self.shared.secret.keys(), &script, now);
        let at = audit_seq.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        let audit_hash = at.and_then(|at| script.audit.get(at)).cloned();
        Observation { report, sections: model.sections(), audit_hash }
    }

    /// A lease is needed but for claims alone, and for stages of a host that is not released.
    fn check_lease(&self, order: &ApplyOrder) -> Result<(), ServiceError> {
        let only_claims = is_claims_only(order);
        let model = self.shared.model();
        let is_free = only_claims || (order.mode == ApplyMode::Stage && !model.is_released());
        let lease = model.lease.as_ref();
        if is_free || is_held_by(lease, &order.lease_id, self.now_ms()) {
            return Ok(());
        }
        let holder = lease.map_or("nobody", |lease| &lease.holder);
        Err(ServiceError::Leased(format!("the lease is held by {holder}")))
    }
}

impl Service {
    /// When the trial began that `order` names and this authority's key signed to end, by [`boot_ms`](crate::order::boot_ms).
    fn pending(&self, order: &TrialOrder, action: TrialAction) -> Result<u64, ServiceError> {
        let TrialOrder { trial_id, signature } = order;
        let signature = data_encoding::BASE64.decode(signature.as_bytes()).ok();
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let (trust, signed) = (&self.claimed.claim.trust, action.signed_bytes(trial_id));
        if !signature.is_some_and(|signature| trust.verify_document(TRIAL_DOMAIN, &signed, &signature)) {
            let text = "the end of a trial is not signed by this authority's document key";
            return Err(ServiceError::Invalid(text.to_owned()));
        }
        match &self.shared.model().trial {
            Some(trial) if trial.id == *trial_id => Ok(trial.begun_ms),
            Some(_) | None => Err(ServiceError::Conflict(format!("no change is on trial as `{trial_id}`"))),
        }
    }
}

#[async_trait]
impl AgentService for Service {
    async fn admit_peer(&self, spki_pin: &str) -> Result<(), ServiceError> {
        if self.shared.script().peers.contains(spki_pin) {
            return Ok(());
        }
        Err(ServiceError::Denied(format!("the key `{spki_pin}` is none of the script's peers")))
    }

    async fn observe(&self, audit_seq: u64) -> Result<Observation, ServiceError> {
        self.enter(Method::Observe).await?;
        Ok(self.observation(audit_seq))
    }

    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ServiceError> {
        self.enter(Method::Preview).await?;
        let model = self.shared.model();
        let sections = model.admitted(&self.claimed.claim, sections)?;
        model.plan(&sections)
    }

    async fn preflight(&self) -> Result<Preflight, ServiceError> {
        self.enter(Method::Preflight).await?;
        Ok(self.shared.script().preflight.clone())
    }

    async fn apply(
        &self,
        order: ApplyOrder,
        _caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ServiceError> {
        self.enter(Method::Apply).await?;
        self.check_lease(&order)?;
        let only_claims = is_claims_only(&order);
        let plan = {
            let mut model = self.shared.model();
            let sections = model.admitted(&self.claimed.claim, order.sections)?;
            let plan = model.plan(&sections)?;
            model.accept(sections);
            plan
        };
        let outcome = match order.mode {
            ApplyMode::Stage => Outcome::Staged,
            ApplyMode::Roll if only_claims => {
                // As a real agent: accounts go to the server, and what is staged stays staged.
                let outcome = self.shared.script().outcome.clone();
                if outcome.is_none() {
                    self.shared.model().confirm_claims();
                    self.shared.script().drift.retain(|drift| drift.item != "claims");
                }
                outcome.unwrap_or(Outcome::Confirmed)
            }
            ApplyMode::Roll => {
                for step in &plan.steps {
                    let step = step.to_string();
                    // Goes on when nobody listens, as a real agent does.
                    let _ = events.send(ApplyEvent::Started { step: step.clone() }).await;
                    let _ = events.send(ApplyEvent::Done { step, millis: 1 }).await;
                }
                let (outcome, stays_down) = {
                    let script = self.shared.script();
                    (script.outcome.clone(), script.stays_down)
                };
                if outcome.is_none() {
                    self.shared.model().roll(stays_down)?;
                    if self.shared.script().trials {
                        self.shared.model().begin_trial();
                    }
                    self.shared.script().drift.clear();
                }
                outcome.unwrap_or(Outcome::Confirmed)
            }
        };
        let report = Box::new(self.observation(0).report);
        let _ = events.send(ApplyEvent::Finished { outcome, report }).await;
        Ok(())
    }

    async fn confirm(&self, order: TrialOrder, caller: Caller) -> Result<(), ServiceError> {
        self.enter(Method::Confirm).await?;
        let begun_ms = self.pending(&order, TrialAction::Confirm)?;
        if caller.opened_ms <= begun_ms {
            let text = format!("the connection is older than trial `{}`", order.trial_id);
            return Err(ServiceError::Conflict(text));
        }
        self.shared.model().trial = None;
        Ok(())
    }

    async fn cancel(&self, order: TrialOrder, _caller: Caller) -> Result<(), ServiceError> {
        self.enter(Method::Cancel).await?;
        self.pending(&order, TrialAction::Cancel)?;
        self.shared.model().trial = None;
        Ok(())
    }

    async fn lease(&self, order: LeaseOrder, _caller: Caller) -> Result<LeaseAnswer, ServiceError> {
        self.enter(Method::Lease).await?;
        let LeaseOrder { lease_id, holder, action, ttl_ms, signature } = order;
        let signed = LeaseOrder::signed_bytes(&lease_id, &holder);
        let signature = data_encoding::BASE64.decode(signature.as_bytes()).ok();
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let trust = &self.claimed.claim.trust;
        if !signature.is_some_and(|signature| trust.verify_document(LEASE_DOMAIN, &signed, &signature)) {
            let text = "the lease is not signed by this authority's document key";
            return Err(ServiceError::Invalid(text.to_owned()));
        }
        let mut model = self.shared.model();
        let wish = Wish { lease_id, holder, action, ttl_ms };
        let (lease, answer) = decide(model.lease.as_ref(), &wish, self.now_ms());
        model.lease = lease;
        Ok(answer)
    }

    async fn probe(&self, order: ProbeOrder) -> Result<Vec<ProbeResult>, ServiceError> {
        self.enter(Method::Probe).await?;
        let unreachable = self.shared.script().unreachable.clone();
        let result = |target: String| {
            let is_reached = !unreachable.contains(&target);
            let reached = if is_reached { Ok(()) } else { Err("connection refused".to_owned()) };
            ProbeResult { target, reached }
        };
        Ok(order.targets.into_iter().map(result).collect())
    }

    async fn claims(&self) -> Result<Option<SignedSection>, ServiceError> {
        self.enter(Method::Claims).await?;
        let forged = self.shared.script().claims.clone();
        Ok(forged.or_else(|| self.shared.model().section(SectionKind::Claims)))
    }

    async fn tunnel(
        &self,
        _caller: Caller,
        requests: mpsc::Receiver<TunnelRequest>,
        responses: mpsc::Sender<TunnelResponse>,
    ) -> Result<(), ServiceError> {
        self.enter(Method::Tunnel).await?;
        let name = self.claimed.claim.names.host.to_string();
        tunnel::serve(self.shared.clone(), name, requests, responses).await
    }
}

/// Whether an order is about accounts alone.
fn is_claims_only(order: &ApplyOrder) -> bool {
    let mut kinds = order.sections.iter().map(|section| section.header.section);
    !order.sections.is_empty() && kinds.all(|kind| kind == SectionKind::Claims)
}
