//! Which hosts are neighbours: those whose leaf keys the sections pin, in every renewal of their certificates.

use std::collections::BTreeSet;

use host_state::document::{ClusterSection, GatewaySection, ParseError};
use host_state::{SectionKind, SignedSection};

/// Pins of the leaf keys of every node of the cluster and of every host of the gateway; none before the first section.
///
/// # Errors
/// A section that cannot be read: then nobody can say who is none.
pub fn pinned(sections: &[SignedSection]) -> Result<BTreeSet<String>, ParseError> {
    let mut pins = BTreeSet::new();
    for section in sections {
        match section.header.section {
            SectionKind::Cluster => {
                let cluster: ClusterSection = section.body()?;
                pins.extend(cluster.peers.into_values().map(|peer| peer.pin));
            }
            SectionKind::Gateway => pins.extend(section.body::<GatewaySection>()?.pins),
            SectionKind::Claims => {}
        }
    }
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use host_state::document::{ContentHash, Peer, canonical};
    use identity::{HostSecret, HostSeeds};
    use zeroize::Zeroizing;

    use super::*;
    use crate::testing::Author;

    /// A host's section with a node of each of these pins.
    fn cluster(pins: &[&str]) -> SignedSection {
        let seed = || Zeroizing::new([7; 32]);
        let seeds = HostSeeds { issuer: seed(), leaf: seed(), system_user: seed(), probe_user: seed() };
        let mut author = Author::new([127, 0, 0, 1].into(), "/data".into());
        author.cluster(&HostSecret::from_seeds(&seeds).keys(), |section| {
            let peer = |pin: &str| Peer { agent: "10.0.0.1:8442".into(), pin: pin.to_owned(), users: None };
            section.peers = pins.iter().map(|pin| (format!("host-{pin}"), peer(pin))).collect();
        })
    }

    fn gateway(like: &SignedSection, pins: &[&str]) -> SignedSection {
        let body = canonical(&GatewaySection {
            gateway: "global".to_owned(),
            reject_unknown: true,
            remotes: [].into(),
            pins: pins.iter().map(|pin| (*pin).to_owned()).collect(),
            hosts: [].into(),
            release: None,
            declared: serde_json::Value::Null,
        });
        let mut section = SignedSection { body, ..like.clone() };
        section.header.section = SectionKind::Gateway;
        section.header.content = ContentHash::of(&section.body);
        section
    }

    #[test]
    fn who_is_pinned_anywhere_is_a_neighbour() {
        assert_eq!(pinned(&[]).unwrap(), BTreeSet::new(), "before the first section");
        let near = cluster(&["a", "b"]);
        let far = gateway(&near, &["b", "c"]);
        let all = pinned(&[near.clone(), far]).unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(pinned(&[near]).unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_section_that_cannot_be_read_is_not_passed_over() {
        let near = cluster(&["a"]);
        let torn = SignedSection { body: "{".to_owned(), ..gateway(&near, &["b"]) };
        assert!(pinned(&[near, torn]).is_err());
    }
}
