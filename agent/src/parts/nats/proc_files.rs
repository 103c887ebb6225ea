//! What /proc says of a process. Reads only.

use std::io;
use std::path::{Path, PathBuf};

use crate::applier::rendition::sha256;

/// Clock ticks in one second, as /proc counts them. Source: Linux include/asm-generic/param.h (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Facts of one process that do not change while it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot; with the boot's id it names a process for ever.
    pub start_ticks: u64,
    /// The boot it was started in.
    pub boot_id: String,
    /// Seconds since 1970 when it was started.
    pub started_at: i64,
    /// SHA-256 of the binary it was started from, even when that file is gone.
    pub binary_sha256: String,
}

/// Facts of a live process.
///
/// # Errors
/// When there is none, or /proc cannot be read.
pub fn facts(pid: u32) -> io::Result<ProcessFacts> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let stat = std::fs::read_to_string(directory.join("stat"))?;
    let (state, start_ticks) =
        parse_stat(&stat).ok_or_else(|| io::Error::other("its stat cannot be read"))?;
    if state == 'Z' || state == 'X' {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
    }
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let started_at =
        boot_time()?.saturating_add(i64::try_from(start_ticks / TICKS_PER_SECOND).unwrap_or(i64::MAX));
    let binary_sha256 = sha256(&std::fs::read(directory.join("exe"))?);
    Ok(ProcessFacts { pid, start_ticks, boot_id, started_at, binary_sha256 })
}

/// Whether the process that was started then still lives.
#[must_use]
pub fn is_alive(pid: u32, start_ticks: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&stat).is_some_and(|(state, ticks)| ticks == start_ticks && state != 'Z' && state != 'X')
}

/// A process whose working directory is `state_dir` and that was started on `config`; `None` when there is none.
#[must_use]
pub fn find_server(state_dir: &Path, config: &str) -> Option<ProcessFacts> {
    let state_dir = std::fs::canonicalize(state_dir).ok()?;
    let is_server = |pid: &u32| {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let arguments = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        std::fs::read_link(directory.join("cwd")).is_ok_and(|cwd| cwd == state_dir)
            && arguments.split(|byte| *byte == 0).any(|argument| argument == config.as_bytes())
            && !arguments.split(|byte| *byte == 0).any(|argument| argument == b"-t")
    };
    std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_server)
        .find_map(|pid| facts(pid).ok())
}

/// State and start time out of `/proc/PID/stat`. The name, second, may hold spaces and brackets.
/// Source: Linux proc_pid_stat(5), fields 3 and 22.
pub(crate) fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Seconds since 1970 at boot. Source: Linux proc_stat(5), `btime`.
fn boot_time() -> io::Result<i64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| io::Error::other("`/proc/stat` has no boot time"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn facts_of_this_process_are_stable() {
        let pid = std::process::id();
        let first = facts(pid).unwrap();
        assert_eq!(facts(pid).unwrap(), first);
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        assert!((now - 24 * 3600..=now + 1).contains(&first.started_at), "{}", first.started_at);
        assert!(facts(u32::MAX).is_err());
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let fields = (4..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_stat(&format!("7 (a) b) S {fields}")), Some(('S', 22)));
    }

    proptest! {
        #[test]
        fn no_stat_makes_parsing_panic(text in ".{0,200}") {
            let _ = parse_stat(&text);
        }
    }
}
