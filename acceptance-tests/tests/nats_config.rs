//! `nats-config` against the real nats-server: what it renders is accepted, with the digest it computed; what it
//! says about reloads is what the server does; its trials boot and reach nothing.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot prepare its server must fail"))]

#[path = "nats_config/accepted.rs"]
mod accepted;
#[path = "nats_config/refused.rs"]
mod refused;
#[path = "nats_config/reload.rs"]
mod reload;
#[path = "nats_config/trial.rs"]
mod trial;
