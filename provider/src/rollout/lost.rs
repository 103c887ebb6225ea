//! Whose keys are out of the house: users of agents that the hosts of a cluster were told of and that no host of it has any
//! more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{ClaimsSection, ClusterSection, Peer, PeerUsers};
use host_state::{SectionKind, SignedSection, chain};
use identity::{HostName, Jwt, Revoked, Trust, UserPublicKey, decode_account};
use tfplug::Diagnostic;

use super::join::Joined;
use super::material::peer_users;

/// Users of lost hosts: of one that is marked absent or was taken out, and of one that was set up anew with other keys.
#[must_use]
pub fn lost_users(joined: &BTreeMap<HostName, Joined>) -> BTreeSet<PeerUsers> {
    let sections: Vec<ClusterSection> = joined.values().filter_map(Joined::cluster).collect();
    lost(
        sections.iter().map(|section| &section.peers),
        &joined.values().map(|one| peer_users(&one.keys)).collect(),
    )
}

/// When users of agents were revoked (Unix seconds), by system user, as the newest claims in the hosts' ledgers say.
///
/// # Errors
/// When a ledger's claims are none that its own host trusts.
pub fn revoked_users(
    joined: &BTreeMap<HostName, Joined>,
) -> Result<BTreeMap<UserPublicKey, i64>, Diagnostic> {
    let claims = |one: &Joined| Some((one.head(SectionKind::Claims)?.clone(), one.cluster()?.trust));
    let newest = joined.values().filter_map(claims).max_by_key(|(claims, _)| claims.header.generation);
    let Some((claims, trust)) = newest else { return Ok(BTreeMap::new()) };
    revocations(&claims, trust).map_err(|why| {
        Diagnostic::error(
            "The claims in the hosts' ledgers cannot be read",
            format!("{why}. Nothing was changed."),
        )
    })
}

fn revocations(
    claims: &SignedSection,
    trust: serde_json::Value,
) -> Result<BTreeMap<UserPublicKey, i64>, String> {
    let trust: Trust = serde_json::from_value(trust).map_err(|why| why.to_string())?;
    let claims: ClaimsSection = claims.body().map_err(|why| chain(&why))?;
    let Some(entry) = claims.accounts.get(trust.system_account.as_str()) else { return Ok(BTreeMap::new()) };
    let jwt: Jwt = entry.jwt.parse().map_err(|why| chain(&why))?;
    let revoked = decode_account(&jwt, &trust).map_err(|why| chain(&why))?.claims.revocations;
    let of_user = |(revoked, at)| match revoked {
        Revoked::User(key) => Some((key, at)),
        // Nobody revokes all agents at once.
        Revoked::All => None,
    };
    Ok(revoked.into_iter().filter_map(of_user).collect())
}

fn lost<'a>(
    told: impl IntoIterator<Item = &'a BTreeMap<String, Peer>>,
    present: &BTreeSet<PeerUsers>,
) -> BTreeSet<PeerUsers> {
    let told = told.into_iter().flat_map(BTreeMap::values).filter_map(|peer| peer.users.clone());
    told.filter(|users| !present.contains(users)).collect()
}

#[cfg(test)]
mod tests {
    use host_state::document::{ClaimEntry, canonical};
    use identity::{Authority, Generations, HostSecret, HostSeeds};

    use super::*;
    use crate::testing::header;

    fn users(byte: u8) -> PeerUsers {
        let seed = || zeroize::Zeroizing::new([byte; 32]);
        let seeds = HostSeeds { issuer: seed(), leaf: seed(), system_user: seed(), probe_user: seed() };
        peer_users(&HostSecret::from_seeds(&seeds).keys())
    }

    fn told(peers: &[(&str, Option<PeerUsers>)]) -> BTreeMap<String, Peer> {
        let peer = |(name, users): &(&str, Option<PeerUsers>)| {
            let peer = Peer { agent: "10.0.0.1:8442".to_owned(), pin: String::new(), users: users.clone() };
            ((*name).to_owned(), peer)
        };
        peers.iter().map(peer).collect()
    }

    #[test]
    fn who_was_told_of_and_is_nobodys_now_is_lost() {
        let first =
            told(&[("east-1", Some(users(1))), ("east-2", Some(users(2))), ("east-3", Some(users(3)))]);
        // One host lags behind, and knows keys that `east-1` had before it was set up anew.
        let second = told(&[("east-1", Some(users(9))), ("east-2", None)]);
        let present = BTreeSet::from([users(1), users(2)]);
        assert_eq!(lost([&first, &second], &present), BTreeSet::from([users(3), users(9)]));
        assert_eq!(lost([&first], &[1, 2, 3].map(users).into()), BTreeSet::new());
    }

    #[test]
    fn revocations_are_read_from_the_system_account_alone() {
        let root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let section = |accounts: BTreeMap<String, ClaimEntry>| {
            let body = canonical(&ClaimsSection { accounts });
            let header = header(SectionKind::Claims, "nats_authority/acme", &body);
            SignedSection { header, body, signature: String::new() }
        };
        let trust = serde_json::to_value(authority.trust()).unwrap();
        assert_eq!(revocations(&section(BTreeMap::new()), trust.clone()), Ok(BTreeMap::new()));
        let accounts = authority.own_accounts().map(|mut claims| {
            let lost = users(3);
            let is_system = claims.key == authority.trust().system_account;
            let key: UserPublicKey = if is_system { lost.system } else { lost.probe }.parse().unwrap();
            claims.revocations.insert(Revoked::User(key), 1000);
            let jwt = authority.account_jwt(&claims, 1000).unwrap().to_string();
            let (name, declared) = (claims.name.to_string(), serde_json::Value::Null);
            (claims.key.to_string(), ClaimEntry { name, jwt, issued_at: 1000, tombstone: false, declared })
        });
        let found = revocations(&section(accounts.into()), trust).unwrap();
        assert_eq!(found, BTreeMap::from([(users(3).system.parse().unwrap(), 1000)]));
    }
}
