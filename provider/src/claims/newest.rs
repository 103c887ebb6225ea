//! The newest claims section that any host of the system has.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{ClaimsSection, SECTION_DOMAIN, SectionHeader};
use host_state::{SectionKind, SignedSection};
use identity::{HostName, Trust};
use tfplug::Diagnostic;

use crate::agents::System;

/// What the hosts answered.
#[derive(Debug)]
pub struct Newest {
    /// The newest section; absent when every host that answered has none.
    pub head: Option<Head>,
    /// Hosts that answered.
    pub answered: Vec<HostName>,
    /// Hosts that did not, and why.
    pub silent: BTreeMap<HostName, Diagnostic>,
}

/// The newest section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its header; of a fork that of the first host by name.
    pub header: SectionHeader,
    /// Its content; of a fork both sides joined.
    pub section: ClaimsSection,
    /// Whether some host has an account that is newer than in the newest section, or other content under its
    /// generation: two writers who each reached only hosts that the other did not. The next write ends it.
    pub is_forked: bool,
}

/// Asks every host but `without` these, which have no say in it: they are neither among those that answered nor silent.
///
/// # Errors
/// When no host answers, or the newest section is none that this authority signed.
pub async fn newest(system: &System, without: &BTreeSet<HostName>) -> Result<Newest, Diagnostic> {
    let answers = system.each_host(without, |host, agent| async move { fetch(&host, &agent).await }).await;
    let mut newest = Newest { head: None, answered: Vec::new(), silent: BTreeMap::new() };
    let mut sections: Vec<SignedSection> = Vec::new();
    for (host, answer) in answers {
        match answer {
            Ok(section) => {
                sections.extend(section);
                newest.answered.push(host);
            }
            Err(problem) => drop(newest.silent.insert(host, problem)),
        }
    }
    if newest.answered.is_empty() {
        return Err(nobody(&newest.silent));
    }
    newest.head = join(sections, &system.trust)?;
    Ok(newest)
}

/// The newest of `sections`, which come in the order of their hosts, joined with what others have that is not in it.
///
/// Entries are never taken out and their `iat` only grows, so a section that came before the newest one adds nothing.
/// One that does was written beside it, however many generations ago.
fn join(mut sections: Vec<SignedSection>, trust: &Trust) -> Result<Option<Head>, Diagnostic> {
    // Stable: of a fork that of the first host comes first.
    sections.sort_by_key(|section| std::cmp::Reverse(section.header.generation));
    let mut joined: Option<Head> = None;
    let mut contents = BTreeSet::new();
    for section in sections {
        if !contents.insert(section.header.content.clone()) {
            continue;
        }
        let (header, section) = match (open(section, trust), &joined) {
            (Ok(opened), _) => opened,
            // An old one may be signed by a key that was rotated out since.
            (Err(problem), Some(head)) => {
                tracing::debug!(generation = head.header.generation, "older claims: {}", problem.detail);
                continue;
            }
            (Err(problem), None) => return Err(problem),
        };
        joined = Some(match joined {
            None => Head { header, section, is_forked: false },
            Some(head) => {
                let both = both(head.section.clone(), section);
                let is_forked = header.generation == head.header.generation || both != head.section;
                Head { section: both, is_forked: head.is_forked || is_forked, ..head }
            }
        });
    }
    Ok(joined)
}

/// Every account of both, the later JWT where both have one: it is what servers keep too.
fn both(first: ClaimsSection, second: ClaimsSection) -> ClaimsSection {
    let mut accounts = first.accounts;
    for (account, entry) in second.accounts {
        if accounts.get(&account).is_none_or(|known| known.issued_at < entry.issued_at) {
            accounts.insert(account, entry);
        }
    }
    ClaimsSection { accounts }
}

async fn fetch(
    host: &HostName,
    agent: &nats_agent_api::AgentClient,
) -> Result<Option<SignedSection>, Diagnostic> {
    agent.claims().await.map_err(|error| {
        Diagnostic::warning(
            format!("Host `{host}` was not asked for its claims"),
            format!("{}.", host_state::chain(&error)),
        )
    })
}

fn nobody(silent: &BTreeMap<HostName, Diagnostic>) -> Diagnostic {
    let reasons: Vec<String> =
        silent.iter().map(|(host, problem)| format!("`{host}`: {}", problem.detail)).collect();
    Diagnostic::error(
        "No agent answers",
        format!(
            "Accounts and users are read from the agents, any of them:\n{}\nNothing was changed. Apply again when one \
             answers.",
            reasons.join("\n")
        ),
    )
}

/// Checks signature and form. Agents checked both; a provider that merges into a section trusts no host alone.
fn open(section: SignedSection, trust: &Trust) -> Result<(SectionHeader, ClaimsSection), Diagnostic> {
    let wrong =
        |reason: String| Diagnostic::error("The claims in the agents' ledgers cannot be used", reason);
    let signature = data_encoding::BASE64
        .decode(section.signature.as_bytes())
        .ok()
        .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
        .ok_or_else(|| wrong("Their signature is no Ed25519 signature in base64.".to_owned()))?;
    let signed = section.header.signed_bytes();
    let keys = std::iter::once(&trust.document_key).chain(&trust.previous_document_key);
    if !keys.into_iter().any(|key| key.verify(SECTION_DOMAIN, &signed, &signature)) {
        return Err(wrong("They are not signed by this authority's document key.".to_owned()));
    }
    if section.header.section != SectionKind::Claims {
        return Err(wrong(format!("An agent answered with a `{}` section.", section.header.section)));
    }
    let body = section.body::<ClaimsSection>().map_err(|error| wrong(host_state::chain(&error)))?;
    Ok((section.header, body))
}

#[cfg(test)]
mod tests {
    use host_state::document::{ClaimEntry, canonical};
    use identity::{Authority, Generations};

    use super::*;
    use crate::testing::header;

    fn authority(root: &str) -> Authority {
        Authority::derive(&root.parse().unwrap(), "acme".parse().unwrap(), Generations::default()).unwrap()
    }

    fn ours() -> Authority {
        authority("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=")
    }

    fn signed(authority: &Authority, generation: u64, accounts: &[(&str, i64)]) -> SignedSection {
        let entry = |(name, issued_at): &(&str, i64)| {
            let jwt = format!("{name} {issued_at}");
            let declared = serde_json::Value::Null;
            let entry = ClaimEntry {
                name: (*name).to_owned(),
                jwt,
                issued_at: *issued_at,
                tombstone: false,
                declared,
            };
            ((*name).to_owned(), entry)
        };
        let body = canonical(&ClaimsSection { accounts: accounts.iter().map(entry).collect() });
        let header = SectionHeader {
            authority: authority.trust().operator.to_string(),
            generation,
            ..header(SectionKind::Claims, "nats_authority/acme", &body)
        };
        let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
        SignedSection { header, body, signature: data_encoding::BASE64.encode(&signature) }
    }

    fn joined(sections: Vec<SignedSection>) -> Head {
        join(sections, &ours().trust()).unwrap().unwrap()
    }

    fn accounts(head: &Head) -> Vec<(&str, i64)> {
        head.section.accounts.iter().map(|(name, entry)| (name.as_str(), entry.issued_at)).collect()
    }

    #[test]
    fn the_newest_counts_and_equal_ones_are_no_fork() {
        let (old, new) = (signed(&ours(), 1, &[("a", 1)]), signed(&ours(), 2, &[("a", 2)]));
        let head = joined(vec![old.clone(), new.clone(), new, old]);
        assert_eq!((head.header.generation, head.is_forked, accounts(&head)), (2, false, vec![("a", 2)]));
        assert_eq!(join(Vec::new(), &ours().trust()).unwrap(), None);
    }

    #[test]
    fn a_fork_is_joined_with_the_later_of_what_both_have() {
        let left = signed(&ours(), 5, &[("a", 10), ("b", 20), ("c", 5)]);
        let right = signed(&ours(), 5, &[("b", 15), ("c", 6), ("d", 7)]);
        let head = joined(vec![left.clone(), right]);
        assert!(head.is_forked);
        assert_eq!(head.header, left.header);
        assert_eq!(accounts(&head), [("a", 10), ("b", 20), ("c", 6), ("d", 7)]);
    }

    #[test]
    fn what_was_written_beside_an_older_generation_is_not_lost() {
        let common = signed(&ours(), 4, &[("a", 1)]);
        let beside = signed(&ours(), 5, &[("a", 1), ("b", 20)]);
        let newest = signed(&ours(), 6, &[("a", 9), ("c", 5)]);
        let head = joined(vec![common, beside, newest.clone()]);
        assert_eq!(head.header, newest.header);
        assert!(head.is_forked);
        assert_eq!(accounts(&head), [("a", 9), ("b", 20), ("c", 5)]);
    }

    #[test]
    fn what_another_authority_signed_is_not_used() {
        let forged = signed(&authority("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyE="), 9, &[("a", 1)]);
        let mut edited = signed(&ours(), 9, &[("a", 1)]);
        edited.body = edited.body.replace('1', "2");
        for section in [forged, edited] {
            let problem = join(vec![section], &ours().trust()).unwrap_err();
            assert_eq!(problem.summary, "The claims in the agents' ledgers cannot be used");
        }
    }
}
