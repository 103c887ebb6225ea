//! nats-server itself: its binary, its check of a configuration, its process and what it complained about.

pub mod binary;
pub mod check;
pub mod log;
pub mod proc_files;
pub mod process;
pub mod unit;
