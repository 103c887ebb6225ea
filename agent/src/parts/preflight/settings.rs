//! The host's limits and settings, from `/proc` and `/sys`.

use host_state::preflight::{MachineFacts, OpenFiles, PortRange, Seen};

use super::tree::Tree;

/// Made by systemd-timesyncd when it first set the clock since boot. Source: systemd-timesyncd.service(8), systemd 252.
/// The kernel's own word, adjtimex(2), takes a system call that no safe crate offers.
const TIMESYNC: &str = "/run/systemd/timesync";
/// Most ranges of reserved ports that are read.
const MOST_RANGES: usize = 65_536;

pub(super) fn machine(tree: &Tree, open_files: Seen<OpenFiles>) -> MachineFacts {
    let count = |file: &str| {
        let text = tree.text(file)?;
        text.parse().map_err(|_| format!("`{file}` is `{text}`, which is no count"))
    };
    let text = |file: &str| tree.text(file);
    MachineFacts {
        open_files,
        file_max: count("/proc/sys/fs/file-max"),
        swap: tree.optional_text("/proc/swaps").and_then(|text| {
            // A kernel without swap has no such file.
            text.map_or(Some(0), |text| swap_bytes(&text))
                .ok_or_else(|| "`/proc/swaps` is not as the kernel writes it".to_owned())
        }),
        swappiness: count("/proc/sys/vm/swappiness"),
        clock: clock(tree),
        huge_pages: huge_pages(tree),
        somaxconn: count("/proc/sys/net/core/somaxconn"),
        clocksource: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        local_ports: text("/proc/sys/net/ipv4/ip_local_port_range")
            .and_then(|text| local_ports(&text).ok_or_else(|| format!("`{text}` is no range of ports"))),
        reserved_ports: text("/proc/sys/net/ipv4/ip_local_reserved_ports").and_then(|text| {
            port_ranges(&text).ok_or_else(|| "the list of reserved ports cannot be read".to_owned())
        }),
        kernel: text("/proc/sys/kernel/osrelease"),
    }
}

fn clock(tree: &Tree) -> Seen<(bool, String)> {
    let by = || "by systemd-timesyncd".to_owned();
    if tree.has(&format!("{TIMESYNC}/synchronized"))? {
        Ok((true, by()))
    } else if tree.has(TIMESYNC)? {
        Ok((false, by()))
    } else {
        Err("systemd-timesyncd does not run; where chrony does, `chronyc tracking` says".to_owned())
    }
}

fn huge_pages(tree: &Tree) -> Seen<String> {
    const FILE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    match tree.optional_text(FILE)? {
        None => Ok("never".to_owned()),
        Some(text) => {
            let mode = selected(&text).map(str::to_owned);
            mode.ok_or_else(|| format!("`{FILE}` is `{text}`, with no mode selected"))
        }
    }
}

/// The word in brackets, as in `always [madvise] never`.
#[must_use]
pub fn selected(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// Bytes of swap in all of `/proc/swaps`, whose sizes are KiB. Source: proc(5).
#[must_use]
pub fn swap_bytes(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.next().filter(|head| head.starts_with("Filename"))?;
    lines.try_fold(0_u64, |sum, line| {
        // The name comes first and may have spaces, which the kernel writes as `\040`.
        let kib: u64 = line.split_ascii_whitespace().nth(2)?.parse().ok()?;
        Some(sum.saturating_add(kib.saturating_mul(1024)))
    })
}

/// Soft and hard limit on open files, of `/proc/PID/limits`; `None` within is no limit. Source: Linux fs/proc/base.c.
#[must_use]
pub fn open_files_limit(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_ascii_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some((limit()?, limit()?))
}

/// `32768 60999`, as `ip_local_port_range` has it.
#[must_use]
pub fn local_ports(text: &str) -> Option<PortRange> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
    let range = PortRange { first: words.next()??, last: words.next()?? };
    (words.next().is_none() && range.first <= range.last).then_some(range)
}

/// `4222,6222-6224`, as `ip_local_reserved_ports` has it; an empty text is an empty list.
#[must_use]
pub fn port_ranges(text: &str) -> Option<Vec<PortRange>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = PortRange { first: first.parse().ok()?, last: last.parse().ok()? };
        (range.first <= range.last).then_some(range)
    };
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.take(MOST_RANGES).map(range).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(selected("always [madvise] never"), Some("madvise"));
        assert_eq!(selected("none"), None);
        let swaps =
            "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1048576 0 -2\n/a\\040b file 1024 0 -3";
        assert_eq!(swap_bytes(swaps), Some((1 << 30) + (1 << 20)));
        assert_eq!(swap_bytes("Filename Type"), Some(0));
        assert_eq!(swap_bytes("/dev/sda2 partition 1 0 -2"), None);
        let limits = "Limit Soft Hard Units\nMax open files            1024                 unlimited            files";
        assert_eq!(open_files_limit(limits), Some((Some(1024), None)));
        assert_eq!(open_files_limit("Max open files 1024"), None);
        assert_eq!(local_ports("32768\t60999"), Some(PortRange { first: 32_768, last: 60_999 }));
        assert_eq!((local_ports("7 1"), local_ports("1 2 3"), local_ports("")), (None, None, None));
        assert_eq!(port_ranges(""), Some(Vec::new()));
        assert_eq!(port_ranges("5-4"), None);
    }

    proptest! {
        #[test]
        fn a_list_of_ports_is_read_back(ports in proptest::collection::vec((any::<u16>(), 0_u16..100), 0..20)) {
            let ranges: Vec<PortRange> = ports
                .into_iter()
                .map(|(first, more)| PortRange { first, last: first.saturating_add(more) })
                .collect();
            let text = ranges.iter().map(PortRange::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(port_ranges(&text), Some(ranges));
        }
    }
}
