//! Which of two writers wins: whether a section is taken in, decided from headers alone.
//!
//! A section is taken in when it was made from what the host has. The numbers only order the writings of one
//! owner; the parent's content hash is what proves that nobody wrote in between, so generations may have gaps.
//!
//! With nothing in the ledger a section with a parent is taken in too: the parent is then what the writer
//! remembers of the host's earlier life. Nobody's writing can be lost by it, and the claim id, new with each life
//! of a host, keeps out everything that was signed for the earlier one.
//!
//! Claims differ in one point: one chain of them is shared by every host, so a host that was away takes a section in
//! that is two or more generations ahead of its own.
//!
//! Signatures, content hashes and bodies are checked elsewhere; nothing here has seen a key.

use crate::document::{SectionHeader, SectionKind};

/// Whom the host belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<'a> {
    /// Operator public key of the authority.
    pub authority: &'a str,
    /// Host name.
    pub host: &'a str,
    /// The claim's id.
    pub claim_id: &'a str,
}

/// How a section is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It becomes the head.
    New,
    /// It is the head already: nothing to write, and a success.
    Same,
}

/// Why a section is not taken in. The texts are for people, and name the writer who was faster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Signed for another authority.
    #[error("the `{section}` section is of authority `{found}`, this host belongs to `{expected}`")]
    Authority {
        /// Which section.
        section: SectionKind,
        /// The authority that the host belongs to.
        expected: String,
        /// The authority in the header.
        found: String,
    },
    /// Meant for another host, or for none although sections of this kind are for one.
    #[error("the `{section}` section is for {}, this host is `{expected}`", host_text(found))]
    Host {
        /// Which section.
        section: SectionKind,
        /// This host.
        expected: String,
        /// The host in the header.
        found: Option<String>,
    },
    /// Signed for another claim of this host.
    #[error(
        "the `{section}` section was signed for another claim of host `{host}`; the host has been enrolled anew \
         since, refresh and apply again"
    )]
    Claim {
        /// Which section.
        section: SectionKind,
        /// This host.
        host: String,
    },
    /// A claims section names a host or a claim, although every host takes the same one.
    #[error("the `claims` section is bound to a host, but is the same for every host of the authority")]
    BoundClaims,
    /// Generations count from 1.
    #[error("the `{section}` section of `{owner}` has generation 0, generations count from 1")]
    Zero {
        /// Which section.
        section: SectionKind,
        /// Its owner.
        owner: String,
    },
    /// The caller compared two sections of different kinds.
    #[error("the `{incoming}` section was compared with a `{head}` section")]
    Kind {
        /// Kind of what is in the ledger.
        head: SectionKind,
        /// Kind of what came.
        incoming: SectionKind,
    },
    /// Another Terraform object owns the section.
    #[error(
        "the `{section}` section belongs to `{owner}`, `{found}` may not write it (last written by {writer})"
    )]
    Owner {
        /// Which section.
        section: SectionKind,
        /// Its owner.
        owner: String,
        /// Who tried.
        found: String,
        /// Who last wrote it.
        writer: String,
    },
    /// A newer one is there.
    #[error(
        "generation {found} of `{owner}` is older than generation {head}, which {writer} wrote; refresh and apply again"
    )]
    Older {
        /// The owner.
        owner: String,
        /// Generation in the ledger.
        head: u64,
        /// Generation that came.
        found: u64,
        /// Who wrote the newer one.
        writer: String,
    },
    /// The same number, another content.
    #[error(
        "generation {generation} of `{owner}` was already written by {writer} with other content; refresh and apply again"
    )]
    Rewritten {
        /// The owner.
        owner: String,
        /// The number both have.
        generation: u64,
        /// Who was first.
        writer: String,
    },
    /// Made from something else than what the host has.
    #[error(
        "generation {found} of `{owner}` was not made from generation {head}, which {writer} wrote meanwhile; \
         refresh and apply again"
    )]
    Fork {
        /// The owner.
        owner: String,
        /// Generation in the ledger.
        head: u64,
        /// Generation that came.
        found: u64,
        /// Who wrote what is in the ledger.
        writer: String,
    },
}

fn host_text(found: &Option<String>) -> String {
    found.as_ref().map_or_else(|| "no host".to_owned(), |host| format!("host `{host}`"))
}

/// Whether `incoming` may follow `head`, the newest header in the ledger of the same kind; `None` when there is none.
///
/// # Errors
/// [`Refusal`]: the first of authority, host, claim, owner, generation and parent that is wrong.
pub fn admit(
    bound: &Bound<'_>,
    head: Option<&SectionHeader>,
    incoming: &SectionHeader,
) -> Result<Admission, Refusal> {
    addressed(bound, incoming)?;
    let SectionHeader { section, owner, generation, parent, content, .. } = incoming;
    let (section, found) = (*section, *generation);
    let Some(head) = head else { return Ok(Admission::New) };
    if head.section != section {
        return Err(Refusal::Kind { head: head.section, incoming: section });
    }
    let writer = head.writer.clone();
    if head.owner != *owner {
        return Err(Refusal::Owner { section, owner: head.owner.clone(), found: owner.clone(), writer });
    }
    let owner = owner.clone();
    match found.cmp(&head.generation) {
        std::cmp::Ordering::Less => Err(Refusal::Older { owner, head: head.generation, found, writer }),
        std::cmp::Ordering::Equal if *content == head.content => Ok(Admission::Same),
        std::cmp::Ordering::Equal => Err(Refusal::Rewritten { owner, generation: found, writer }),
        std::cmp::Ordering::Greater if parent.as_ref() == Some(&head.content) => Ok(Admission::New),
        std::cmp::Ordering::Greater if missed_some(section, found, head.generation) => Ok(Admission::New),
        std::cmp::Ordering::Greater => Err(Refusal::Fork { owner, head: head.generation, found, writer }),
    }
}

/// Whether this host was away while others took claims in. One chain of claims is shared by all hosts, so a host that
/// missed a generation cannot know the parent; every writer proves its parent to a host that has it.
fn missed_some(section: SectionKind, found: u64, head: u64) -> bool {
    section == SectionKind::Claims && found > head.saturating_add(1)
}

/// Whether a header is addressed to this host at all.
fn addressed(bound: &Bound<'_>, incoming: &SectionHeader) -> Result<(), Refusal> {
    let Bound { authority, host, claim_id } = *bound;
    let section = incoming.section;
    if incoming.authority != authority {
        let (expected, found) = (authority.to_owned(), incoming.authority.clone());
        return Err(Refusal::Authority { section, expected, found });
    }
    match section {
        SectionKind::Claims => {
            if incoming.host.is_some() || incoming.claim_id.is_some() {
                return Err(Refusal::BoundClaims);
            }
        }
        SectionKind::Cluster | SectionKind::Gateway => {
            if incoming.host.as_deref() != Some(host) {
                let (expected, found) = (host.to_owned(), incoming.host.clone());
                return Err(Refusal::Host { section, expected, found });
            }
            if incoming.claim_id.as_deref() != Some(claim_id) {
                return Err(Refusal::Claim { section, host: host.to_owned() });
            }
        }
    }
    if incoming.generation == 0 {
        return Err(Refusal::Zero { section, owner: incoming.owner.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
