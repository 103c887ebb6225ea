//! Desired compared with observed. Written once: [`crate::plan`] orders the result into steps, [`crate::drift`]
//! tells it to people.
//!
//! An observation that failed is a [`Difference`] of its own, never equality and never absence. A difference is
//! either drift, which some step removes, or a finding, which a person has to look at; [`Difference::told`] says
//! which, and while one that [`blocks_start`](Difference::blocks_start) stands, a stopped server is not drift.
//! Neither content of keys nor whole JWTs get into a difference.

mod claims;
mod disk;
mod files;
mod firewall;
mod process;
mod store;
mod told;
mod unit;

pub use told::RESOLVER_SILENT;

use nats_config::SettingDifference;

use crate::desired::{Desired, Owner};
use crate::firewall::TableDifference;
use crate::firewall::foreign::ForeignDrop;
use crate::observed::Observed;

/// One place where a host is not what it should be, or could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Nothing was rendered yet.
    RenditionMissing,
    /// The current rendition was made from other settings. Deferred ones are not among them.
    RenditionOutdated {
        /// What changes, found as rendered.
        settings: Vec<SettingDifference>,
    },
    /// The rendition is behind in settings that need a restart, and a server that was stopped could not be started.
    ChangeBlocked {
        /// The settings; empty when there is no rendition at all.
        settings: Vec<String>,
    },
    /// The configuration file was edited; it can be read as JSON.
    ConfigurationEdited {
        /// What was edited, found as on disk.
        settings: Vec<SettingDifference>,
    },
    /// A file of the rendition is gone.
    FileMissing {
        /// Its name.
        file: String,
    },
    /// A file of the rendition has other content.
    FileChanged {
        /// Its name.
        file: String,
        /// SHA-256 of what it should be.
        desired: String,
        /// SHA-256 of what it is.
        found: String,
    },
    /// A file of the rendition has other permission bits.
    FileMode {
        /// Its name.
        file: String,
        /// Permission bits as they should be.
        desired: u32,
        /// Permission bits as they are.
        found: u32,
    },
    /// A file of the rendition could not be read.
    FileUnreadable {
        /// Its name.
        file: String,
        /// Why.
        reason: String,
    },
    /// The running server holds another configuration than the rendition.
    RunningOther {
        /// Digest as it should be.
        desired: String,
        /// Digest that the server says.
        found: String,
    },
    /// A listener serves another certificate than the one in the file.
    CertificateNotServed {
        /// The listener.
        listener: String,
        /// Not-after of the certificate in the file.
        desired: String,
        /// Not-after of the one that is served.
        found: String,
    },
    /// The server runs and does not answer.
    RunningSilent {
        /// Why.
        reason: String,
    },
    /// Another server answers where this host's should.
    RunningStranger {
        /// Server name as it should be.
        desired: String,
        /// Server name that answered.
        found: String,
    },
    /// The store directory was never prepared, or its identity file has to be written.
    StoreUnmarked(StoreUnmarked),
    /// The store directory has other permission bits.
    StoreMode {
        /// Permission bits as they should be.
        desired: u32,
        /// Permission bits as they are.
        found: u32,
    },
    /// The store directory is another user's than the one that the server runs as.
    StoreOwner {
        /// Who should own it.
        desired: Owner,
        /// Who does.
        found: Owner,
    },
    /// The ballast file of the store is gone or too small.
    StoreBallast {
        /// Bytes that it should hold.
        desired: u64,
        /// Bytes that it holds; absent when there is none.
        found: Option<u64>,
        /// Whether there is room to make it.
        has_room: bool,
    },
    /// The store cannot be this host's, or not safely: nothing is started on it.
    StoreDanger(StoreDanger),
    /// The binary to install is not there, or another one is in its place.
    BinaryToInstall {
        /// Version and checksum as they should be.
        desired: String,
        /// What is there; absent when nothing is.
        found: Option<String>,
    },
    /// The binary is not what it should be, and is not the agent's to install.
    BinaryForeign {
        /// What is wrong.
        problem: String,
        /// Whether it cannot be started at all.
        unusable: bool,
    },
    /// The unit that the server runs in.
    Unit(UnitFault),
    /// Released, and not running.
    ProcessStopped {
        /// How it ended, where that is known.
        last_exit: Option<String>,
    },
    /// Held, and running.
    ProcessRunning {
        /// Its process id.
        pid: u32,
    },
    /// Running from another binary than the one it would be started from.
    ProcessOldBinary {
        /// SHA-256 of the binary it would be started from.
        desired: String,
        /// SHA-256 of the binary it runs from.
        found: String,
    },
    /// The resolver could not be asked.
    ClaimsSilent {
        /// Why.
        reason: String,
    },
    /// The resolver has not the JWT it should have for one account.
    Claim {
        /// Account public key.
        account: String,
        /// Account name; the key where nobody knows a name.
        name: String,
        /// What it is.
        problem: ClaimProblem,
    },
    /// Other firewall rules were confirmed than are asked for, and those are not on trial either.
    FirewallOutdated {
        /// What changes, port by port.
        ports: Vec<PortChange>,
    },
    /// The firewall table was changed by somebody else.
    FirewallTable {
        /// Where; at least one.
        items: Vec<TableDifference>,
    },
    /// A table of somebody else drops what is allowed.
    FirewallForeign(ForeignDrop),
    /// The firewall could not be looked at.
    FirewallUnreadable {
        /// Why.
        reason: String,
    },
}

/// A managed port whose rule changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortChange {
    /// Its name, like `client`.
    pub port: String,
    /// Port and networks as they should be; absent when it is to be open.
    pub desired: Option<String>,
    /// Port and networks as confirmed; absent when it is open.
    pub found: Option<String>,
}

/// What is wrong with the unit that the server runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitFault {
    /// It could not be looked at.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// systemd has no such unit, or could not read it.
    NotLoaded {
        /// systemd's word for it.
        state: String,
    },
    /// Somebody masked it, so it cannot start.
    Masked,
    /// The drop-in is gone.
    Missing,
    /// The drop-in was edited.
    Edited {
        /// The directives; empty when only comments and spaces differ.
        settings: Vec<SettingDifference>,
    },
    /// The drop-in has other permission bits.
    Mode {
        /// Permission bits as they are.
        found: u32,
    },
    /// The drop-in is not root's.
    OtherOwner {
        /// Whose it is.
        found: Owner,
    },
    /// Files changed after systemd read them.
    Stale,
    /// Another unit file stands before the package's.
    Replaced {
        /// The file.
        path: String,
    },
    /// A drop-in that is not the agent's.
    Foreign {
        /// The file.
        path: String,
    },
    /// It would start at boot before the agent has looked at the host.
    Enabled,
}

impl UnitFault {
    /// Whether the server cannot be started, and no apply changes that.
    pub fn blocks_start(&self) -> bool {
        match self {
            UnitFault::Unreadable { .. } | UnitFault::NotLoaded { .. } => true,
            UnitFault::Masked
            | UnitFault::Missing
            | UnitFault::Edited { .. }
            | UnitFault::Mode { .. }
            | UnitFault::OtherOwner { .. }
            | UnitFault::Stale
            | UnitFault::Replaced { .. }
            | UnitFault::Foreign { .. }
            | UnitFault::Enabled => false,
        }
    }
}

/// Why the store's identity file has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreUnmarked {
    /// The directory does not exist yet and nothing was ever in it.
    NoDirectory,
    /// The directory is there, without an identity file.
    NoIdentity,
    /// The identity file is damaged and the data is this host's.
    Damaged,
    /// Others may write the identity file, or may not read it.
    OtherMode,
    /// The identity file does not name the meta group yet, or not that it has formed.
    NoLineage,
}

/// Why nothing is started on a store. A person has to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreDanger {
    /// The directory is gone, although data of this host was in it: a disk is not mounted.
    Gone {
        /// The directory.
        directory: String,
    },
    /// The directory is empty, although data of this host was in it: another disk is mounted, or none.
    Emptied {
        /// The directory.
        directory: String,
    },
    /// It could not be looked at.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The identity file names another system or server.
    Another {
        /// What differs.
        field: &'static str,
        /// What it should be.
        desired: String,
        /// What it is.
        found: String,
    },
    /// There is data and no identity file that says whose.
    Unknown {
        /// The directory.
        directory: String,
    },
    /// There is data of accounts, and this system's account is not among them.
    OtherAccounts {
        /// System account as it should be.
        desired: String,
        /// Account directories that are there.
        found: Vec<String>,
    },
    /// The data is another user's than the one that the server runs as, which could not read it. Files of a store are given
    /// to nobody by an agent.
    DataOwner {
        /// The directory.
        directory: String,
        /// User id as it should be.
        desired: u32,
        /// User id as it is.
        found: u32,
    },
    /// It lies on the root file system, which the document does not allow: a disk is not mounted.
    OnRoot {
        /// The directory.
        directory: String,
        /// What it lies on, like `/dev/vda1 (ext4)`.
        disk: String,
    },
    /// Its file system cannot be written.
    ReadOnly {
        /// The directory.
        directory: String,
        /// What it lies on, like `/dev/vda1 (ext4)`.
        disk: String,
        /// Where that is mounted.
        point: String,
    },
    /// Its file system is full.
    Full {
        /// The directory.
        directory: String,
        /// What it lies on, like `/dev/vda1 (ext4)`.
        disk: String,
        /// Whether its ballast file is still there.
        has_ballast: bool,
    },
    /// The data belongs to another meta group; meta groups that meet delete each other's streams.
    Lineage {
        /// Meta lineage that is asked for.
        desired: String,
        /// Meta lineage of the data, or of the ledger.
        found: String,
    },
}

/// What is wrong with one account in the resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimProblem {
    /// No JWT.
    Missing,
    /// A JWT that was issued before.
    Older {
        /// `iat` as it should be.
        desired: i64,
        /// `iat` as it is; absent when it cannot be decoded.
        found: Option<i64>,
    },
    /// A JWT of the same second and another content.
    Changed {
        /// SHA-256 as it should be.
        desired: String,
        /// SHA-256 as it is.
        found: String,
    },
    /// A deleted account that still has rights.
    Alive,
    /// A JWT that was issued later than the newest one that this host knows. Never pushed over.
    Newer {
        /// `iat` as it should be.
        desired: i64,
        /// `iat` as it is.
        found: i64,
    },
    /// An account that no section names.
    Unknown,
}

/// Every difference between what the host should be and what it is. Empty when there is none.
pub fn diff(desired: &Desired, observed: &Observed) -> Vec<Difference> {
    let mut differences = store::store(desired, &observed.store);
    differences.extend(disk::disk(desired, &observed.store, &observed.disk));
    if differences.iter().any(Difference::blocks_start) {
        // Nothing is made or marked where the store does not belong, or where nothing can be written.
        differences.retain(Difference::blocks_start);
    } else {
        differences.extend(disk::ballast(desired, &observed.disk));
    }
    differences.extend(process::binary(desired, &observed.binary));
    differences.extend(unit::unit(desired, &observed.unit));
    let is_blocked = differences.iter().any(Difference::blocks_start);
    differences.extend(files::rendition(desired, &observed.process, is_blocked));
    differences.extend(files::files(desired, &observed.files));
    differences.extend(process::process(desired, observed, is_blocked));
    differences.extend(process::running(desired, &observed.running));
    differences.extend(claims::claims(desired, &observed.claims));
    differences.extend(firewall::firewall(desired.firewall.as_ref(), &observed.firewall));
    differences
}

impl Difference {
    /// Whether no server may be started while this stands.
    pub fn blocks_start(&self) -> bool {
        match self {
            Difference::StoreDanger(_) => true,
            Difference::BinaryForeign { unusable, .. } => *unusable,
            Difference::Unit(fault) => fault.blocks_start(),
            Difference::RenditionMissing
            | Difference::RenditionOutdated { .. }
            | Difference::ChangeBlocked { .. }
            | Difference::ConfigurationEdited { .. }
            | Difference::FileMissing { .. }
            | Difference::FileChanged { .. }
            | Difference::FileMode { .. }
            | Difference::FileUnreadable { .. }
            | Difference::RunningOther { .. }
            | Difference::CertificateNotServed { .. }
            | Difference::RunningSilent { .. }
            | Difference::RunningStranger { .. }
            | Difference::StoreUnmarked(_)
            | Difference::StoreMode { .. }
            | Difference::StoreBallast { .. }
            | Difference::StoreOwner { .. }
            | Difference::BinaryToInstall { .. }
            | Difference::ProcessStopped { .. }
            | Difference::ProcessRunning { .. }
            | Difference::ProcessOldBinary { .. }
            | Difference::ClaimsSilent { .. }
            | Difference::Claim { .. }
            | Difference::FirewallOutdated { .. }
            | Difference::FirewallTable { .. }
            | Difference::FirewallForeign(_)
            | Difference::FirewallUnreadable { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
