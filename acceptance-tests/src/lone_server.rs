//! One nats-server without an agent, on a state directory and loopback addresses of its own: what `nats-config` says,
//! asked of the real server.

pub mod reloading;
pub mod server;
pub mod site;
