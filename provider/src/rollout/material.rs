//! What is signed for a host: its issuer and the agent's own users. Kept as long as it is good, so that the same
//! declaration signs the same sections.

use std::time::Duration;

use host_state::document::{AgentUsers, ClusterSection};
use identity::{Authority, HostKeys, HostName, HostNames, Trust, certificate_info};
use nats_config::Sha256Hex;
use time::OffsetDateTime;

use crate::topology::HostMaterial;

/// Life of an issuer. Hosts mint their leaves under it, so nothing is due before a third of it is over.
pub const ISSUER_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The material of a host: from `section` while that is good, else signed anew at `now`.
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn material(
    authority: &Authority,
    trust: &Trust,
    keys: &HostKeys,
    names: &HostNames,
    section: Option<&ClusterSection>,
    now: OffsetDateTime,
) -> Result<HostMaterial, identity::IssueError> {
    let pin: Sha256Hex = keys.leaf_pin().parse().expect("a pin is a SHA-256 sum in hexadecimal");
    if let Some(section) = section.filter(|section| is_good(section, trust, keys, names, now)) {
        return Ok(HostMaterial { pin, issuer: section.tls.issuer.clone(), users: section.users.clone() });
    }
    let issuer = authority.issuer(keys, names, now, ISSUER_VALIDITY)?;
    let expires = now + ISSUER_VALIDITY;
    let host: &HostName = &names.host;
    let users = AgentUsers {
        system_jwt: authority.system_user_jwt(host, &keys.system_user, now, expires).as_str().to_owned(),
        probe_jwt: authority.probe_user_jwt(host, &keys.probe_user, now, expires).as_str().to_owned(),
    };
    Ok(HostMaterial { pin, issuer: issuer.as_str().to_owned(), users })
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
