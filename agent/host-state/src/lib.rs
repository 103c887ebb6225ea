//! Desired, observed, difference, plan and drift of one host. Pure and total.
//!
//! The way through this crate is the way of the data:
//!
//! ```text
//! document  what a provider signed: sections with one owner and one generation each
//! admission which of two writers wins, decided from headers alone
//! desired   what the sections, taken together, ask of the host
//! observed  what the host is
//! diff      the one place where desired and observed are compared
//! plan      differences ordered into steps        drift   differences told to people
//! report    what an agent answers            firewall  rules of managed ports, and the table they make
//! preflight facts of a host as checks: whether it is fit to keep data
//! audit     the record of every change, and what shows that it was touched
//! ```
//!
//! Nothing here reads a clock, a file, the environment or randomness, and nothing here decides *when*.
//!
//! # Current limitations
//! - Accounts that nobody declares are findings: deleting one takes the operator's key, which no host has.
//! - A server whose settings nobody knows is restarted, because a reload may be refused as a whole.

pub mod admission;
pub mod audit;
mod chain;
mod configuration;
pub mod desired;
pub mod diff;
pub mod document;
mod download_url;
pub mod drift;
pub mod firewall;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod layout;
pub mod lease;
pub mod merge;
pub mod observed;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod unit;

pub use chain::chain;
pub use desired::Desired;
pub use diff::{Difference, diff};
pub use document::{SectionHeader, SectionKind, SignedSection};
pub use download_url::{DownloadUrl, DownloadUrlError, MAX_URL_LEN};
pub use drift::{Drift, Finding, drift};
pub use observed::Observed;
pub use plan::{Plan, Step, plan};
pub use report::Report;
