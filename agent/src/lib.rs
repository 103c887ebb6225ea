//! The agent on each host of a NATS supercluster.

pub mod front;
pub mod roles;
