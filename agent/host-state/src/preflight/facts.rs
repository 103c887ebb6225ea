//! What is looked at, and what it is held against.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Latency;
use crate::document::Profile;
use crate::observed::StoreDisk;

/// A fact, or why it could not be seen: one line for people.
pub type Seen<T> = Result<T, String>;

/// What a host is to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which rules hold.
    pub profile: Profile,
    /// Bytes that JetStream may store; absent when nobody said.
    pub max_storage: Option<u64>,
    /// Whether the store may lie on the root file system.
    pub on_root: bool,
    /// The user id that the server runs as; absent when any user will do.
    pub uid: Option<u32>,
    /// Ports that the server and its agent listen on.
    pub ports: BTreeSet<u16>,
    /// Most client connections.
    pub connections: u64,
    /// Streams and consumers in the store.
    pub assets: u64,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The store directory and what is below it.
    pub store: StoreFacts,
    /// The rest of the host.
    pub machine: MachineFacts,
}

/// The store directory and the disk below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFacts {
    /// Absolute path.
    pub directory: String,
    /// Who owns it; `None` when it does not exist yet.
    pub owner: Seen<Option<Owner>>,
    /// The file system that holds it, or will.
    pub disk: Seen<StoreDisk>,
    /// The block devices below that file system, from partition to disk; empty when there is none.
    pub devices: Seen<Vec<BlockDevice>>,
    /// The latency probe.
    pub probe: Seen<Probe>,
}

/// Owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// One block device, as `/sys` describes it. What it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// Kernel name, like `nvme0n1`.
    pub name: String,
    /// Vendor's model name.
    pub model: Option<String>,
    /// Whether the device says that it rotates. Wrong for virtual disks.
    pub rotational: Option<bool>,
    /// The scheduler that is selected.
    pub scheduler: Option<String>,
    /// `write back` or `write through`.
    pub write_cache: Option<String>,
    /// Whether it takes back space that was freed.
    pub discards: Option<bool>,
}

/// The newest latency probe of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Seconds since 1970 when it ended.
    pub taken_at: i64,
    /// What was written to, like `/dev/sda1 (ext4)`: a result of another disk does not count.
    pub disk: String,
    /// What was measured.
    pub latency: Latency,
}

/// The host beside its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// Open files that the server may have.
    pub open_files: Seen<OpenFiles>,
    /// `fs.file-max`.
    pub file_max: Seen<u64>,
    /// Bytes of swap.
    pub swap: Seen<u64>,
    /// `vm.swappiness`.
    pub swappiness: Seen<u64>,
    /// Whether something holds the clock right, and what it is.
    pub clock: Seen<(bool, String)>,
    /// The selected mode of transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Seen<String>,
    /// `net.core.somaxconn`.
    pub somaxconn: Seen<u64>,
    /// The clock source in use.
    pub clocksource: Seen<String>,
    /// `net.ipv4.ip_local_port_range`: ports of the host's own connections.
    pub local_ports: Seen<PortRange>,
    /// `net.ipv4.ip_local_reserved_ports`: ports that are left out of it.
    pub reserved_ports: Seen<Vec<PortRange>>,
    /// Release of the kernel, like `6.1.0-18-amd64`.
    pub kernel: Seen<String>,
}

/// Limits of a process on open files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit that holds; absent: none.
    pub soft: Option<u64>,
    /// What it may be raised to; absent: none.
    pub hard: Option<u64>,
    /// Whose limit it is, like `nats-server (pid 12)`.
    pub of: String,
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is among them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::fmt::Display for PortRange {
    /// As the kernel writes a list of ports: `4222` or `4222-8222`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PortRange { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}
