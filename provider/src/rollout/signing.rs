//! Sections signed for one host, made from what its ledger holds.

use data_encoding::BASE64;
use host_state::document::{ContentHash, SECTION_DOMAIN, Section, SectionHeader, canonical};
use host_state::{SectionKind, SignedSection};
use identity::{Authority, HostName};

/// Whom a section is signed for and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Addressee<'a> {
    /// The host.
    pub host: &'a HostName,
    /// Its claim.
    pub claim_id: &'a str,
    /// The Terraform object that owns the section, like `nats_cluster/east`.
    pub owner: &'a str,
    /// Who writes, for the message that a losing writer gets.
    pub writer: &'a str,
}

/// The section that brings `body` to a host whose ledger holds `head`; `None` when it holds the same body already,
/// signed by the same document key.
pub fn sign<T: Section>(
    authority: &Authority,
    to: Addressee<'_>,
    head: Option<&SignedSection>,
    body: &T,
) -> Option<SignedSection> {
    let Addressee { host, claim_id, owner, writer } = to;
    let body = canonical(body);
    let content = ContentHash::of(&body);
    let document_key = authority.generations().previous().document;
    let is_same = |head: &SectionHeader| {
        head.content == content
            && head.owner == owner
            && head.document_key == document_key
            && head.claim_id.as_deref() == Some(claim_id)
    };
    if head.is_some_and(|head| is_same(&head.header)) {
        return None;
    }
    let header = SectionHeader {
        authority: authority.trust().operator.to_string(),
        section: T::KIND,
        owner: owner.to_owned(),
        host: Some(host.to_string()),
        claim_id: Some(claim_id.to_owned()),
        generation: head.map_or(1, |head| head.header.generation + 1),
        parent: head.map(|head| head.header.content.clone()),
        content,
        document_key,
        writer: writer.to_owned(),
    };
    let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    Some(SignedSection { header, body, signature: BASE64.encode(&signature) })
}

/// The section of a kind in a ledger.
pub fn head(sections: &[SignedSection], kind: SectionKind) -> Option<&SignedSection> {
    sections.iter().find(|section| section.header.section == kind)
}
