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

/// What systemd says of a directive that it does not take.
const IGNORED: &[&str] = &["ignoring", "Failed to parse", "Unknown key", "Unknown section", "Unknown lvalue"];

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

/// Lines of systemd itself that tell of a directive it did not take, of our units.
fn ignored_lines(journal: &str, host: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).context("read the journal")?;
        let message = entry["MESSAGE"].as_str().unwrap_or_default();
        let of_systemd = entry["_PID"].as_str() == Some("1");
        let ours =
            message.contains("nats-") || entry["UNIT"].as_str().is_some_and(|unit| unit.starts_with("nats-"));
        if of_systemd && ours && IGNORED.iter().any(|word| message.contains(word)) {
            lines.push(format!("{host}: {message}"));
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
        let entry = |pid: &str, unit: &str, message: &str| {
            serde_json::json!({ "_PID": pid, "UNIT": unit, "MESSAGE": message }).to_string()
        };
        let unknown =
            "/usr/lib/systemd/system/nats-agent.service:9: Unknown key name 'X' in section 'Unit', ignoring.";
        let journal = [
            entry("1", "", unknown),
            entry("1", "getty.service", "Failed to kill control group, ignoring"),
            entry("77", "nats-agent.service", "ignoring a peer"),
            entry("1", "nats-agent.service", "Started nats-agent.service."),
        ];
        assert_eq!(ignored_lines(&journal.join("\n"), "east-1").unwrap(), [format!("east-1: {unknown}")]);
    }
}
