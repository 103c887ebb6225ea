//! JetStream of one server: where it stores, how much, and how safely.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, NatsDuration};

/// JetStream of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JetStream {
    /// Absolute directory; data lies in `<store_dir>/jetstream`, which the server appends. It creates a missing
    /// directory, so whoever starts it checks the mount first.
    pub store_dir: String,
    /// Most bytes of memory streams. Rises by reload, falls by restart.
    pub max_memory: ByteSize,
    /// Most bytes of file streams. Rises by reload, falls by restart.
    pub max_storage: ByteSize,
    /// Prefix of the tag of which a stream's replicas must all have different values, such as `az:`; absent
    /// means no such rule. Must be equal on all servers of a supercluster.
    pub unique_tag: Option<String>,
    /// When writes reach the disk.
    pub sync: SyncInterval,
    /// JetStream domain; absent means none.
    pub domain: Option<String>,
    /// Bounds for all accounts together.
    pub limits: JetStreamLimits,
}

/// When writes reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncInterval {
    /// Before each acknowledgement: an acknowledged message survives a power cut.
    Always,
    /// In the background, so often. The server's own default is `2m`, and what it acknowledged since may be lost.
    Every(NatsDuration),
}

/// Server-wide bounds of JetStream; an absent one leaves the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JetStreamLimits {
    /// Most unacknowledged messages of a consumer.
    pub max_ack_pending: Option<u64>,
    /// Most replicated streams and consumers on this server.
    pub max_ha_assets: Option<u64>,
    /// Most messages that one pull may ask for.
    pub max_request_batch: Option<u64>,
    /// Longest duplicate window of a stream.
    pub duplicate_window: Option<NatsDuration>,
}
