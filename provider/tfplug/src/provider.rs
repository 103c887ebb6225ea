//! The trait a provider implements: its schema, what it offers, and its configuration.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{DataSource, Diagnostics, EphemeralResource, Function, Resource, Schema, Stop, Value};

/// What Terraform says when it configures the provider.
#[derive(Clone, Debug)]
pub struct ConfigureRequest {
    /// Version of the Terraform that calls, e.g. `1.11.4`.
    pub terraform_version: String,
    /// The `provider` block, conforming to [`Provider::schema`]. During plan it may hold unknowns.
    pub config: Value,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// One provider: what is behind a `provider` block.
///
/// The lists are asked for once, when the server starts; schemas must not change while it runs.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Schema of the `provider` block. No write-only attributes.
    fn schema(&self) -> Schema;

    /// All managed resources.
    fn resources(&self) -> Vec<Arc<dyn Resource>>;

    /// All data sources.
    fn data_sources(&self) -> Vec<Arc<dyn DataSource>> {
        Vec::new()
    }

    /// All ephemeral resources.
    fn ephemeral_resources(&self) -> Vec<Arc<dyn EphemeralResource>> {
        Vec::new()
    }

    /// All functions.
    fn functions(&self) -> Vec<Arc<dyn Function>> {
        Vec::new()
    }

    /// Checks a `provider` block, all problems at once. Called several times, with unknowns in it.
    async fn validate(&self, config: &Value) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Takes the configuration. Must not dial: a plan works with nothing running.
    async fn configure(&self, request: ConfigureRequest) -> Diagnostics;

    /// Called after the [`Stop`] of every request was tripped. Must return at once.
    async fn stop(&self) {}
}
