//! Addresses for a scenario's hosts: a block `127.x.y.0/24` that no other scenario on this machine uses.
//!
//! Every host has an address of its own, so all of them use the same ports, as machines would.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Client port of nats-server.
pub const CLIENT_PORT: u16 = 4222;
/// Port of routes between servers of one cluster.
pub const CLUSTER_PORT: u16 = 5222;
/// Port of gateways between clusters.
pub const GATEWAY_PORT: u16 = 7222;
/// nats-server's own monitoring port.
pub const MONITOR_PORT: u16 = 8222;
/// The agent's metrics port.
pub const METRICS_PORT: u16 = 7777;
/// The agent's port for providers and other agents.
pub const AGENT_PORT: u16 = 8442;

const PORTS: [u16; 6] = [CLIENT_PORT, CLUSTER_PORT, GATEWAY_PORT, MONITOR_PORT, METRICS_PORT, AGENT_PORT];

/// The second byte of the blocks; away from 127.0 and 127.1, which other programs like to use.
const SECOND_BYTES: std::ops::RangeInclusive<u8> = 64..=127;

/// A block of loopback addresses, held until it is dropped or its process ends, however that comes about.
#[derive(Debug)]
pub struct Block {
    second: u8,
    third: u8,
    /// Held, never read: the lock on it ends with the file handle.
    _lock: File,
}

impl Block {
    /// Claims a free block. Blocks where somebody listens on one of our ports at the first `hosts` addresses (1 to 254)
    /// are passed over, so what an earlier run left behind does no harm.
    ///
    /// # Errors
    /// When every block is in use, `hosts` is out of range, or the folder of lock files cannot be written.
    pub fn claim(hosts: u8) -> Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("nats-loopback-{}", rustix::process::getuid().as_raw()));
        Self::claim_in(&folder, hosts)
    }

    fn claim_in(folder: &Path, hosts: u8) -> Result<Self> {
        ensure!((1..=254).contains(&hosts), "a block holds 1 to 254 hosts, not {hosts}");
        fs::create_dir_all(folder).with_context(|| format!("create the folder `{}`", folder.display()))?;
        for (second, third) in candidates() {
            let path = folder.join(format!("127.{second}.{third}.lock"));
            let lock =
                File::create(&path).with_context(|| format!("create the lock file `{}`", path.display()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(cause)) => {
                    return Err(cause).with_context(|| format!("lock `{}`", path.display()));
                }
            }
            let block = Self { second, third, _lock: lock };
            if block.is_silent(hosts)? {
                return Ok(block);
            }
        }
        bail!("every block of loopback addresses is in use (lock files in `{}`)", folder.display())
    }

    /// The address of host `number`, from 1.
    ///
    /// # Panics
    /// When `number` is 0 or 255, which are no host addresses.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        assert!((1..=254).contains(&number), "hosts are numbered 1 to 254, not {number}");
        Ipv4Addr::new(127, self.second, self.third, number)
    }

    /// Whether nobody listens on any of our ports at the first `hosts` addresses.
    fn is_silent(&self, hosts: u8) -> Result<bool> {
        for number in 1..=hosts {
            for port in PORTS {
                let address = SocketAddrV4::new(self.address(number), port);
                match TcpListener::bind(address) {
                    Ok(_) => {}
                    Err(cause) if cause.kind() == ErrorKind::AddrInUse => return Ok(false),
                    Err(cause) => return Err(cause).with_context(|| format!("listen on `{address}`")),
                }
            }
        }
        Ok(true)
    }
}

/// Every block once, starting at one that depends on the process, so that many processes rarely try the same.
fn candidates() -> impl Iterator<Item = (u8, u8)> {
    let all = SECOND_BYTES.len() * 256;
    let start = std::process::id() as usize * 97 % all;
    (0..all).map(move |step| {
        let index = (start + step) % all;
        let second = usize::from(*SECOND_BYTES.start()) + index / 256;
        (u8::try_from(second).expect("at most 127"), u8::try_from(index % 256).expect("a remainder of 256"))
    })
}

/// A folder for a scenario's files: kept, and its path printed, when the scenario panics or `KEEP_RIGS` is set.
#[derive(Debug)]
pub struct Folder {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    /// Makes an empty folder whose name starts with `name`.
    ///
    /// # Errors
    /// When the system's folder for temporary files cannot be written.
    pub fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir()
            .context("create a temporary folder")?;
        let path = folder.path().to_path_buf();
        Ok(Self { folder: Some(folder), path })
    }

    /// Where the folder is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    #[expect(clippy::print_stderr, reason = "whoever reads the failed test's output needs the path")]
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os("KEEP_RIGS").is_some();
        if let Some(folder) = self.folder.take_if(|_| keep) {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rig::wait::wait_until;

    #[test]
    fn two_blocks_never_share_an_address_while_both_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let first = Block::claim_in(folder.path(), 1).unwrap();
        let second = Block::claim_in(folder.path(), 1).unwrap();
        assert_ne!(first.address(1), second.address(1));

        let lock =
            File::open(folder.path().join(format!("127.{}.{}.lock", first.second, first.third))).unwrap();
        assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        wait_until("the lock's end", Duration::from_secs(5), || Ok(lock.try_lock().is_ok())).unwrap();
    }

    #[test]
    fn a_block_where_somebody_listens_is_passed_over() {
        let block = Block::claim(9).unwrap();
        assert!(block.is_silent(9).unwrap());
        let _listener = TcpListener::bind((block.address(9), AGENT_PORT)).unwrap();
        assert!(block.is_silent(8).unwrap());
        assert!(!block.is_silent(9).unwrap());
    }

    #[test]
    fn a_block_has_room_for_1_to_254_hosts() {
        let error = Block::claim(0).unwrap_err().to_string();
        assert_eq!(error, "a block holds 1 to 254 hosts, not 0");
    }

    #[test]
    fn every_block_is_a_candidate_once() {
        let all: std::collections::BTreeSet<_> = candidates().collect();
        assert_eq!((all.len(), candidates().count()), (64 * 256, 64 * 256));
        assert!(all.iter().all(|(second, _)| SECOND_BYTES.contains(second)));
    }
}
