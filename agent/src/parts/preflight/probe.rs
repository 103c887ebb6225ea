//! The latency probe: single writes, each followed by fdatasync, as a server with `sync_interval: always` does them.
//!
//! Writes to a file of its own in the store directory, or above it while there is none, and removes it. Never touches
//! anything of nats-server's.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use host_state::document::canonical;
use host_state::layout;
use host_state::preflight::{Latency, Probe, Seen};

use super::tree::Tree;
use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};

/// Writes of a whole probe.
pub const WRITES: u32 = 3_000;
/// Bytes of each write. Source: etcd, docs/v3.5/op-guide/hardware: `fio --fdatasync=1 --bs=2300`.
pub const BLOCK: u64 = 2_300;
/// How long a probe may take; a disk that is slower is too slow by any measure.
pub const MOST_TIME: Duration = Duration::from_secs(60);
/// Largest kept result that is read, in bytes.
const RESULT_LIMIT: u64 = 4 << 10;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// What the directory lies on.
    #[error("{0}")]
    Disk(String),
    /// Another one is under way.
    #[error("another probe is under way in `{directory}`")]
    UnderWay {
        /// Where.
        directory: PathBuf,
    },
    /// Making the file, writing, or syncing.
    #[error("cannot write to `{path}`")]
    Write {
        /// The probe's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Removing the file.
    #[error(transparent)]
    Remove(#[from] FileError),
}

/// Measures the disk below `directory`. Takes some seconds, at most [`MOST_TIME`] and the last write.
///
/// Afterwards the probe's file is gone again. May be repeated. A crash half-way leaves the file, 7 MB, which the next
/// probe takes over and removes.
///
/// # Errors
/// [`ProbeError`]; then nothing was measured.
pub fn run(
    effects: &Effects,
    tree: &Tree,
    directory: &Path,
    most_time: Duration,
) -> Result<Probe, ProbeError> {
    let there = super::nearest(directory).map_err(ProbeError::Disk)?;
    let disk = super::disk(tree, directory).map_err(ProbeError::Disk)?.mount.label();
    let path = there.join(layout::PROBE_FILE);
    let write = |source| ProbeError::Write { path: path.clone(), source };
    let file = files::open_probe(effects, &path, BLOCK * u64::from(WRITES)).map_err(write)?;
    let file = file.ok_or_else(|| ProbeError::UnderWay { directory: there.clone() })?;
    let measured = measure(&file, most_time);
    files::remove_file(effects, Effect::RemoveProbe, &path)?;
    let latency = measured.map_err(write)?;
    Ok(Probe { taken_at: now(), disk, latency })
}

fn measure(file: &std::fs::File, most_time: Duration) -> io::Result<Latency> {
    let block = vec![0x5a_u8; usize::try_from(BLOCK).unwrap_or(0)];
    let began = Instant::now();
    let mut samples = Vec::new();
    for number in 0..WRITES {
        if began.elapsed() > most_time {
            break;
        }
        let started = Instant::now();
        file.write_all_at(&block, u64::from(number) * BLOCK)?;
        file.sync_data()?;
        samples.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    let cut_short = samples.len() < usize::try_from(WRITES).unwrap_or(usize::MAX);
    Latency::of(samples, cut_short).ok_or_else(|| io::Error::other("there was no time for a single write"))
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Keeps a result in the state directory, so that it is shown without a new probe.
///
/// # Errors
/// [`FileError`]; then the one before is still kept.
pub fn keep(effects: &Effects, state_dir: &Path, probe: &Probe) -> Result<(), FileError> {
    let path = state_dir.join(layout::PROBE_RESULT_FILE);
    files::write_atomic(effects, Effect::KeepProbe, &path, canonical(probe).as_bytes(), layout::PUBLIC_MODE)
}

/// The kept result.
///
/// # Errors
/// Why there is none, one line.
pub fn kept(state_dir: &Path) -> Seen<Probe> {
    let path = state_dir.join(layout::PROBE_RESULT_FILE);
    match files::read_bounded(&path, RESULT_LIMIT) {
        Ok(None) => Err("no probe was run yet".to_owned()),
        Ok(Some(bytes)) => serde_json::from_slice(&bytes).map_err(|error| format!("the kept probe: {error}")),
        Err(error) => Err(host_state::chain(&error)),
    }
}
