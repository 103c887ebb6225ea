//! What the agent manages on a host, one part a file: each observes its own thing and changes it by named effects.
//!
//! Parts decide nothing: which change is due is `host_state`'s to say, when it is made the applier's. What needs the
//! network goes through [`crate::roles::ServerView`].

pub mod claims;
pub mod effects;
pub mod firewall;
pub mod nats;
pub mod preflight;
pub mod store;
pub mod systemd;
pub mod tls;
