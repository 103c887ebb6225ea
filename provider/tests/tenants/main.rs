//! Accounts, users, credentials, streams and health against scripted agents over real TLS, and streams on a real
//! nats-server behind one, all driven as Terraform drives them.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may end on any surprise"))]

mod accounts;
mod claims;
mod credentials;
mod failed_creates;
mod jetstream;
mod lesser_keys;
mod lost_hosts;
mod preflight;
mod real_server;
mod rig;
mod streams;
mod supercluster;
mod users;
