//! What a process uses, as Linux counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of processor time in a second. Source: Linux `proc(5)`, `sysconf(_SC_CLK_TCK)`: 100 wherever we run.
const TICKS_PER_SECOND: u32 = 100;

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Memory that is really there (`VmRSS`), MiB.
    pub(super) resident_mib: f64,
    /// The most of it that there ever was (`VmHWM`), MiB.
    pub(super) peak_mib: f64,
    /// Memory that is its own and not of a file (`RssAnon`), MiB.
    pub(super) anonymous_mib: f64,
    /// Processor time since its start, of all its threads.
    pub(super) processor: Duration,
    /// Threads.
    pub(super) threads: u32,
}

impl Usage {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("read `{path}`"))
        };
        parse(&read("status")?, &read("stat")?).with_context(|| format!("read what process {pid} uses"))
    }
}

/// Source: Linux `proc_pid_status(5)` and `proc_pid_stat(5)`, fields 14 and 15.
fn parse(status: &str, stat: &str) -> Result<Usage> {
    let field = |name: &str| -> Result<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.with_context(|| format!("no `{name}`"))?.parse().with_context(|| format!("`{name}`"))
    };
    // A program's name may hold spaces and brackets; what follows the last bracket does not.
    let (_, rest) = stat.rsplit_once(") ").context("no name in brackets")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |index: usize| -> Result<u32> {
        fields.get(index).context("too few fields")?.parse().context("ticks")
    };
    Ok(Usage {
        resident_mib: f64::from(field("VmRSS")?) / 1024.0,
        peak_mib: f64::from(field("VmHWM")?) / 1024.0,
        anonymous_mib: f64::from(field("RssAnon")?) / 1024.0,
        processor: Duration::from_secs(1) * (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        threads: field("Threads")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_name() {
        let status = "Name:\tx\nVmHWM:\t 3072 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 512 kB\nThreads:\t7\n";
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 100";
        let usage = parse(status, stat).unwrap();
        let expected = Usage {
            resident_mib: 2.0,
            peak_mib: 3.0,
            anonymous_mib: 0.5,
            processor: Duration::from_secs(2),
            threads: 7,
        };
        assert_eq!(usage, expected);
        assert_eq!(parse("", stat).unwrap_err().to_string(), "no `VmRSS`");
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_mib > 1.0 && usage.threads >= 1, "{usage:?}");
    }
}
