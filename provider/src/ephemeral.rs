//! Ephemeral resources: secrets that live for one run and enter neither state nor plan.

pub mod host_enrollment;
pub mod user_credentials;
