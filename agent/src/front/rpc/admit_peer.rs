//! Whether a peer is let in: only while the sections that this host holds pin the key of its certificate.
//!
//! A certificate of a host is good for as long as its issuer, and whoever has the host's disk makes more of them. What
//! tells a neighbour from a lost host is therefore what servers tell it by on routes and gateways: the pin of its leaf's key,
//! which is the same in every renewal and under every host CA.
//!
//! The newest sections that were *taken in* count, whether nats-server runs with them yet or not: a host that is given up
//! is out as soon as its neighbours are told, also where a server cannot follow, and a new one is let in as early.

use std::collections::BTreeSet;

use host_state::document::{ClusterSection, GatewaySection, ParseError};
use host_state::{SectionKind, SignedSection};
use nats_agent_api::server::ServiceError;

use super::looks::Shared;
use crate::roles::Applier;

pub(super) async fn admit_peer(
    applier: &dyn Applier,
    reads: &Shared<BTreeSet<String>>,
    spki_pin: &str,
) -> Result<(), ServiceError> {
    let read = async {
        let sections = applier.sections().await.map_err(|error| unreadable(&error))?;
        pins(&sections).map_err(|error| unreadable(&error))
    };
    if reads.seen(read).await?.contains(spki_pin) {
        return Ok(());
    }
    Err(ServiceError::Denied(format!(
        "no section that this host holds pins the key `{spki_pin}` of this certificate. A peer is let in while it is a node \
         of the same cluster or gateway; one that is marked `absent`, was enrolled anew, or is not applied yet is none"
    )))
}

/// What a peer is told is no more than that; the owner sees the reason in the agent's report.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> ServiceError {
    tracing::debug!(error = %host_state::chain(error), "a peer was refused");
    ServiceError::Denied("the sections that this host holds cannot be read, so no peer is let in".to_owned())
}

/// Pins of the leaf keys of every node of the cluster and of every host of the gateway; none before the first section.
fn pins(sections: &[SignedSection]) -> Result<BTreeSet<String>, ParseError> {
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
    fn who_is_pinned_anywhere_is_let_in() {
        assert_eq!(pins(&[]).unwrap(), BTreeSet::new(), "before the first section");
        let near = cluster(&["a", "b"]);
        let far = gateway(&near, &["b", "c"]);
        let all = pins(&[near.clone(), far]).unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(pins(&[near]).unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_section_that_cannot_be_read_lets_nobody_in() {
        let near = cluster(&["a"]);
        let torn = SignedSection { body: "{".to_owned(), ..gateway(&near, &["b"]) };
        let error = unreadable(&pins(&[near, torn]).unwrap_err());
        let told = "the sections that this host holds cannot be read, so no peer is let in";
        assert_eq!(error, ServiceError::Denied(told.to_owned()));
    }
}
