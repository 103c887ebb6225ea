//! What is signed for a host: its issuer and the agent's own users. Kept as long as it is good, so that the same
//! declaration signs the same sections.

use std::time::Duration;

use host_state::document::{AgentUsers, ClusterSection, PeerUsers};
use identity::{Authority, HostKeys, HostName, HostNames, Jwt, Trust, certificate_info, user_issuer};
use nats_config::Sha256Hex;
use time::OffsetDateTime;

use crate::topology::HostMaterial;

/// Life of an issuer. Hosts mint their leaves under it, so nothing is due before a third of it is over.
pub const ISSUER_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The public keys of a host's own users, as its neighbours are told.
#[must_use]
pub fn peer_users(keys: &HostKeys) -> PeerUsers {
    PeerUsers { system: keys.system_user.to_string(), probe: keys.probe_user.to_string() }
}

/// The material of a host: from `section` while that is good, else signed anew at `now`. Users that were revoked at
/// `revoked_at` (Unix seconds; absent when they never were) are good again only when they were signed after it: the
/// host was lost, and is back.
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn material(
    authority: &Authority,
    trust: &Trust,
    keys: &HostKeys,
    names: &HostNames,
    section: Option<&ClusterSection>,
    revoked_at: Option<i64>,
    now: OffsetDateTime,
) -> Result<HostMaterial, identity::IssueError> {
    let pin: Sha256Hex = keys.leaf_pin().parse().expect("a pin is a SHA-256 sum in hexadecimal");
    let user_keys = peer_users(keys);
    let is_kept = |section: &&ClusterSection| {
        is_good(section, trust, keys, names, now)
            && revoked_at.is_none_or(|at| is_signed_after(&section.users, at))
    };
    if let Some(section) = section.filter(is_kept) {
        let (issuer, users) = (section.tls.issuer.clone(), section.users.clone());
        return Ok(HostMaterial { pin, issuer, users, user_keys });
    }
    let issuer = authority.issuer(keys, names, now, ISSUER_VALIDITY)?;
    // Later than the revocation, also by a slow clock.
    let least = revoked_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.saturating_add(1)).ok());
    let now = least.map_or(now, |least| now.max(least));
    let expires = now + ISSUER_VALIDITY;
    let host: &HostName = &names.host;
    let users = AgentUsers {
        system_jwt: authority.system_user_jwt(host, &keys.system_user, now, expires).as_str().to_owned(),
        probe_jwt: authority.probe_user_jwt(host, &keys.probe_user, now, expires).as_str().to_owned(),
    };
    Ok(HostMaterial { pin, issuer: issuer.as_str().to_owned(), users, user_keys })
}

/// Whether both users were signed after `at`; what cannot be read was not.
fn is_signed_after(users: &AgentUsers, at: i64) -> bool {
    let AgentUsers { system_jwt, probe_jwt } = users;
    let issued_at =
        |text: &String| user_issuer(&text.parse::<Jwt>().ok()?).ok().map(|issuer| issuer.issued_at);
    [system_jwt, probe_jwt].into_iter().all(|text| issued_at(text).is_some_and(|issued_at| issued_at > at))
}

/// Whether what a section holds is for these keys and names, of these authorities, and before one third of its life.
fn is_good(
    section: &ClusterSection,
    trust: &Trust,
    keys: &HostKeys,
    names: &HostNames,
    now: OffsetDateTime,
) -> bool {
    let Ok(info) = certificate_info(&section.tls.issuer) else { return false };
    let kept: Option<Trust> = serde_json::from_value(section.trust.clone()).ok();
    let same_signers = kept.is_some_and(|kept| {
        kept.generations.host_ca == trust.generations.host_ca
            && kept.generations.account_signing == trust.generations.account_signing
    });
    same_signers
        && info.spki_pin == keys.issuer_spki.pin()
        && section.tls.dns_names == names.dns_names()
        && section.tls.addresses == names.ips
        && now < info.renew_at()
}

#[cfg(test)]
mod tests {
    use identity::{Generations, HostSecret, HostSeeds};
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn users_that_were_revoked_are_signed_anew_later_than_that() {
        let root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let seed = |fill| Zeroizing::new([fill; 32]);
        let seeds = HostSeeds { issuer: seed(1), leaf: seed(2), system_user: seed(3), probe_user: seed(4) };
        let keys = HostSecret::from_seeds(&seeds).keys();
        let names = HostNames { host: "east-3".parse().unwrap(), dns: [].into(), ips: [].into() };
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let made = |revoked_at, now| {
            material(&authority, &authority.trust(), &keys, &names, None, revoked_at, now).unwrap().users
        };
        let signed = made(None, now);
        let at = now.unix_timestamp();
        assert!(is_signed_after(&signed, at - 1) && !is_signed_after(&signed, at));
        assert!(is_signed_after(&made(Some(at), now), at), "within the same second");
        assert!(is_signed_after(&made(Some(at + 100), now), at + 100), "by a clock that is late");
        assert_eq!(made(Some(at - 100), now), signed);
        let unreadable = AgentUsers { probe_jwt: "x".to_owned(), ..signed };
        assert!(!is_signed_after(&unreadable, 0));
    }
}
