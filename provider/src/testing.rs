//! What unit tests of the rollout and of claims are made of.

use host_state::SectionKind;
use host_state::document::{ContentHash, SectionHeader};

/// Header of the first generation of a section that no host is named in; a test says what else it wants.
pub(crate) fn header(section: SectionKind, owner: &str, body: &str) -> SectionHeader {
    SectionHeader {
        authority: "acme".to_owned(),
        section,
        owner: owner.to_owned(),
        host: None,
        claim_id: None,
        generation: 1,
        parent: None,
        content: ContentHash::of(body),
        document_key: 1,
        writer: "test".to_owned(),
    }
}
