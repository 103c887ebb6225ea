//! Managed resources, one file each. A file parses its block once, plans without dialling, and hands the work on.

pub mod account;
pub mod authority;
pub mod cluster;
pub mod gated;
pub mod gateway;
pub mod host_enrollment;
mod left;
pub mod meaning;
pub mod members;
pub mod natural_id;
pub mod reading;
pub mod stream;
#[cfg(test)]
mod told_at;
pub mod trust;
pub mod user;

/// Largest count that NATS keeps: its numbers are signed.
pub(crate) const MAX_COUNT: u64 = i64::MAX as u64;

/// The warning that goes with state that is kept because nobody answered: unreachable is not deleted.
pub(crate) fn kept(mut problem: tfplug::Diagnostic) -> tfplug::Diagnostic {
    problem.severity = tfplug::Severity::Warning;
    problem.detail.push_str(" Its state is kept as it was.");
    problem
}
