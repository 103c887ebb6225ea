//! Whole lives and bad days of systems on loopback addresses: real terraform, real agents, real nats-servers.
//!
//! Each test lays out hosts of its own and shows one promise. They run one at a time, because each starts up to nine
//! servers; the figures that a test shows are printed.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::print_stdout,
        reason = "a panic is how a test fails, and figures are for people"
    )
)]

#[path = "scenarios/audit.rs"]
mod audit;
#[path = "scenarios/downloads.rs"]
mod downloads;
#[path = "scenarios/drift.rs"]
mod drift;
#[path = "scenarios/failed_creates.rs"]
mod failed_creates;
#[path = "scenarios/formation.rs"]
mod formation;
#[path = "scenarios/interrupted.rs"]
mod interrupted;
#[path = "scenarios/life.rs"]
mod life;
#[path = "scenarios/refused.rs"]
mod refused;
#[path = "scenarios/rejoin.rs"]
mod rejoin;
#[path = "scenarios/renewal.rs"]
mod renewal;
#[path = "scenarios/secrets.rs"]
mod secrets;
#[path = "scenarios/users.rs"]
mod users;
#[path = "scenarios/wrong_peers.rs"]
mod wrong_peers;
