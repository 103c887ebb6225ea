//! What lesser keys may not do is refused here, before a resource begins: at plan for an account's key, which plans only
//! what it can apply, and at apply for a reader's, which plans everything.
//!
//! This is for people to read at once what to do. Whoever goes around it meets agents and servers that refuse.

use std::sync::Arc;

use async_trait::async_trait;
use tfplug::{
    CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, MoveRequest, Moved, PlanRequest, PlanResponse, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, UpgradeRequest, Value,
};

use crate::keys::Keys;
use crate::session::SessionSlot;

/// A resource behind its gate.
pub struct Gated {
    inner: Arc<dyn Resource>,
    sessions: SessionSlot,
}

impl Gated {
    /// `inner` for those whose keys may write it.
    #[must_use]
    pub fn new(inner: Arc<dyn Resource>, sessions: SessionSlot) -> Gated {
        Gated { inner, sessions }
    }

    /// Why the keys of this process may not write this block.
    fn refusal(&self, block: &Value) -> Option<Diagnostic> {
        let session = self.sessions.session().ok()?;
        session.keys().refusal(self.inner.type_name(), block)
    }

    /// The same at plan.
    fn refusal_at_plan(&self, block: &Value) -> Option<Diagnostic> {
        let session = self.sessions.session().ok()?;
        match session.keys() {
            Keys::Account(_) => self.refusal(block),
            Keys::Root(_) | Keys::Reader(_) | Keys::Unknown | Keys::Missing => None,
        }
    }
}

#[async_trait]
impl Resource for Gated {
    fn type_name(&self) -> &str {
        self.inner.type_name()
    }

    fn schema(&self) -> Schema {
        self.inner.schema()
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        self.inner.validate(config).await
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = self.inner.plan(request).await;
        if prior.as_ref() != Some(&response.planned) {
            let blocks = prior.iter().chain(std::iter::once(&response.planned));
            let refusal = blocks.filter_map(|block| self.refusal_at_plan(block)).next();
            response.diagnostics.extend(refusal);
        }
        response
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        match self.refusal_at_plan(&request.prior) {
            Some(refusal) => refusal.into(),
            None => self.inner.plan_destroy(request).await,
        }
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        match self.refusal(&request.planned) {
            Some(refusal) => Err(refusal.into()),
            None => self.inner.create(request).await,
        }
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        self.inner.read(request).await
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        match self.refusal(&request.prior).or_else(|| self.refusal(&request.planned)) {
            Some(refusal) => Err(refusal.into()),
            None => self.inner.update(request).await,
        }
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        match self.refusal(&request.prior) {
            Some(refusal) => Err(refusal.into()),
            None => self.inner.delete(request).await,
        }
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        self.inner.import(request).await
    }

    async fn upgrade_state(&self, request: UpgradeRequest) -> Result<Value, Failure> {
        self.inner.upgrade_state(request).await
    }

    async fn move_state(&self, request: MoveRequest) -> Result<Moved, Failure> {
        self.inner.move_state(request).await
    }
}
