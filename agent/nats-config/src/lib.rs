//! What a nats-server's configuration is: model, rules, text, digest, and what a change of it costs.
//!
//! The way through: a [`ServerConfig`] is checked by [`ServerConfig::validate`], becomes text and
//! [`ConfigDigest`] in [`render`], is tried out as [`shadow`], is compared with what was found by
//! [`setting_differences`], and two of them give a [`Change`] through [`reload_class`] and [`split`].
//!
//! This crate is pure: it reads no file, clock, environment or randomness and starts nothing. Whoever holds a
//! rendered text writes it, and whoever wants the server's opinion asks the server.
//!
//! # Current limitations
//! - Operator mode or no authentication; users and accounts inside the server configuration are refused.
//! - `leafnodes`, `websocket` and `mqtt` have no model of their own: they come through
//!   [`ServerConfig::extra`], where only the keys that this crate owns are checked.
//! - The reload rules are those of nats-server 2.15.1; other versions are not told apart.

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
mod difference;
mod digest;
mod duration;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod model;
mod name;
mod problem;
mod reload;
mod render;
mod shadow;
mod size;
mod validate;

#[cfg(test)]
mod tests;

pub use difference::{SettingDifference, setting_differences, shortened};
pub use digest::{ConfigDigest, DigestError, Sha256Hex, Sha256HexError, digest_of_text};
pub use duration::{NatsDuration, NatsDurationError};
pub use model::{
    ClientListener, ClusterListener, FullResolver, GatewayListener, JetStream, JetStreamLimits, LameDuck,
    ListenerTls, Logging, MonitorListener, OperatorTrust, ServerConfig, ServerLimits, SyncInterval,
};
pub use name::{ClusterName, HostPort, HostPortError, NameError, ServerName};
pub use problem::Problem;
pub use reload::{Change, ReloadRule, reload_class, reload_rules, split};
pub use render::{Rendered, render};
pub use shadow::{ShadowPlan, shadow};
pub use size::{ByteSize, ByteSizeError};
pub use validate::{owned_settings, refused_settings};
