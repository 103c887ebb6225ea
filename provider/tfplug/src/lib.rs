//! Terraform plugin protocol 6 as Terraform 1.11 speaks it: values, schemas, planning rules, the server
//! and its handshake. Knows nothing of NATS, or of any other thing a provider manages.
//!
//! A provider implements [`Provider`], [`Resource`], [`DataSource`], [`EphemeralResource`] and
//! [`Function`] over plain [`Value`]s and calls [`serve()`]. Everything that Terraform's core demands
//! of every provider alike lives here once: null and unknown, defaults, semantic equality, write-only
//! attributes, replacement, and the checks core makes on each answer. A provider that breaks one of them
//! gets an error diagnostic that says so before Terraform sees the answer.
//!
//! # Pure and impure
//! The modules [`value`], [`schema`], [`plan`] and [`diagnostics`] use no async runtime, file, clock,
//! environment or randomness. All else (`provider`, `resource`, ... are only traits; `rpc`, `serve`,
//! `testing`) may.
//!
//! # Current limitations
//! - Nested blocks do not exist: nested attributes (protocol 6) say the same and need one set of rules.
//! - Resource identity, list resources, actions and state stores (protocol 6.9 and later) answer
//!   `Unimplemented`, which newer Terraform takes as "this provider has none".
//! - Deferred actions are never answered: no released Terraform asks for them.
//! - Unix sockets only, so no Windows.

pub mod diagnostics;
pub mod plan;
pub mod schema;
pub mod testing;
pub mod value;

mod convert;
mod data_source;
mod engine;
mod ephemeral;
mod function;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod private;
mod proto;
mod provider;
mod resource;
mod rpc;
mod serve;
mod stop;

pub use data_source::{DataRead, DataSource, DataSourceRequest};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use ephemeral::{CloseRequest, EphemeralResource, OpenRequest, Opened, RenewRequest, Renewed};
pub use function::{Function, FunctionError, Parameter, Signature};
pub use private::PrivateState;
pub use provider::{ConfigureRequest, Provider};
pub use resource::{
    CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Failure, ImportRequest, Imported,
    MoveRequest, Moved, PlanRequest, PlanResponse, ReadOutcome, ReadRequest, ReadResponse, Resource,
    UpdateRequest, Updated, UpgradeRequest,
};
pub use schema::{Attribute, Block, Nesting, Schema};
pub use serve::serve;
pub use stop::Stop;
pub use value::{Number, Path, Refinement, Type, Value};
