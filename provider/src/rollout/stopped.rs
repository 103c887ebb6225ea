//! A change of many hosts that stopped, told truthfully.

use std::collections::{BTreeMap, BTreeSet};

use identity::HostName;
use tfplug::Diagnostic;

/// A change that stopped. State is truthful: what was changed stays, and the next apply continues.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Hosts that were changed.
    pub changed: BTreeSet<HostName>,
    /// Hosts that could not be, and why.
    pub failed: BTreeMap<HostName, String>,
    /// Hosts that were not asked.
    pub untouched: BTreeSet<HostName>,
    /// Why it stopped, where it was no host's failure.
    pub reason: Option<String>,
}

impl Stopped {
    /// For people.
    #[must_use]
    pub fn diagnostic(&self, what: &str) -> Diagnostic {
        let Stopped { changed, failed, untouched, reason } = self;
        let list = |hosts: &BTreeSet<HostName>| {
            let names: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let mut lines: Vec<String> = failed.iter().map(|(host, why)| format!("`{host}`: {why}.")).collect();
        lines.extend(reason.iter().map(|reason| format!("{}.", capital(reason))));
        lines.push(format!("Changed: {}. Not changed: {}.", list(changed), list(untouched)));
        lines.push("What was changed stays; the next apply continues from here.".to_owned());
        let summary = match failed.len() {
            0 => format!("The change of `{what}` stopped"),
            1 => format!("The change of `{what}` stopped at one host"),
            count => format!("The change of `{what}` stopped at {count} hosts"),
        };
        Diagnostic::error(summary, lines.join("\n"))
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_who_was_changed_who_failed_and_who_was_not_asked() {
        let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let stopped = Stopped {
            changed: hosts(&["a-1"]),
            failed: BTreeMap::from([("a-2".parse().unwrap(), "it refused: no room".to_owned())]),
            untouched: hosts(&["a-3", "b-1"]),
            reason: None,
        };
        assert_eq!(
            stopped.diagnostic("nats_cluster/a").to_string(),
            "error: The change of `nats_cluster/a` stopped at one host: `a-2`: it refused: no room.\n\
             Changed: `a-1`. Not changed: `a-3`, `b-1`.\n\
             What was changed stays; the next apply continues from here."
        );
        let gate = Stopped {
            reason: Some("after `a-1` was changed, it was not well".to_owned()),
            ..Stopped::default()
        };
        assert_eq!(
            gate.diagnostic("nats_gateway/g").detail,
            "After `a-1` was changed, it was not well.\nChanged: none. Not changed: none.\n\
             What was changed stays; the next apply continues from here."
        );
    }
}
