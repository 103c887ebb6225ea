//! Measurements: each runs the real programs, built for release, beside a floor in the same run.
//!
//! A figure alone says as much about the machine as about us; its ratio to the floor says less about the machine.
//! Nothing here is a test: a missed goal is written down, not failed.

pub mod agent_asked;
pub mod agent_idle;
pub mod apply;
mod callers;
pub mod plan;
mod plugin;
pub mod provider_start;
pub mod refresh;
pub mod report;
pub mod scale;
mod usage;
