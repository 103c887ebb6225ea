//! The trait of a data source: something read, never changed.

use async_trait::async_trait;

use crate::{Diagnostics, Failure, Schema, Stop, Value};

/// What Terraform says when it reads a data source.
#[derive(Clone, Debug)]
pub struct DataSourceRequest {
    /// The block, wholly known.
    pub config: Value,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct DataRead {
    /// Conforms to the schema, wholly known, not null. Attributes left out are null.
    pub state: Value,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

impl From<Value> for DataRead {
    fn from(state: Value) -> Self {
        Self { state, diagnostics: Diagnostics::new() }
    }
}

/// One data source.
#[async_trait]
pub trait DataSource: Send + Sync {
    /// Full name, e.g. `nats_supercluster`.
    fn type_name(&self) -> &str;

    /// Its schema. No write-only attributes.
    fn schema(&self) -> Schema;

    /// Checks a block, all problems at once. Called several times, with unknowns in it.
    async fn validate(&self, config: &Value) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read; the plan then fails.
    async fn read(&self, request: DataSourceRequest) -> Result<DataRead, Failure>;
}
