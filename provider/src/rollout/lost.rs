//! Whose keys are out of the house: users of agents that the hosts of a cluster were told of and that no host of it has any
//! more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{ClaimsSection, ClusterSection, PeerUsers};
use host_state::{SectionKind, SignedSection, chain};
use identity::{HostName, Jwt, Revoked, Trust, UserPublicKey, decode_account};
use tfplug::Diagnostic;

use super::join::Joined;
use super::material::peer_users;

/// Hosts that are marked absent or were taken out, and those that were set up anew with other keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Users of their agents.
    pub users: BTreeSet<PeerUsers>,
    /// Those of the hosts that others know at an address where none of the cluster was joined: whoever answers there is not
    /// to be asked. A host that was set up anew at its old address is the one that answers there.
    pub hosts: BTreeSet<HostName>,
}

/// A host of the cluster as it is now.
struct Present {
    users: PeerUsers,
    /// Where its agent was joined, `host:port`.
    agent: String,
}

impl Lost {
    /// Everybody whom the hosts that were joined were told of, and who is not among them.
    ///
    /// # Errors
    /// When a ledger's cluster section cannot be read: who was lost may stand in it alone.
    pub fn of(joined: &BTreeMap<HostName, Joined>) -> Result<Lost, Diagnostic> {
        let present = |(host, one): (&HostName, &Joined)| {
            let agent = one.agent.address().to_owned();
            (host.clone(), Present { users: peer_users(&one.keys), agent })
        };
        let told = joined.iter().map(|(host, one)| (host, one.head(SectionKind::Cluster)));
        lost(told, &joined.iter().map(present).collect())
    }
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
    told: impl IntoIterator<Item = (&'a HostName, Option<&'a SignedSection>)>,
    present: &BTreeMap<HostName, Present>,
) -> Result<Lost, Diagnostic> {
    let users: BTreeSet<&PeerUsers> = present.values().map(|one| &one.users).collect();
    let mut lost = Lost::default();
    for (host, section) in told {
        let section = section.map(SignedSection::body::<ClusterSection>).transpose();
        let section = section.map_err(|why| unreadable(host, &why))?;
        for (name, peer) in section.into_iter().flat_map(|section| section.peers) {
            let Some(gone) = peer.users.filter(|of_peer| !users.contains(of_peer)) else { continue };
            lost.users.insert(gone);
            let name: HostName = name.parse().map_err(|why| unreadable(host, &why))?;
            if present.get(&name).is_none_or(|one| one.agent != peer.agent) {
                lost.hosts.insert(name);
            }
        }
    }
    Ok(lost)
}

fn unreadable(host: &HostName, why: &(dyn std::error::Error + 'static)) -> Diagnostic {
    Diagnostic::error(
        format!("The ledger of `{host}` cannot be read"),
        format!(
            "{}. It may be what tells of a lost host, whose users are to be revoked, so nothing was changed. If a newer \
             provider wrote it, apply with that one; else enrol the host anew, with the next `generation`.",
            chain(why)
        ),
    )
}

#[cfg(test)]
mod tests {
    use host_state::document::{ClaimEntry, Peer, canonical};
    use identity::{Authority, Generations, HostSecret, HostSeeds};

    use super::*;
    use crate::testing::header;

    fn users(byte: u8) -> PeerUsers {
        let seed = || zeroize::Zeroizing::new([byte; 32]);
        let seeds = HostSeeds { issuer: seed(), leaf: seed(), system_user: seed(), probe_user: seed() };
        peer_users(&HostSecret::from_seeds(&seeds).keys())
    }

    /// A section that tells of these peers, by name: where each is, and whose users.
    fn told(peers: &[(&str, u8, Option<PeerUsers>)]) -> SignedSection {
        let mut body: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/cluster_section_lone.json")).unwrap();
        let peer = |(name, at, users): &(&str, u8, Option<PeerUsers>)| {
            let peer = Peer { agent: agent(*at), pin: String::new(), users: users.clone() };
            ((*name).to_owned(), serde_json::to_value(peer).unwrap())
        };
        // The golden file has placeholders in the place of what is long.
        body["config"]["trust"]["preload"] = serde_json::json!({});
        body["peers"] = serde_json::Value::Object(peers.iter().map(peer).collect());
        section(body.to_string())
    }

    fn section(body: String) -> SignedSection {
        let header = header(SectionKind::Cluster, "nats_cluster/east", &body);
        SignedSection { header, body, signature: String::new() }
    }

    fn agent(at: u8) -> String {
        format!("10.0.0.{at}:8442")
    }

    fn present(hosts: &[(&str, u8)]) -> BTreeMap<HostName, Present> {
        let of = |(name, byte): &(&str, u8)| {
            (name.parse().unwrap(), Present { users: users(*byte), agent: agent(*byte) })
        };
        hosts.iter().map(of).collect()
    }

    #[test]
    fn who_was_told_of_and_is_nobodys_now_is_lost() {
        let [one, two, three] = [1, 2, 3].map(|byte| Some(users(byte)));
        let hosts = ["east-1", "east-2"].map(|name| name.parse().unwrap());
        let first =
            told(&[("east-1", 1, one.clone()), ("east-2", 2, two.clone()), ("east-3", 3, three.clone())]);
        // One host lags behind, and knows keys that `east-1` had before it was set up anew: at the same address, or not.
        for (at, is_elsewhere) in [(1, false), (9, true)] {
            let second = told(&[("east-1", at, Some(users(9))), ("east-2", 2, None)]);
            let sections = [(&hosts[0], Some(&first)), (&hosts[1], Some(&second))];
            let found = lost(sections, &present(&[("east-1", 1), ("east-2", 2)])).unwrap();
            assert_eq!(found.users, BTreeSet::from([users(3), users(9)]));
            let not_asked: Vec<&str> = found.hosts.iter().map(HostName::as_str).collect();
            let expected = if is_elsewhere { vec!["east-1", "east-3"] } else { vec!["east-3"] };
            assert_eq!(not_asked, expected);
        }
        let all = present(&[("east-1", 1), ("east-2", 2), ("east-3", 3)]);
        assert_eq!(lost([(&hosts[0], Some(&first)), (&hosts[1], None)], &all).unwrap(), Lost::default());
    }

    #[test]
    fn a_ledger_that_cannot_be_read_does_not_mean_that_nobody_was_lost() {
        let host: HostName = "east-2".parse().unwrap();
        let section = section(r#"{"peers":{}}"#.to_owned());
        let problem = lost([(&host, Some(&section))], &BTreeMap::new()).unwrap_err();
        assert_eq!(problem.summary, "The ledger of `east-2` cannot be read");
        assert!(problem.detail.contains("nothing was changed"), "{}", problem.detail);
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
