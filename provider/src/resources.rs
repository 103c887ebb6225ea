//! Managed resources, one file each. A file parses its block once, plans without dialling, and hands the work on.

pub mod account;
pub mod authority;
pub mod cluster;
pub mod gateway;
pub mod meaning;
pub mod natural_id;
pub mod stream;
pub mod user;
