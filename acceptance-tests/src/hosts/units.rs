//! How closed the units are, by systemd's own measure inside a host, and whether systemd takes every directive.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Stage;
use crate::proof::Row;

/// The most that `systemd-analyze security` may say, of 10, by unit.
const EXPOSURE: &[(&str, f64)] = &[
    ("nats-agent.service", 1.3),
    ("nats-agent-applier.service", 2.2),
    ("nats-agent-firewall.service", 2.2),
    ("nats-agent-shadow.service", 1.3),
    ("nats-server.service", 1.3),
];

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let hosts = stage.installed()?;
    let host = hosts.host("east-1")?;
    let mut rows = Vec::new();
    for (unit, most) in EXPOSURE {
        let text = host.output(&["systemd-analyze", "security", "--no-pager", unit])?.stdout;
        let found = exposure(&String::from_utf8_lossy(&text))
            .with_context(|| format!("systemd-analyze names no exposure of `{unit}`"))?;
        rows.push(Row::at_most(&format!("exposure of {unit}"), found, *most));
    }
    let mut ignored = Vec::new();
    for host in hosts.all() {
        ignored.extend(ignored_lines(&host.journal(&["--output=json"])?, host.name())?);
    }
    rows.extend(ignored.iter().map(|line| Row::told("ignored", line)));
    rows.push(Row::exactly("directives of ours that systemd ignores, on nine hosts", ignored.len(), 0));
    Ok(rows)
}

/// The figure in systemd's last line. Source: systemd 252, "Overall exposure level for x.service: 1.1 OK".
fn exposure(text: &str) -> Option<f64> {
    text.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("Overall exposure level for ")?;
        rest.split_whitespace().nth(1)?.parse().ok()
    })
}

/// What systemd says of a line in one of our unit files, which it does only of one that it does not take. Source: systemd
/// 252, `log_syntax`, which names the file in a field of its own.
fn ignored_lines(journal: &str, host: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).context("read the journal")?;
        if entry["CONFIG_FILE"].as_str().is_some_and(|file| file.contains("nats-")) {
            lines.push(format!("{host}: {}", entry["MESSAGE"].as_str().unwrap_or_default()));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_holds_the_exposure() {
        let text =
            "  NAME DESCRIPTION EXPOSURE\n\n→ Overall exposure level for nats-agent.service: 1.1 OK 🙂\n";
        assert_eq!(exposure(text), Some(1.1));
        assert_eq!(exposure("Unit x.service not found."), None);
    }

    #[test]
    fn only_what_systemd_says_of_our_units_counts() {
        let entry = |unit: &str, file: Option<&str>, message: &str| {
            serde_json::json!({ "UNIT": unit, "CONFIG_FILE": file, "MESSAGE": message }).to_string()
        };
        let unknown =
            "/usr/lib/systemd/system/nats-agent.service:9: Unknown key name 'X' in section 'Unit', ignoring.";
        let journal = [
            entry("nats-agent.service", Some("/usr/lib/systemd/system/nats-agent.service"), unknown),
            entry("getty.service", Some("/usr/lib/systemd/system/getty.service"), unknown),
            entry(
                "nats-agent.service",
                None,
                "Failed to kill control group /x, ignoring: Input/output error",
            ),
            entry("nats-agent.service", None, "Started nats-agent.service."),
        ];
        assert_eq!(ignored_lines(&journal.join("\n"), "east-1").unwrap(), [format!("east-1: {unknown}")]);
    }
}
