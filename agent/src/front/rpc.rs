//! A claimed agent's calls, one file each: decode, ask the applier or the network, encode.
//!
//! Roles were checked before any of these is called (`nats_agent_api::server::is_allowed`); signatures are the
//! applier's to check.

mod admit_peer;
mod apply;
mod claims;
mod lease;
mod looks;
mod observe;
mod preflight;
mod preview;
mod probe;
mod trial;
mod tunnel;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use host_state::preflight::Preflight;
use host_state::report::ApplyEvent;
use host_state::{Plan, SignedSection};
use identity::Role;
use nats_agent_api::order::{
    ApplyOrder, Caller, LeaseAnswer, LeaseOrder, Observation, ProbeOrder, ProbeResult, TrialOrder,
    TunnelRequest, TunnelResponse,
};
use nats_agent_api::server::{AgentService, ServiceError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::roles::{self, Applier, ApplierError};
use looks::Shared;

/// Most tunnels of operators at once, and of all others: each is a connection to nats-server, and lasts a moment longer
/// than its call when the caller goes away.
pub const MAX_TUNNELS: usize = 32;

/// The claimed agent.
pub struct Agent {
    applier: Arc<dyn Applier>,
    sweeps: Shared<Observation>,
    claims: Shared<Option<SignedSection>>,
    pins: Shared<BTreeSet<String>>,
    owners_tunnels: Semaphore,
    others_tunnels: Semaphore,
    applies: TaskTracker,
}

impl Agent {
    /// For the host that `applier` keeps. `applies` holds each running apply, so that the process can let it end.
    #[must_use]
    pub fn new(applier: Arc<dyn Applier>, applies: TaskTracker) -> Agent {
        Agent {
            applier,
            sweeps: Shared::default(),
            claims: Shared::default(),
            pins: Shared::default(),
            owners_tunnels: Semaphore::new(MAX_TUNNELS),
            others_tunnels: Semaphore::new(MAX_TUNNELS),
            applies,
        }
    }
}

#[async_trait]
impl AgentService for Agent {
    async fn admit_peer(&self, spki_pin: &str) -> Result<(), ServiceError> {
        admit_peer::admit_peer(self.applier.as_ref(), &self.pins, spki_pin).await
    }

    async fn observe(&self, audit_seq: u64) -> Result<Observation, ServiceError> {
        observe::observe(self.applier.as_ref(), &self.sweeps, audit_seq).await
    }

    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ServiceError> {
        preview::preview(self.applier.as_ref(), sections).await
    }

    async fn preflight(&self) -> Result<Preflight, ServiceError> {
        preflight::preflight(self.applier.as_ref()).await
    }

    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ServiceError> {
        apply::apply(&self.applier, &self.applies, order, caller, events).await
    }

    async fn confirm(&self, order: TrialOrder, caller: Caller) -> Result<(), ServiceError> {
        trial::confirm(self.applier.as_ref(), order, caller).await
    }

    async fn cancel(&self, order: TrialOrder, caller: Caller) -> Result<(), ServiceError> {
        trial::cancel(self.applier.as_ref(), order, caller).await
    }

    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ServiceError> {
        lease::lease(self.applier.as_ref(), order, caller).await
    }

    async fn probe(&self, order: ProbeOrder) -> Result<Vec<ProbeResult>, ServiceError> {
        probe::probe(order).await
    }

    async fn claims(&self) -> Result<Option<SignedSection>, ServiceError> {
        claims::claims(self.applier.as_ref(), &self.claims).await
    }

    async fn tunnel(
        &self,
        caller: Caller,
        requests: mpsc::Receiver<TunnelRequest>,
        responses: mpsc::Sender<TunnelResponse>,
    ) -> Result<(), ServiceError> {
        let tunnels = match caller.role {
            Role::Operator => &self.owners_tunnels,
            Role::Reader | Role::Account(_) | Role::Peer => &self.others_tunnels,
        };
        let Ok(_one_of_few) = tunnels.try_acquire() else {
            return Err(ServiceError::Failed(format!("too many tunnels at once, at most {MAX_TUNNELS}")));
        };
        tunnel::tunnel(self.applier.as_ref(), caller, requests, responses).await
    }
}

/// The one place where the applier's errors become the API's.
pub(super) fn service_error(error: ApplierError) -> ServiceError {
    match error {
        ApplierError::NotClaimed(text) => ServiceError::NotClaimed(text),
        ApplierError::InvalidDocument(text) => ServiceError::Invalid(text),
        ApplierError::Conflict(text) => ServiceError::Conflict(text),
        ApplierError::Leased(text) => ServiceError::Leased(text),
        ApplierError::Frozen(text) => ServiceError::Frozen(text),
        ApplierError::Failed(text) => ServiceError::Failed(text),
    }
}

/// A caller in the applier's words.
fn caller_of(caller: Caller) -> roles::Caller {
    // Whose key it is matters where callers are let in, which is over by now.
    let Caller { role, serial, spki_pin: _, opened_ms } = caller;
    roles::Caller { role, serial, opened_ms }
}
