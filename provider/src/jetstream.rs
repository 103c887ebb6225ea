//! JetStream and `$SYS` requests through the agents' tunnel.
//!
//! [`settings`] is the model of a stream and its way into and out of the server's JSON (pure); [`api`] asks and
//! understands answers; [`listing`] reads an account once per process and serves every stream from that;
//! [`monitored`] is what who may only look sees.

pub mod access;
pub mod api;
pub mod listing;
pub mod monitored;
pub mod settings;

pub use access::{JetStreamAccess, Way};
#[cfg(feature = "fuzz")]
pub(crate) use api::fuzz;
pub use api::{ApiError, Caller, JetStreamApi, StreamInfo};
pub use listing::Listings;
pub use settings::StreamSettings;
