//! The model of one nats-server's configuration: every setting that we declare, in checked types.
//!
//! What is here is structure. Rules between fields are in `validate`, NATS's names for the fields in `render`.
//! All file names are relative to the state directory (the server's working directory), except
//! [`JetStream::store_dir`], so that one text can be checked in a trial directory and then run in the real one.

mod listener;
mod storage;
mod trust;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use listener::{ClientListener, ClusterListener, GatewayListener, ListenerTls, MonitorListener};
pub use storage::{JetStream, JetStreamLimits, SyncInterval};
pub use trust::{FullResolver, OperatorTrust};

use crate::{ByteSize, NatsDuration, ServerName};

/// Everything that one nats-server is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Unique in the whole supercluster, and never used again once the server was removed.
    pub server_name: ServerName,
    /// Where clients connect.
    pub client: ClientListener,
    /// Where the agent reads `/varz` and `/healthz`; absent means no monitoring port.
    pub monitor: Option<MonitorListener>,
    /// Routes to the other servers of the cluster; absent means a server on its own.
    pub cluster: Option<ClusterListener>,
    /// Gateways to other clusters; absent means a cluster on its own.
    pub gateway: Option<GatewayListener>,
    /// Streams; absent means messaging without persistence.
    pub jetstream: Option<JetStream>,
    /// Operator mode; absent means no authentication at all.
    pub trust: Option<OperatorTrust>,
    /// Bounds on what clients may do.
    pub limits: ServerLimits,
    /// What is logged, and where to.
    pub logging: Logging,
    /// Tags for stream placement, such as `az:a`. The server reads them in lower case.
    pub tags: BTreeSet<String>,
    /// How the server says goodbye to its clients.
    pub lame_duck: LameDuck,
    /// File that holds the process id while the server runs; absent means none.
    pub pid_file: Option<String>,
    /// Further settings under NATS's own names, merged into the rendered text last. A key that the fields above
    /// own is refused.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Bounds on what clients may do; an absent one leaves the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerLimits {
    /// Largest message; default 1 MiB, at most [`ServerLimits::max_pending`].
    pub max_payload: Option<ByteSize>,
    /// Most client connections; default 65,536.
    pub max_connections: Option<u64>,
    /// Most bytes buffered for one client before it counts as slow; default 64 MiB.
    pub max_pending: Option<ByteSize>,
    /// Longest protocol line; default 4 KiB.
    pub max_control_line: Option<ByteSize>,
    /// Most subscriptions of one connection; default unbounded.
    pub max_subscriptions: Option<u64>,
    /// Pause between pings to an idle client; default 2 minutes.
    pub ping_interval: Option<NatsDuration>,
    /// Unanswered pings after which a connection is dropped; default 2.
    pub ping_max: Option<u64>,
    /// Longest time that one write to a client may take; default 10 s.
    pub write_deadline: Option<NatsDuration>,
}

/// What is logged, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Log debug lines too.
    pub debug: bool,
    /// Log the protocol; names subjects and so is for short use.
    pub trace: bool,
    /// Log times in UTC instead of local time.
    pub utc: bool,
    /// File to log to; absent means standard error.
    pub log_file: Option<String>,
    /// Size at which the log file is rotated; absent means never. Needs a log file.
    pub rotate_at: Option<ByteSize>,
    /// How many rotated files are kept; absent means all. Needs [`Logging::rotate_at`].
    pub rotated_files: Option<u64>,
}

/// How the server says goodbye to its clients on SIGUSR2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LameDuck {
    /// How long from the signal until the last client is closed; at least 30 s.
    pub duration: NatsDuration,
    /// How long clients may leave by themselves before any is closed; shorter than the duration.
    pub grace_period: NatsDuration,
}
