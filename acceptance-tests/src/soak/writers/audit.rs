//! What the agents' logs say happened, and whether it may have: who wrote which section after which, who held the lease
//! meanwhile. Must not ask anybody else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The lines of one host's agent that tell of sections and leases, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    entries: Vec<(OffsetDateTime, Event)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Taken { section: String, generation: u64, content: String, parent: String, writer: String },
    Granted { holder: String, left_ms: u64 },
    Ended,
}

/// What must not have happened, and how much did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Cluster sections taken in.
    pub(super) cluster_sections: u64,
    /// Generations of claims, however many hosts took each in.
    pub(super) claims_generations: u64,
    /// Times the lease of a host was granted to another holder than before.
    pub(super) grants: u64,
    /// Sections whose parent is not the one before, on one host or over all.
    pub(super) branches: Vec<String>,
    /// Numbers that stand for two contents.
    pub(super) rewritten: Vec<String>,
    /// Leases granted while another one was alive.
    pub(super) second_holders: Vec<String>,
    /// Cluster sections by somebody who did not hold the lease.
    pub(super) without_lease: Vec<String>,
    /// Claims that a host took in without having had the generation before.
    pub(super) gaps: u64,
}

impl Log {
    /// Reads what an agent wrote.
    ///
    /// # Errors
    /// When a line of ours does not have its form.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for line in text.lines() {
            let Some((at, event)) = entry(line).with_context(|| format!("read the line `{line}`"))? else {
                continue;
            };
            entries.push((at, event));
        }
        Ok(Self { entries })
    }

    /// Who held this host's lease, or wrote what it took in, between two moments; also who had the lease or the last
    /// word at the first of them.
    fn active(&self, from: OffsetDateTime, to: OffsetDateTime) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let (mut holders, mut writers) = (BTreeSet::new(), BTreeSet::new());
        let mut last = [None, None];
        for (at, event) in &self.entries {
            if *at > to {
                break;
            }
            if *at >= from {
                holders.extend(last[0].take());
                writers.extend(last[1].take());
            }
            match event {
                Event::Granted { holder, .. } => last[0] = Some(holder.as_str()),
                Event::Taken { writer, .. } => last[1] = Some(writer.as_str()),
                Event::Ended => last[0] = None,
            }
            if *at >= from {
                holders.extend(last[0]);
                writers.extend(last[1]);
            }
        }
        holders.extend(last[0]);
        writers.extend(last[1]);
        (holders, writers)
    }
}

/// Who won between two moments: held the lease of most hosts, or wrote what a host has.
pub(super) fn winners(logs: &[Log], from: OffsetDateTime, to: OffsetDateTime) -> BTreeSet<&str> {
    let mut winners = BTreeSet::new();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for log in logs {
        let (holders, writers) = log.active(from, to);
        winners.extend(writers);
        for holder in holders {
            *held.entry(holder).or_default() += 1;
        }
    }
    winners.extend(held.into_iter().filter(|(_, hosts)| hosts * 2 > logs.len()).map(|(holder, _)| holder));
    winners
}

/// Holds every host's log, and all together, against the rules.
pub(super) fn check(logs: &[Log]) -> Findings {
    let mut findings = Findings::default();
    let mut claims: BTreeMap<u64, BTreeMap<&str, &str>> = BTreeMap::new();
    for (number, log) in logs.iter().enumerate() {
        let host = number + 1;
        let mut heads: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        let mut holder: Option<&str> = None;
        for (_, event) in &log.entries {
            match event {
                Event::Granted { holder: next, left_ms } => {
                    findings.grants += 1;
                    if holder.is_some() && *left_ms > 0 {
                        findings.second_holders.push(format!("host {host}: {next} beside {holder:?}"));
                    }
                    holder = Some(next);
                }
                Event::Ended => holder = None,
                Event::Taken { section, generation, content, parent, writer } => {
                    let is_claims = section == "claims";
                    if is_claims {
                        claims.entry(*generation).or_default().insert(content, parent);
                    } else {
                        findings.cluster_sections += 1;
                        if holder != Some(writer) {
                            findings.without_lease.push(format!("host {host}: {writer} beside {holder:?}"));
                        }
                    }
                    if let Some((before, head)) = heads.insert(section, (*generation, content)) {
                        let is_gap = is_claims && *generation > before + 1;
                        findings.gaps += u64::from(is_gap);
                        if *generation <= before || (!is_gap && parent != head) {
                            let line =
                                format!("host {host}: {section} {generation} of {writer} after {before}");
                            findings.branches.push(line);
                        }
                    }
                }
            }
        }
    }
    check_chain(&claims, &mut findings);
    findings
}

/// One chain of claims is shared by all hosts.
fn check_chain(claims: &BTreeMap<u64, BTreeMap<&str, &str>>, findings: &mut Findings) {
    findings.claims_generations = claims.len() as u64;
    let mut before: Option<(u64, &BTreeMap<&str, &str>)> = None;
    for (generation, contents) in claims {
        if contents.len() > 1 {
            findings.rewritten.push(format!("claims {generation} has {} contents", contents.len()));
        }
        if let Some((number, known)) = before.replace((*generation, contents)) {
            for parent in contents.values().filter(|parent| !known.contains_key(*parent)) {
                let line = format!("claims {generation} was made from {parent}, which is not {number}");
                findings.branches.push(line);
            }
        }
    }
}

/// A line of ours; `None` for any other.
fn entry(line: &str) -> Result<Option<(OffsetDateTime, Event)>> {
    let (start, fields) = match ["section taken in ", "lease granted ", "lease ended "]
        .into_iter()
        .find_map(|message| Some((message, line.split_once(message)?)))
    {
        Some((message, (start, fields))) => ((message, start), fields),
        None => return Ok(None),
    };
    let (message, start) = start;
    let at = start.split_whitespace().next().context("it has no time")?;
    let at = OffsetDateTime::parse(at, &Rfc3339).context("read its time")?;
    let number = |name: &str| field(fields, name)?.parse::<u64>().with_context(|| format!("read `{name}`"));
    let event = match message {
        "section taken in " => Event::Taken {
            section: field(fields, "section")?,
            generation: number("generation")?,
            content: field(fields, "content")?,
            parent: field(fields, "parent")?,
            writer: field(fields, "writer")?,
        },
        "lease granted " => Event::Granted { holder: field(fields, "holder")?, left_ms: number("left_ms")? },
        _ => Event::Ended,
    };
    Ok(Some((at, event)))
}

/// The value of `name=value` or `name="value"`.
fn field(fields: &str, name: &str) -> Result<String> {
    let (_, rest) = fields.split_once(&format!("{name}=")).with_context(|| format!("no `{name}`"))?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    };
    match value {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        Some(_) | None => bail!("`{name}` is empty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(u32, &str)]) -> Log {
        let line =
            |(second, rest): &(u32, &str)| format!("2026-01-01T00:00:{second:02}.000001Z  INFO {rest}\n");
        Log::read(&lines.iter().map(line).collect::<String>()).unwrap()
    }

    fn taken(section: &str, generation: u64, content: &str, parent: &str, writer: &str) -> String {
        format!(
            "section taken in section={section} generation={generation} content=\"{content}\" parent=\"{parent}\" \
             writer=\"{writer}\""
        )
    }

    fn at(second: u8) -> OffsetDateTime {
        OffsetDateTime::parse(&format!("2026-01-01T00:00:{second:02}Z"), &Rfc3339).unwrap()
    }

    const GRANT_A: &str = "lease granted lease_id=\"1\" holder=\"writer a\" left_ms=0";

    #[test]
    fn a_line_of_owners_in_turn_is_clean() {
        let first = taken("cluster", 1, "c1", "none", "writer a");
        let second = taken("cluster", 2, "c2", "c1", "writer b");
        let log = log(&[
            (1, GRANT_A),
            (2, &first),
            (3, "lease ended lease_id=\"1\" holder=\"writer a\" left_ms=9"),
            (4, "lease granted lease_id=\"2\" holder=\"writer b\" left_ms=0"),
            (5, "apply role=operator"),
            (6, &second),
            (7, &taken("claims", 1, "x", "none", "writer a")),
            (8, &taken("claims", 4, "y", "w", "writer a")),
        ]);
        let findings = check(std::slice::from_ref(&log));
        assert_eq!((findings.cluster_sections, findings.grants, findings.gaps), (2, 2, 1));
        assert!(findings.second_holders.is_empty() && findings.without_lease.is_empty(), "{findings:?}");
        // Over all hosts the claims between are missing.
        assert_eq!(findings.branches.len(), 1);
        let logs = [log];
        assert_eq!(winners(&logs, at(0), at(2)), ["writer a"].into());
        assert_eq!(winners(&logs, at(4), at(7)), ["writer a", "writer b"].into());
    }

    #[test]
    fn each_broken_rule_is_found() {
        let first = taken("cluster", 1, "c1", "none", "writer b");
        let fork = taken("cluster", 2, "c2", "other", "writer a");
        let left = log(&[
            (1, GRANT_A),
            (2, "lease granted lease_id=\"2\" holder=\"writer b\" left_ms=500"),
            (3, &first),
            (4, &fork),
            (5, &taken("claims", 1, "x", "none", "writer a")),
        ]);
        let right = log(&[(5, &taken("claims", 1, "y", "none", "writer b"))]);
        let findings = check(&[left, right]);
        assert_eq!(findings.second_holders.len(), 1, "{findings:?}");
        assert_eq!(findings.without_lease.len(), 1, "{findings:?}");
        assert_eq!((findings.branches.len(), findings.rewritten.len()), (1, 1), "{findings:?}");
    }

    #[test]
    fn only_who_has_most_hosts_has_won() {
        let logs = [log(&[(1, GRANT_A)]), log(&[(1, GRANT_A)]), log(&[])];
        assert_eq!(winners(&logs, at(2), at(3)), ["writer a"].into());
        assert_eq!(winners(&[log(&[(1, GRANT_A)]), log(&[]), log(&[])], at(2), at(3)), BTreeSet::new());
    }
}
