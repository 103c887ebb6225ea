//! The applier on a real nats-server: staged, rolled, changed, edited, killed, crashed. The front is the real one.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

#[path = "applier/audit.rs"]
mod audit;
#[path = "applier/changes.rs"]
mod changes;
#[path = "applier/claims.rs"]
mod claims;
#[path = "applier/crashes.rs"]
mod crashes;
#[path = "applier/drift.rs"]
mod drift;
#[path = "applier/host.rs"]
mod host;
#[path = "applier/refusals.rs"]
mod refusals;
#[path = "applier/rig.rs"]
mod rig;
#[path = "applier/writers.rs"]
mod writers;
