//! The rules every provider has in common, written once: how a plan follows from configuration and prior
//! state, what core demands of each answer, and what is nulled or kept before an answer leaves. Pure.

mod compatible;
mod complete;
mod generic;
mod meaning;
mod replace;
#[cfg(test)]
mod tests;
mod valid;
mod violation;
mod write_only;

pub use compatible::check_result;
pub use complete::complete;
pub use generic::{Planned, plan};
pub use meaning::keep_meaning;
pub use replace::check_replace_paths;
pub use valid::check_plan;
pub use violation::{Violation, check_wholly_known, check_write_only};
pub use write_only::without_write_only;
