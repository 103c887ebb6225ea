//! Who is taken in after whom, and what the loser is told.

use super::*;
use crate::document::ContentHash;

fn header(generation: u64, parent: Option<&str>, content: &str) -> SectionHeader {
    SectionHeader {
        authority: "OACME".to_owned(),
        section: SectionKind::Cluster,
        owner: "nats_cluster/east".to_owned(),
        host: Some("east-1".to_owned()),
        claim_id: Some("claim".to_owned()),
        generation,
        parent: parent.map(ContentHash::of),
        content: ContentHash::of(content),
        document_key: 1,
        writer: format!("writer of {content}"),
    }
}

fn admitted(head: Option<&SectionHeader>, incoming: &SectionHeader) -> Result<Admission, String> {
    let bound = Bound { authority: "OACME", host: "east-1", claim_id: "claim" };
    admit(&bound, head, incoming).map_err(|refusal| refusal.to_string())
}

#[test]
fn what_follows_is_taken_in_with_gaps_and_the_same_again_is_a_success() {
    let head = header(3, Some("b"), "c");
    assert_eq!(admitted(None, &header(1, None, "a")), Ok(Admission::New));
    // What the writer remembers of an earlier life of the host.
    assert_eq!(admitted(None, &header(9, Some("gone"), "a")), Ok(Admission::New));
    assert_eq!(admitted(Some(&head), &header(4, Some("c"), "d")), Ok(Admission::New));
    assert_eq!(admitted(Some(&head), &header(40, Some("c"), "d")), Ok(Admission::New));
    assert_eq!(admitted(Some(&head), &head), Ok(Admission::Same));
}

#[test]
fn the_loser_is_told_who_was_faster() {
    let head = header(3, Some("b"), "c");
    let cases = [
        (
            header(2, Some("a"), "b"),
            "generation 2 of `nats_cluster/east` is older than generation 3, which writer of c wrote; refresh and apply \
             again",
        ),
        (
            header(3, Some("b"), "x"),
            "generation 3 of `nats_cluster/east` was already written by writer of c with other content; refresh and \
             apply again",
        ),
        (
            header(4, Some("b"), "x"),
            "generation 4 of `nats_cluster/east` was not made from generation 3, which writer of c wrote meanwhile; \
             refresh and apply again",
        ),
        (
            header(4, None, "x"),
            "generation 4 of `nats_cluster/east` was not made from generation 3, which writer of c wrote meanwhile; \
             refresh and apply again",
        ),
        (
            SectionHeader { owner: "nats_cluster/west".to_owned(), ..header(4, Some("c"), "d") },
            "the `cluster` section belongs to `nats_cluster/east`, `nats_cluster/west` may not write it (last written \
             by writer of c)",
        ),
    ];
    for (incoming, text) in cases {
        assert_eq!(admitted(Some(&head), &incoming), Err(text.to_owned()));
    }
}

#[test]
fn what_is_addressed_to_another_is_refused_whatever_is_there() {
    let good = || header(4, Some("c"), "d");
    let cases = [
        (
            SectionHeader { authority: "OTHER".to_owned(), ..good() },
            "the `cluster` section is of authority `OTHER`, this host belongs to `OACME`",
        ),
        (
            SectionHeader { host: Some("east-2".to_owned()), ..good() },
            "the `cluster` section is for host `east-2`, this host is `east-1`",
        ),
        (
            SectionHeader { host: None, ..good() },
            "the `cluster` section is for no host, this host is `east-1`",
        ),
        (
            SectionHeader { claim_id: None, ..good() },
            "the `cluster` section was signed for another claim of host `east-1`; the host has been enrolled anew \
             since, refresh and apply again",
        ),
        (
            SectionHeader { section: SectionKind::Claims, ..good() },
            "the `claims` section is bound to a host, but is the same for every host of the authority",
        ),
        (
            SectionHeader { generation: 0, ..good() },
            "the `cluster` section of `nats_cluster/east` has generation 0, generations count from 1",
        ),
    ];
    let head = header(3, Some("b"), "c");
    for (incoming, text) in cases {
        for head in [None, Some(&head)] {
            assert_eq!(admitted(head, &incoming), Err(text.to_owned()));
        }
    }
}

#[test]
fn a_host_that_was_away_takes_later_claims_in_and_the_next_one_only_with_its_parent() {
    let claims = |generation, parent| SectionHeader {
        section: SectionKind::Claims,
        host: None,
        claim_id: None,
        ..header(generation, Some(parent), "d")
    };
    let head = SectionHeader { content: ContentHash::of("c"), ..claims(3, "b") };
    assert_eq!(admitted(Some(&head), &claims(5, "unseen")), Ok(Admission::New));
    assert_eq!(admitted(Some(&head), &claims(4, "c")), Ok(Admission::New));
    assert!(admitted(Some(&head), &claims(4, "unseen")).unwrap_err().contains("was not made from"));
}
