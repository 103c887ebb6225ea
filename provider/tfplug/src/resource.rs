//! The trait of a managed resource and what goes in and out of each of its operations.
//!
//! The types hold the house rules: a failed create carries no state, a failed update keeps the prior one,
//! and a read that got no answer keeps everything.

use async_trait::async_trait;

use crate::value::decode_state;
use crate::{Diagnostic, Diagnostics, Path, PrivateState, Schema, Stop, Value};

/// What is planned so far, for a resource to look at and refine.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// State before; `None` for a create (a replacement is planned as a create too).
    pub prior: Option<Value>,
    /// The planned state by the generic rules: configuration, defaults, prior values kept where they mean
    /// the same, unknown where only apply can tell. Write-only attributes are null.
    pub proposed: Value,
    /// The block as written. May hold unknowns, and write-only values.
    pub config: Value,
    /// Private bytes from state.
    pub private: PrivateState,
    /// Attributes marked `requires_replace` whose value changes.
    pub requires_replace: Vec<Path>,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// The plan.
#[derive(Clone, Debug)]
pub struct PlanResponse {
    /// What apply will produce. May differ from `proposed` only in computed attributes the configuration
    /// leaves out.
    pub planned: Value,
    /// Attributes whose change cannot be done in place. Added to those found by the generic rules.
    pub requires_replace: Vec<Path>,
    /// Handed to apply. Terraform 1.11 does not hand it to the second plan.
    pub private: PrivateState,
    /// Errors stop the plan.
    pub diagnostics: Diagnostics,
}

impl From<PlanRequest> for PlanResponse {
    /// Takes the generic plan as it is.
    fn from(request: PlanRequest) -> Self {
        let PlanRequest { prior: _, proposed, config: _, private, requires_replace, stop: _ } = request;
        Self { planned: proposed, requires_replace, private, diagnostics: Diagnostics::new() }
    }
}

/// A destroy about to be planned.
#[derive(Clone, Debug)]
pub struct DestroyPlanRequest {
    /// State before.
    pub prior: Value,
    /// Private bytes from state.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// A create to be done.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// What was planned; unknowns are to be filled in.
    pub planned: Value,
    /// The block as written, with write-only values.
    pub config: Value,
    /// From the plan.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// A create that was done.
#[derive(Clone, Debug)]
pub struct Created {
    /// The planned state with all unknowns filled in.
    pub state: Value,
    /// Goes into state.
    pub private: PrivateState,
    /// Warnings. An error here taints the object: the next apply destroys and recreates it.
    pub diagnostics: Diagnostics,
}

/// An update to be done.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// State before.
    pub prior: Value,
    /// What was planned; unknowns are to be filled in.
    pub planned: Value,
    /// The block as written, with write-only values.
    pub config: Value,
    /// From the plan.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// An update that was done.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The planned state with all unknowns filled in.
    pub state: Value,
    /// Goes into state.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// A delete to be done.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// State before.
    pub prior: Value,
    /// From the destroy plan: what state held.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// A delete that was done.
#[derive(Clone, Debug, Default)]
pub struct Deleted {
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// An operation that did not succeed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why; at least one error.
    pub diagnostics: Diagnostics,
    /// The truth after a failed update or delete, where it is not the prior state. Ignored for a create,
    /// which leaves no state: Terraform would taint it and destroy it at the next apply.
    pub state: Option<Value>,
    /// Private bytes after a failed update or delete; `None` keeps the prior ones. Ignored for a create.
    pub private: Option<PrivateState>,
}

impl Failure {
    /// With one error about the whole block.
    pub fn new(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Diagnostic::error(summary, detail).into()
    }

    /// The same with the state as it is now.
    #[must_use]
    pub fn with_state(mut self, state: Value) -> Self {
        self.state = Some(state);
        self
    }

    /// The same with progress to remember.
    #[must_use]
    pub fn with_private(mut self, private: PrivateState) -> Self {
        self.private = Some(private);
        self
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics::from(diagnostic).into()
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self { diagnostics, state: None, private: None }
    }
}

/// A read to be done.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// State before. After an import only what the import set.
    pub state: Value,
    /// Private bytes from state.
    pub private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum ReadOutcome {
    /// It exists.
    Found {
        /// As it is now. Values that mean the same as before keep their form by themselves.
        state: Value,
        /// Replaces the private bytes.
        private: PrivateState,
    },
    /// An authority says that it does not exist; Terraform will plan a create.
    Gone,
    /// Nobody answered: state and private bytes stay as they were. Say why in a warning.
    Unanswered,
}

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct ReadResponse {
    /// What was found.
    pub outcome: ReadOutcome,
    /// Errors stop the plan.
    pub diagnostics: Diagnostics,
}

impl ReadResponse {
    /// It exists, as `state`.
    pub fn found(state: Value, private: PrivateState) -> Self {
        Self { outcome: ReadOutcome::Found { state, private }, diagnostics: Diagnostics::new() }
    }

    /// It does not exist.
    pub fn gone() -> Self {
        Self { outcome: ReadOutcome::Gone, diagnostics: Diagnostics::new() }
    }

    /// Nobody answered; `diagnostics` say why.
    pub fn unanswered(diagnostics: Diagnostics) -> Self {
        Self { outcome: ReadOutcome::Unanswered, diagnostics }
    }
}

/// An import to be done.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// As the person wrote it.
    pub id: String,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// What an import found. Terraform reads it right after.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What is known by the id alone; attributes left out are null.
    pub state: Value,
    /// Handed to the read.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

impl From<Value> for Imported {
    fn from(state: Value) -> Self {
        Self { state, private: PrivateState::new(), diagnostics: Diagnostics::new() }
    }
}

/// State as it lies in the state file, perhaps of an older schema.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    /// Schema version it was written with.
    pub version: i64,
    /// JSON by that schema.
    pub json: Vec<u8>,
}

/// State of another resource type that a `moved` block brings here.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// Full address of the provider it comes from.
    pub source_provider: String,
    /// Type it comes from.
    pub source_type: String,
    /// Schema version it was written with.
    pub source_version: i64,
    /// JSON by that schema.
    pub source_json: Vec<u8>,
    /// Private bytes it had.
    pub source_private: PrivateState,
    /// Trips when Terraform is interrupted.
    pub stop: Stop,
}

/// A state that was moved here.
#[derive(Clone, Debug)]
pub struct Moved {
    /// In this type's schema; attributes left out are null.
    pub state: Value,
    /// Goes into state.
    pub private: PrivateState,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

/// One managed resource.
///
/// All values conform to [`Resource::schema`]. In answers, object attributes left out are null and
/// write-only attributes are nulled by the server.
#[async_trait]
pub trait Resource: Send + Sync {
    /// Full name, e.g. `nats_cluster`.
    fn type_name(&self) -> &str;

    /// Its schema; must not change while the server runs.
    fn schema(&self) -> Schema;

    /// Checks a block, all problems at once. Called several times, with unknowns in it.
    async fn validate(&self, config: &Value) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Refines the generic plan of a create or update. Must work with nothing running. Called again in
    /// apply: what was known must come out the same.
    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        request.into()
    }

    /// Looks at a destroy before it is done; an error refuses it.
    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        let _ = request;
        Diagnostics::new()
    }

    /// Makes it. A crash half-way leaves no state, so the next create must be able to adopt what exists.
    ///
    /// # Errors
    /// When it was not made, or not wholly; no state is kept.
    async fn create(&self, request: CreateRequest) -> Result<Created, Failure>;

    /// Reads it.
    async fn read(&self, request: ReadRequest) -> ReadResponse;

    /// Changes it in place.
    ///
    /// # Errors
    /// When it was not changed, or not wholly; the prior state is kept unless the failure brings another.
    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure>;

    /// Removes it. Succeeds when it is gone already.
    ///
    /// # Errors
    /// When it was not removed; the prior state is kept unless the failure brings another.
    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure>;

    /// Finds one that exists.
    ///
    /// # Errors
    /// When `id` names none. The default refuses.
    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let _ = request;
        Err(Failure::new(format!("`{}` cannot be imported", self.type_name()), ""))
    }

    /// Brings stored state to the current schema. Called for every instance on every run, also when the
    /// version is current. The default reads the JSON by the current schema: attributes it does not know
    /// are dropped, missing ones are null.
    ///
    /// # Errors
    /// When the state cannot be read.
    async fn upgrade_state(&self, request: UpgradeRequest) -> Result<Value, Failure> {
        let schema = self.schema();
        decode_state(&request.json, &schema.block().implied_type()).map_err(|error| {
            Failure::new(
                format!("State of `{}` cannot be read", self.type_name()),
                format!(
                    "It was written with schema version {}; this provider has version {}: {error}.",
                    request.version,
                    schema.version()
                ),
            )
        })
    }

    /// Takes over the state of another resource type.
    ///
    /// # Errors
    /// When it cannot. The default refuses.
    async fn move_state(&self, request: MoveRequest) -> Result<Moved, Failure> {
        Err(Failure::new(
            format!("`{}` cannot become `{}`", request.source_type, self.type_name()),
            "No move between these two resource types is known. Use `removed` and `import` blocks instead.",
        ))
    }
}
