//! Fetching claims from a neighbour with the host's own leaf.

use std::time::Duration;

use host_state::document::{GatewayHost, GatewaySection, canonical};
use host_state::{SectionHeader, SectionKind, SignedSection, document::ContentHash};

use crate::scripted::{Scripted, authority};

fn section(kind: SectionKind, body: String) -> SignedSection {
    let header = SectionHeader {
        authority: "O".to_owned(),
        section: kind,
        owner: "nats_authority/acme".to_owned(),
        host: None,
        claim_id: None,
        generation: 7,
        parent: None,
        content: ContentHash::of(&body),
        document_key: 1,
        writer: "test".to_owned(),
    };
    SignedSection { header, body, signature: "s".to_owned() }
}

#[tokio::test]
async fn a_host_that_was_away_gets_the_claims_of_its_neighbour() {
    let acme = authority(1);
    let (near_dir, far_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (near, far) = (Scripted::new(31), Scripted::new(32));
    near.claimed_by(&acme, "east-1", "127.72.3.1");
    far.claimed_by(&acme, "east-2", "127.72.3.2");
    let claims = section(SectionKind::Claims, r#"{"accounts":{}}"#.to_owned());
    far.sections.lock().unwrap().push(claims.clone());
    let host = |agent: &str| GatewayHost {
        cluster: "east".to_owned(),
        agent: agent.to_owned(),
        cluster_url: "127.72.3.9:5222".to_owned(),
        gateway_url: "127.72.3.9:7222".to_owned(),
    };
    let gateway = GatewaySection {
        gateway: "global".to_owned(),
        reject_unknown: true,
        remotes: [].into(),
        pins: [].into(),
        hosts: [("east-1", "127.72.3.1:8442"), ("east-2", "127.72.3.2:8442"), ("east-3", "127.72.3.3:8442")]
            .map(|(name, agent)| (name.to_owned(), host(agent)))
            .into(),
        release: None,
        declared: serde_json::Value::Null,
    };
    near.sections.lock().unwrap().push(section(SectionKind::Gateway, canonical(&gateway)));
    let far_front = far.serve("127.72.3.2:8442", far_dir.path()).await;
    let near_front = near.serve("127.72.3.1:8442", near_dir.path()).await;

    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while near.taken.lock().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nothing was fetched");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        *near.taken.lock().unwrap(),
        [claims],
        "one neighbour has them, one is away, itself is not asked"
    );
    near_front.stop().await;
    far_front.stop().await;
}
