//! What the hosts of a cluster know of each other's claims: which key each was claimed with, in which enrolment.
//!
//! A token proves that a host was meant once. It is in user data and in state, so once it was used it must be worth
//! nothing to whoever reads it: a host that answers for the same enrolment with another key is not claimed again.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::ClusterSection;
use identity::{HostKeys, HostName};
use thiserror::Error;

use crate::topology::enrollment_generation;

/// What is known of the claims of a cluster's hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    hosts: BTreeMap<HostName, Claim>,
}

/// One host's claim, as the others were told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// The newest enrolment generation.
    generation: u32,
    /// Pins of the leaf keys that were claimed in it, 64 lower-case hex digits each; one, as far as this provider is asked.
    pins: BTreeSet<String>,
}

/// Why a host that proved its token is not claimed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimedBefore {
    /// Its enrolment was used already.
    #[error(
        "host `{host}` was claimed with enrolment {generation} before, by another key: it was set up anew, or somebody \
         else has its token. If it is yours, raise `generation` in its node and its `nats_host_enrollment` and enrol \
         it with the new text"
    )]
    AnotherKey {
        /// The host.
        host: HostName,
        /// Which enrolment.
        generation: u32,
    },
    /// Its enrolment was given up.
    #[error(
        "host `{host}` was claimed with enrolment {known} before, so enrolment {generation} is given up; set \
         `generation` in its node to {next} and enrol it with that",
        next = known.saturating_add(1)
    )]
    GivenUp {
        /// The host.
        host: HostName,
        /// The enrolment that is declared.
        generation: u32,
        /// The newest that was used.
        known: u32,
    },
}

impl Claimed {
    /// What the cluster sections of hosts that answer tell. A host is not asked about itself.
    #[must_use]
    pub fn of<'a>(sections: impl IntoIterator<Item = &'a ClusterSection>) -> Claimed {
        let mut claimed = Claimed::default();
        for section in sections {
            for (host, peer) in section.peers.iter().filter(|(host, _)| **host != section.host) {
                if let Ok(name) = host.parse() {
                    claimed.learn(name, enrollment_generation(section, host), &peer.pin);
                }
            }
        }
        claimed
    }

    /// Somebody was told that `host` was claimed in this enrolment with the key of this pin.
    fn learn(&mut self, host: HostName, generation: u32, pin: &str) {
        let first = || Claim { generation, pins: BTreeSet::new() };
        let claim = self.hosts.entry(host).or_insert_with(first);
        if claim.generation < generation {
            *claim = first();
        }
        if claim.generation == generation {
            claim.pins.insert(pin.to_owned());
        }
    }

    /// Whether `host`, which offers these keys for enrolment `generation`, may be claimed.
    ///
    /// # Errors
    /// [`ClaimedBefore`].
    pub fn may_claim(&self, host: &HostName, generation: u32, keys: &HostKeys) -> Result<(), ClaimedBefore> {
        let Some(Claim { generation: used, pins }) = self.hosts.get(host) else { return Ok(()) };
        if generation < *used {
            return Err(ClaimedBefore::GivenUp { host: host.clone(), generation, known: *used });
        }
        if generation == *used && !pins.contains(&keys.leaf_pin()) {
            return Err(ClaimedBefore::AnotherKey { host: host.clone(), generation });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use identity::{HostSecret, HostSeeds};
    use zeroize::Zeroizing;

    use super::*;

    fn keys(fill: u8) -> HostKeys {
        let seed = |part: u8| Zeroizing::new([fill + part; 32]);
        HostSecret::from_seeds(&HostSeeds {
            issuer: seed(0),
            leaf: seed(1),
            system_user: seed(2),
            probe_user: seed(3),
        })
        .keys()
    }

    #[test]
    fn a_used_enrolment_is_good_for_its_own_key_only() {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let mut claimed = Claimed::default();
        // Somebody was away when east-3 came back, and knows its old key only.
        for (name, generation, fill) in
            [("east-2", 1, 20), ("east-3", 2, 40), ("east-3", 1, 30), ("east-3", 2, 40)]
        {
            claimed.learn(host(name), generation, &keys(fill).leaf_pin());
        }
        for (name, generation, fill, is_fine) in [
            ("east-2", 1, 20, true),
            ("east-2", 1, 21, false),
            ("east-2", 2, 21, true),
            ("east-3", 1, 30, false),
            ("east-3", 2, 40, true),
            ("east-3", 2, 30, false),
            ("east-3", 3, 50, true),
            ("east-4", 1, 60, true),
        ] {
            let may = claimed.may_claim(&host(name), generation, &keys(fill));
            assert_eq!(may.is_ok(), is_fine, "{name} {generation} {fill}: {may:?}");
        }
        let told = claimed.may_claim(&host("east-3"), 1, &keys(30)).unwrap_err().to_string();
        assert!(told.contains("set `generation` in its node to 3"), "{told}");
    }
}
