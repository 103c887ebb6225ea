//! The trait of an ephemeral resource: values that live for one run and never enter state or plan.

use std::time::SystemTime;

use async_trait::async_trait;

use crate::{Diagnostics, Failure, PrivateState, Schema, Stop, Value};

/// What Terraform says when it opens an ephemeral resource.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The block, wholly known.
    pub config: Value,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// An open ephemeral resource.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Conforms to the schema. Attributes left out are null.
    pub result: Value,
    /// When Terraform is to call [`EphemeralResource::renew`]; `None` for never.
    pub renew_at: Option<SystemTime>,
    /// Handed to renew and close.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

impl From<Value> for Opened {
    fn from(result: Value) -> Self {
        Self { result, renew_at: None, private: PrivateState::new(), diagnostics: Diagnostics::new() }
    }
}

/// What Terraform says when the time to renew has come.
#[derive(Clone, Debug)]
pub struct RenewRequest {
    /// From the last open or renew.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// A renewed ephemeral resource.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// When to renew next; `None` for never.
    pub renew_at: Option<SystemTime>,
    /// Replaces what was there.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// What Terraform says when nothing needs the value any more.
#[derive(Clone, Debug)]
pub struct CloseRequest {
    /// From the last open or renew.
    pub private: PrivateState,
    /// Tripped already when Terraform was interrupted.
    pub stop: Stop,
}

/// One ephemeral resource.
#[async_trait]
pub trait EphemeralResource: Send + Sync {
    /// Full name, e.g. `nats_user_credentials`.
    fn type_name(&self) -> &str;

    /// Its schema. No write-only attributes.
    fn schema(&self) -> Schema;

    /// Checks a block, all problems at once. Called several times, with unknowns in it.
    async fn validate(&self, config: &Value) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Makes the value.
    ///
    /// # Errors
    /// When it cannot be made.
    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure>;

    /// Prolongs it. Called only after [`Opened::renew_at`].
    ///
    /// # Errors
    /// When it cannot be prolonged. The default refuses, for those that never ask for renewal.
    async fn renew(&self, request: RenewRequest) -> Result<Renewed, Failure> {
        let _ = request;
        Err(Failure::new(
            format!("`{}` cannot be renewed", self.type_name()),
            "It never asks for renewal; this is a bug in the provider.",
        ))
    }

    /// Ends it.
    async fn close(&self, request: CloseRequest) -> Diagnostics {
        let _ = request;
        Diagnostics::new()
    }
}
