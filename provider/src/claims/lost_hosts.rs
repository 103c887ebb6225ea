//! Users of lost hosts' agents are revoked: in the JWTs of the system and the probe account, which then travel with the
//! claims to every server of the system. Servers keep them, because they are newer than those in their configuration.

use std::collections::BTreeSet;

use host_state::document::{ClaimEntry, ClaimsSection, PeerUsers};
use host_state::merge::{ClaimChange, merge_claims, next_issued_at};
use identity::{
    AccountClaims, Authority, Generations, HostName, Revoked, Trust, UserPublicKey, decode_account,
};
use tfplug::{Diagnostic, Diagnostics};

use super::writer::ClaimsWriter;

impl ClaimsWriter {
    /// Revokes `users` of agents, and keeps what was revoked before in step with the keys of `next`. Hosts `without` a say
    /// in it are neither asked nor told: those that were lost. Nothing is asked nor written while there is neither a lost
    /// user nor a rotation.
    ///
    /// Guarantees: when it returns, every server refuses these users but those that the warnings name, and those of hosts
    /// that were left out. A crash half-way leaves claims that hosts take from each other. May be repeated: each time
    /// revokes anew, as of then. Whether a lost user was signed again since the last time only its own host could tell.
    ///
    /// # Errors
    /// When the claims cannot be read or written: then nobody may forget yet who was lost.
    pub async fn keep_own_accounts(
        &self,
        next: &Authority,
        users: &BTreeSet<PeerUsers>,
        without: &BTreeSet<HostName>,
    ) -> Result<Diagnostics, Diagnostic> {
        let Generations { operator_signing, account_signing, .. } = next.generations();
        if users.is_empty() && operator_signing.max(account_signing) == 1 {
            return Ok(Diagnostics::new());
        }
        self.rewrite(next, without, |head, current, now| {
            own_accounts(head.map(|head| &head.section), next, current, users, now)
        })
        .await
    }
}

/// The claims with own accounts in which these users are revoked as of `now`; absent when nothing changes. Without a
/// revocation an own account stays out of the claims.
fn own_accounts(
    current: Option<&ClaimsSection>,
    next: &Authority,
    trust: &Trust,
    lost: &BTreeSet<PeerUsers>,
    now: i64,
) -> Result<Option<ClaimsSection>, Diagnostic> {
    let mut section = current.cloned();
    for account in next.own_accounts() {
        let entry = current.and_then(|section| section.accounts.get(account.key.as_str()));
        let before: Option<AccountClaims> = match entry {
            None => None,
            Some(entry) => {
                let jwt = entry.jwt.parse().map_err(|why| unwritten(&why))?;
                Some(decode_account(&jwt, trust).map_err(|why| unwritten(&why))?.claims)
            }
        };
        let issued_at = next_issued_at(current, account.key.as_str(), now);
        let mut wanted = account;
        wanted.revocations = before.iter().flat_map(|before| before.revocations.clone()).collect();
        for users in lost {
            let key = if wanted.key == trust.system_account { &users.system } else { &users.probe };
            let key: UserPublicKey = key.parse().map_err(|why| unwritten(&why))?;
            wanted.revocations.insert(Revoked::User(key), now);
        }
        if wanted.revocations.is_empty() || before.as_ref() == Some(&wanted) {
            continue;
        }
        let jwt = next.account_jwt(&wanted, issued_at).map_err(|why| unwritten(&why))?;
        let entry = ClaimEntry {
            name: wanted.name.to_string(),
            jwt: jwt.to_string(),
            issued_at,
            tombstone: false,
            declared: serde_json::Value::Null,
        };
        let change = ClaimChange { account: wanted.key.to_string(), entry };
        section = Some(merge_claims(section.as_ref(), change).map_err(|why| unwritten(&why))?);
    }
    let is_new = section.as_ref() != current;
    Ok(section.filter(|_| is_new))
}

fn unwritten(why: &(dyn std::error::Error + 'static)) -> Diagnostic {
    Diagnostic::error(
        "The users of a lost host cannot be revoked",
        format!("{}. Nothing was changed.", host_state::chain(why)),
    )
}

#[cfg(test)]
mod tests {
    use identity::{HostSecret, HostSeeds};

    use super::*;

    const ROOT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn authority(operator_signing: u32, account_signing: u32) -> Authority {
        let generations = Generations { operator_signing, account_signing, ..Generations::default() };
        Authority::derive(&ROOT.parse().unwrap(), "acme".parse().unwrap(), generations).unwrap()
    }

    fn key(byte: u8) -> UserPublicKey {
        let seed = || zeroize::Zeroizing::new([byte; 32]);
        let seeds = HostSeeds { issuer: seed(), leaf: seed(), system_user: seed(), probe_user: seed() };
        HostSecret::from_seeds(&seeds).keys().system_user
    }

    fn lost(byte: u8) -> BTreeSet<PeerUsers> {
        BTreeSet::from([PeerUsers { system: key(byte).to_string(), probe: key(byte + 100).to_string() }])
    }

    /// Revocations in the system and in the probe account, with the `iat` of each.
    fn read(section: &ClaimsSection, trust: &Trust) -> Vec<(i64, Vec<(Revoked, i64)>)> {
        let of = |account: &str| {
            let jwt = section.accounts[account].jwt.parse().unwrap();
            let decoded = decode_account(&jwt, trust).unwrap();
            (decoded.issued_at, decoded.claims.revocations.into_iter().collect())
        };
        vec![of(trust.system_account.as_str()), of(trust.probe_account.as_str())]
    }

    #[test]
    fn who_is_lost_is_revoked_in_both_accounts_and_stays_so() {
        let one = authority(1, 1);
        let trust = one.trust();
        assert_eq!(own_accounts(None, &one, &trust, &BTreeSet::new(), 1000).unwrap(), None);
        let first = own_accounts(None, &one, &trust, &lost(3), 1000).unwrap().unwrap();
        let revoked = |byte, at| vec![(Revoked::User(key(byte)), at)];
        assert_eq!(read(&first, &trust), [(1000, revoked(3, 1000)), (1000, revoked(103, 1000))]);
        assert_eq!(own_accounts(Some(&first), &one, &trust, &BTreeSet::new(), 2000).unwrap(), None);
        let second = own_accounts(Some(&first), &one, &trust, &lost(4), 900).unwrap().unwrap();
        let [(iat, system), _] = &read(&second, &trust)[..] else { panic!("two accounts") };
        let both: BTreeSet<_> = [revoked(3, 1000), revoked(4, 900)].concat().into_iter().collect();
        assert_eq!(
            (*iat, system.iter().cloned().collect::<BTreeSet<_>>()),
            (1001, both),
            "a clock that is late"
        );
        // It came back and is lost again.
        let again = own_accounts(Some(&first), &one, &trust, &lost(3), 3000).unwrap().unwrap();
        assert_eq!(read(&again, &trust)[0], (3000, revoked(3, 3000)));
    }

    #[test]
    fn a_rotation_brings_its_keys_to_both_and_takes_no_revocation_back() {
        let (one, two) = (authority(1, 1), authority(2, 2));
        let first = own_accounts(None, &one, &one.trust(), &lost(3), 1000).unwrap().unwrap();
        let second = own_accounts(Some(&first), &two, &one.trust(), &BTreeSet::new(), 2000).unwrap().unwrap();
        for trust in [one.trust(), two.trust()] {
            assert_eq!(read(&second, &trust)[0], (2000, vec![(Revoked::User(key(3)), 1000)]));
            let jwt = second.accounts[trust.system_account.as_str()].jwt.parse().unwrap();
            let keys = decode_account(&jwt, &trust).unwrap().claims.signing_keys;
            assert_eq!(keys.into_keys().collect::<Vec<_>>(), [1, 2]);
        }
        assert_eq!(own_accounts(Some(&second), &two, &two.trust(), &BTreeSet::new(), 3000).unwrap(), None);
        assert_eq!(own_accounts(None, &two, &two.trust(), &BTreeSet::new(), 3000).unwrap(), None);
    }
}
