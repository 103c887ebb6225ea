//! Checks of the host beside its store. Only what breaks connections is refused; the rest is advice.

use super::{Check, Found, MachineFacts, OpenFiles, PortRange, Seen, Wanted, found, size};

/// Open files of each stream and consumer. Source: nats-server util/nats-server-hardened.service: "JetStream requires 2
/// FDs open per stream".
const FILES_PER_ASSET: u64 = 2;
/// Most swappiness with swap in use. Source: redpanda rpk and CockroachDB, recommended production settings.
const MOST_SWAPPINESS: u64 = 10;
/// Least queue of connections that wait to be accepted. Source: Linux 5.4 made 4096 the default.
const LEAST_SOMAXCONN: u64 = 4096;
/// Clock sources that are read without a call into the hypervisor or a slow device.
/// Source: Linux, Documentation/virt/kvm and arch/*/kernel/{tsc,kvmclock}.c.
const GOOD_CLOCKSOURCES: [&str; 6] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "timebase", "tod"];
/// Modes of transparent huge pages, the better one first.
const GOOD_HUGE_PAGES: [&str; 2] = ["madvise", "never"];
/// Oldest kernel, major and minor: that of the oldest distributions that run the agent (glibc 2.31).
const OLDEST_KERNEL: (u32, u32) = (5, 4);

pub(super) fn checks(wanted: &Wanted, facts: &MachineFacts) -> Vec<Check> {
    let MachineFacts {
        open_files,
        file_max,
        swap,
        swappiness,
        clock,
        huge_pages,
        somaxconn,
        clocksource,
        local_ports,
        reserved_ports,
        kernel,
    } = facts;
    let files = open_files_wanted(wanted);
    vec![
        found(open_files, |limit| open_files_rule(files, limit))
            .check("open_files", format!("at least {files}")),
        found(file_max, |most| at_least(*most, files, "fs.file-max"))
            .check("file_max", format!("at least {files}")),
        found(swap, |bytes| swap_rule(*bytes, swappiness))
            .check("swap", format!("none, or swappiness at most {MOST_SWAPPINESS}")),
        found(clock, |(is_right, by)| clock_rule(*is_right, by)).check("clock", "synchronised"),
        found(huge_pages, |mode| huge_pages_rule(mode)).check("huge_pages", GOOD_HUGE_PAGES.join(" or ")),
        found(somaxconn, |most| at_least(*most, LEAST_SOMAXCONN, "net.core.somaxconn"))
            .check("somaxconn", format!("at least {LEAST_SOMAXCONN}")),
        found(clocksource, |source| clocksource_rule(source))
            .check("clocksource", format!("one of {}", GOOD_CLOCKSOURCES.join(", "))),
        found(local_ports, |range| ports_rule(wanted, *range, reserved_ports))
            .check("local_ports", "no port of the server or its agent among them, or reserved"),
        found(kernel, |release| kernel_rule(release))
            .check("kernel", format!("at least {}.{}", OLDEST_KERNEL.0, OLDEST_KERNEL.1)),
    ]
}

/// Two files for each stream and consumer, one for each connection, and a tenth more.
fn open_files_wanted(wanted: &Wanted) -> u64 {
    let files = wanted.assets.saturating_mul(FILES_PER_ASSET).saturating_add(wanted.connections);
    files.saturating_add(files / 10)
}

fn open_files_rule(wanted: u64, limit: &OpenFiles) -> Found {
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let value = format!("{}, hard {}, of {}", text(limit.soft), text(limit.hard), limit.of);
    // Go raises the soft limit of a process to its hard one. Source: Go 1.19 release notes, os package.
    if limit.hard.is_none_or(|hard| hard >= wanted) {
        Found::pass(value)
    } else {
        Found::warn(value, format!("set `LimitNOFILE={wanted}` or more where nats-server is started"))
    }
}

fn at_least(found: u64, least: u64, setting: &str) -> Found {
    if found >= least {
        Found::pass(found.to_string())
    } else {
        Found::warn(
            found.to_string(),
            format!("`sysctl -w {setting}={least}`, and the same in `/etc/sysctl.d`"),
        )
    }
}

fn swap_rule(bytes: u64, swappiness: &Seen<u64>) -> Found {
    let remedy = format!("`swapoff -a`, or `sysctl -w vm.swappiness={MOST_SWAPPINESS}`");
    match swappiness {
        _ if bytes == 0 => Found::pass("none"),
        Ok(value) if *value <= MOST_SWAPPINESS => {
            Found::pass(format!("{} with swappiness {value}", size(bytes)))
        }
        Ok(value) => Found::warn(format!("{} with swappiness {value}", size(bytes)), remedy),
        Err(reason) => Found::warn(format!("{} with swappiness unknown: {reason}", size(bytes)), remedy),
    }
}

fn clock_rule(is_right: bool, by: &str) -> Found {
    if is_right {
        Found::pass(format!("synchronised, {by}"))
    } else {
        Found::warn(
            format!("not synchronised, {by}"),
            "run systemd-timesyncd or chrony: certificates and leases go by the clock",
        )
    }
}

fn huge_pages_rule(mode: &str) -> Found {
    if GOOD_HUGE_PAGES.contains(&mode) {
        Found::pass(mode)
    } else {
        let [best, ..] = GOOD_HUGE_PAGES;
        Found::warn(mode, format!("`echo {best} > /sys/kernel/mm/transparent_hugepage/enabled`"))
    }
}

fn clocksource_rule(source: &str) -> Found {
    if GOOD_CLOCKSOURCES.contains(&source) {
        Found::pass(source)
    } else {
        Found::warn(source, "reading the time is slow on this one; choose another at boot, `clocksource=tsc`")
    }
}

/// A port that the kernel gives to a connection of the host's own is taken when the server starts, and replies to such
/// a connection meet the rules of the firewall for a managed port.
fn ports_rule(wanted: &Wanted, range: PortRange, reserved: &Seen<Vec<PortRange>>) -> Found {
    let value = range.to_string();
    let inside: Vec<u16> = wanted.ports.iter().copied().filter(|port| range.contains(*port)).collect();
    if inside.is_empty() {
        return Found::pass(value);
    }
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let reserved = match reserved {
        Ok(reserved) => reserved,
        Err(reason) => {
            return Found::warn(
                format!("{value}, over {}, reserved ones unknown: {reason}", list(&inside)),
                "look at `sysctl net.ipv4.ip_local_reserved_ports`",
            );
        }
    };
    let is_reserved = |port: &u16| reserved.iter().any(|range| range.contains(*port));
    let open: Vec<u16> = inside.iter().copied().filter(|port| !is_reserved(port)).collect();
    if open.is_empty() {
        return Found::pass(format!("{value}, with {} reserved", list(&inside)));
    }
    // What is written replaces the list, so what is reserved already has to be in it.
    let all: Vec<String> =
        reserved.iter().map(PortRange::to_string).chain(open.iter().map(u16::to_string)).collect();
    Found::refuse(
        format!("{value}, over {}", list(&open)),
        format!(
            "`sysctl -w net.ipv4.ip_local_reserved_ports={}`, and the same in `/etc/sysctl.d`",
            all.join(",")
        ),
    )
}

fn kernel_rule(release: &str) -> Found {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST_KERNEL => Found::pass(release),
        (Some(Ok(_)), Some(Ok(_))) => {
            Found::warn(release, "use a newer kernel: the agent was not tried on this one")
        }
        _ => Found::unknown(&format!("`{release}` is no release of Linux")),
    }
}
