//! What a host is: filled in by the agent's parts, compared by [`crate::diff`], never decided here.
//!
//! Every observation that can fail says so; a failed observation is neither equal nor absent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::desired::Owner;
use crate::document::StoreIdentity;
use crate::firewall::foreign::ForeignDrop;
use crate::firewall::{FirewallRules, TableDifference};
use crate::preflight::ballast_size;

/// Everything an agent saw of its host in one sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Files of the current rendition, by name (`nats-server.json`, `server.pem`, ...).
    pub files: BTreeMap<String, FileObserved>,
    /// The settings that the running server reports against those it was given.
    pub running: RunningObserved,
    /// The store directory.
    pub store: StoreObserved,
    /// The file system that holds the store, or will; or why it could not be looked at.
    pub disk: Result<StoreDisk, String>,
    /// The nats-server binary that would be started.
    pub binary: BinaryObserved,
    /// The nats-server process.
    pub process: ProcessObserved,
    /// Account JWTs in the local resolver.
    pub claims: ClaimsObserved,
    /// The firewall.
    pub firewall: FirewallObserved,
    /// The unit that the server runs in.
    pub unit: UnitObserved,
}

/// The unit of nats-server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UnitObserved {
    /// The server is the agent's child and no unit.
    None,
    /// It could not be looked at.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Looked at.
    Present(UnitSeen),
}

/// What was seen of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSeen {
    /// systemd's word for whether it could read it: `loaded`, `masked`, `not-found`, `bad-setting`, `error`.
    pub load: String,
    /// The unit's own file; empty where there is none.
    pub fragment: String,
    /// systemd's word for whether it starts at boot: `static`, `enabled`, `masked`.
    pub file_state: String,
    /// The agent's drop-in, with its text.
    pub drop_in: FileObserved,
    /// Who owns the drop-in; absent where it is missing, and where the agent is not root.
    pub owner: Option<Owner>,
    /// Drop-ins of others.
    pub others: Vec<String>,
    /// Whether files changed after systemd read them.
    pub is_stale: bool,
}

/// One managed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FileObserved {
    /// No such file of its own: nothing, or a link to another.
    Missing,
    /// There, but could not be read.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Read.
    Present {
        /// SHA-256 of the content, 64 lower-case hex digits.
        sha256: String,
        /// Permission bits.
        mode: u32,
        /// The content, only of files that hold no secret and differ from what is desired.
        text: Option<String>,
    },
}

/// What the running server was configured with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RunningObserved {
    /// No server runs.
    Stopped,
    /// It runs and did not answer.
    Silent {
        /// Why.
        reason: String,
    },
    /// What `/varz` says.
    Answered {
        /// `config_digest`.
        digest: String,
        /// `version`.
        version: String,
        /// `server_name`.
        server_name: String,
        /// Not-after of the certificate that each listener serves, by listener, as `/varz` prints it.
        certificates: BTreeMap<String, String>,
    },
}

/// The store directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreObserved {
    /// No such directory.
    Missing,
    /// There, but could not be looked at.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Looked at.
    Present {
        /// Permission bits.
        mode: u32,
        /// The user id that owns it.
        uid: u32,
        /// The group id.
        gid: u32,
        /// The user id that owns nats-server's own directory in it; absent when there is none.
        data_uid: Option<u32>,
        /// Device and inode: another pair is another directory.
        device: u64,
        /// See `device`.
        inode: u64,
        /// The identity file.
        identity: StoreMark,
        /// Permission bits of the identity file; absent when there is none.
        identity_mode: Option<u32>,
        /// Whether JetStream data lies in it.
        has_data: bool,
        /// Names of account directories in it (account public keys).
        accounts: Vec<String>,
    },
}

/// Free bytes below which a file system is full: not even a block of a stream can be written.
const FULL: u64 = 1 << 20;
/// File systems on which a file of allocated blocks keeps its room. On others blocks are shared, compressed or not there.
/// Source: fallocate(2) and the manual pages of ext4, xfs and btrfs.
const KEEPS_ROOM: [&str; 3] = ["btrfs", "ext4", "xfs"];

/// The file system that holds a store directory, or the nearest directory above that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreDisk {
    /// Where it is mounted.
    pub mount: Mount,
    /// Whether it is the root file system: no disk of its own.
    pub on_root: bool,
    /// Bytes that an ordinary user can have of it in all.
    pub size: u64,
    /// Bytes of these that are free.
    pub free: u64,
    /// Bytes of the ballast file in the store; absent when there is none.
    pub ballast: Option<u64>,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Mount point.
    pub point: String,
    /// Device, or what the file system calls its source.
    pub source: String,
    /// File system type, like `ext4`.
    pub fs_type: String,
    /// Options of this mount and of the file system, sorted.
    pub options: BTreeSet<String>,
}

impl StoreDisk {
    /// Whether nothing can be written any more.
    pub fn is_full(&self) -> bool {
        self.free < FULL
    }

    /// Whether there is room to make the ballast file, and as much again.
    pub fn has_room_for_ballast(&self) -> bool {
        self.free / 2 >= self.ballast_due()
    }

    /// Bytes that a ballast file should hold; 0 where it would keep no room.
    pub fn ballast_due(&self) -> u64 {
        if KEEPS_ROOM.contains(&self.mount.fs_type.as_str()) { ballast_size(self.size) } else { 0 }
    }
}

impl Mount {
    /// Device and type, like `/dev/sda1 (ext4)`.
    pub fn label(&self) -> String {
        format!("{} ({})", self.source, self.fs_type)
    }

    /// Whether nothing can be written.
    pub fn is_read_only(&self) -> bool {
        self.options.contains("ro")
    }
}

/// The identity file of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreMark {
    /// No identity file.
    Missing,
    /// Not such a file.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Read.
    Found(StoreFile),
}

/// Content of the identity file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreFile {
    /// Made once for this directory, 32 lower-case hex digits.
    pub store: String,
    /// Whose data.
    pub identity: StoreIdentity,
    /// The meta group this data belongs to; absent until first released.
    pub meta_lineage: Option<String>,
    /// True once a meta leader was seen.
    pub formed: bool,
}

/// The binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BinaryObserved {
    /// No such file.
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// There, but it could not be read or run.
    Unusable {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
    /// Read and asked for its version.
    Present {
        /// Where.
        path: String,
        /// What `--version` says, without `v`.
        version: String,
        /// SHA-256, 64 lower-case hex digits.
        sha256: String,
        /// SHA-256 of the download that it was installed from, 64 lower-case hex digits; absent when it was not downloaded,
        /// or changed since.
        download: Option<String>,
    },
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProcessObserved {
    /// Not running.
    Stopped {
        /// How it ended, where that is known, like `signal 9` or `exit status 1: ...`.
        last_exit: Option<String>,
    },
    /// Running.
    Running {
        /// Process id.
        pid: u32,
        /// Seconds since 1970 when it was started.
        started_at: i64,
        /// SHA-256 of the binary it was started from; `unknown` where somebody else started it and files changed since.
        binary_sha256: String,
    },
}

/// The resolver's account JWTs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClaimsObserved {
    /// No server runs, so nothing was asked.
    Stopped,
    /// It runs and could not be asked.
    Silent {
        /// Why.
        reason: String,
    },
    /// By account public key, the SHA-256 of the JWT text.
    Answered(BTreeMap<String, ClaimObserved>),
}

/// One account JWT in the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimObserved {
    /// SHA-256 of the JWT text, 64 lower-case hex digits.
    pub sha256: String,
    /// Its `iat`, seconds since 1970; absent when it cannot be decoded.
    pub issued_at: Option<i64>,
}

/// The firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FirewallObserved {
    /// Not managed: the agent has no right to change the kernel's rules.
    Off,
    /// It could not be looked at.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Looked at.
    Seen(Box<FirewallSeen>),
}

/// What was seen of the firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallSeen {
    /// The rules that were confirmed last; absent before the first.
    pub confirmed: Option<FirewallRules>,
    /// Rules on trial; absent when none are.
    pub trial: Option<TrialSeen>,
    /// Where the loaded table is not what confirmed rules and trial make.
    pub table: Vec<TableDifference>,
    /// Chains of other tables that drop what is allowed.
    pub foreign: Vec<ForeignDrop>,
}

/// Firewall rules on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSeen {
    /// The trial's id.
    pub id: String,
    /// Milliseconds until the kernel goes back to the confirmed rules.
    pub remaining_ms: u64,
    /// The rules.
    pub rules: FirewallRules,
}
