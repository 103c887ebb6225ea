//! Certificates of hosts: the issuer that the authority signs, and the leaves that the host mints under it.
//!
//! An issuer cannot sign for another host: it has path length 0 and critical name constraints that permit exactly this
//! host's DNS names and addresses. Names below a permitted one are excluded (RFC 5280 would let a constraint on
//! `a.example` permit `b.a.example`), and a kind of name that the host has none of is excluded as a whole.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, Issuer, NameConstraints, PublicKeyData, SanType,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use super::info::info_of;
use super::pem::CertificatePem;
use super::role::{Role, RoleError, role_in};
use super::roots::Root;
use super::template::{CLOCK_SKEW, Template};
use crate::host_keys::{HostKeys, HostSecret, PublicKeyInfo};
use crate::names::{AuthorityName, HostName};
use crate::p256_key::P256Key;

/// Most DNS names and addresses, each, that one host may have; verifiers bound the comparisons they make.
pub const MAX_HOST_NAMES: usize = 64;

/// What a host may be called. The host's own name is always among its DNS names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNames {
    /// The host's name.
    pub host: HostName,
    /// Further DNS names: lower case, no wildcard, no trailing dot.
    pub dns: BTreeSet<String>,
    /// Its addresses.
    pub ips: BTreeSet<IpAddr>,
}

/// One thing that is wrong with a host's names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostNamesProblem {
    /// Not a DNS name of letters, digits and hyphens.
    #[error(
        "`{0}` is no DNS name a certificate can carry: lower-case letters, digits, `-` and `.`, no wildcard"
    )]
    Dns(String),
    /// An address that names no host.
    #[error("`{0}` is no address of one host")]
    Address(IpAddr),
    /// More than [`MAX_HOST_NAMES`].
    #[error("{count} {kind}, at most {MAX_HOST_NAMES} fit one host")]
    TooMany {
        /// `DNS names` or `addresses`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
}

impl HostNames {
    /// All DNS names, the host's own included.
    #[must_use]
    pub fn dns_names(&self) -> BTreeSet<String> {
        self.dns.iter().cloned().chain([self.host.to_string()]).collect()
    }

    /// Everything that is wrong; empty when certificates can be made.
    #[must_use]
    pub fn problems(&self) -> Vec<HostNamesProblem> {
        let Self { host: _, dns, ips } = self;
        let mut problems = Vec::new();
        problems.extend(
            self.dns_names().into_iter().filter(|name| !is_dns_name(name)).map(HostNamesProblem::Dns),
        );
        let refused = ips.iter().filter(|ip| ip.is_unspecified() || ip.is_multicast());
        problems.extend(refused.copied().map(HostNamesProblem::Address));
        for (kind, count) in [("DNS names", dns.len()), ("addresses", ips.len())] {
            if count > MAX_HOST_NAMES {
                problems.push(HostNamesProblem::TooMany { kind, count });
            }
        }
        problems
    }

    fn sans(&self) -> Vec<SanType> {
        let dns = self
            .dns_names()
            .into_iter()
            .map(|name| SanType::DnsName(name.try_into().expect("checked ASCII")));
        dns.chain(self.ips.iter().copied().map(SanType::IpAddress)).collect()
    }

    fn constraints(&self) -> NameConstraints {
        let dns = self.dns_names();
        let permitted_dns = dns.iter().cloned().map(GeneralSubtree::DnsName);
        let whole = |ip: &IpAddr| CidrSubnet::from_addr_prefix(*ip, if ip.is_ipv4() { 32 } else { 128 });
        let permitted_ips = self.ips.iter().map(|ip| GeneralSubtree::IpAddress(whole(ip)));
        // Names below a permitted name, unless the host itself has one there.
        let below = dns.iter().map(|name| format!(".{name}"));
        let below = below.filter(|suffix| !dns.iter().any(|name| name.ends_with(suffix.as_str())));
        let mut excluded: Vec<_> = below.map(GeneralSubtree::DnsName).collect();
        if self.ips.is_empty() {
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
        }
        // Mail names are limited to a domain that does not exist (RFC 6761). Excluding the empty one would do the same,
        // but then Java cannot read the certificate (tried: "RFC822Name may not be null or empty").
        let no_mail = GeneralSubtree::Rfc822Name("invalid".to_owned());
        NameConstraints {
            permitted_subtrees: permitted_dns.chain(permitted_ips).chain([no_mail]).collect(),
            excluded_subtrees: excluded,
        }
    }
}

/// Labels of 1 to 63 lower-case letters, digits and inner hyphens, 253 characters in all; the last one is no number,
/// which also keeps addresses out.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(is_label) && !last_is_number
}

/// Why a host's certificate was not made.
#[derive(Debug, Error)]
pub enum IssueError {
    /// All problems of the names.
    #[error("names of host `{host}` are not usable: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Names {
        /// The host.
        host: HostName,
        /// What is wrong.
        problems: Vec<HostNamesProblem>,
    },
    /// The validity is empty or ends beyond the calendar.
    #[error("validity is empty or ends beyond the calendar")]
    Validity,
    /// The issuer's certificate does not parse or is no issuer.
    #[error("issuer certificate is not one that a host can mint under")]
    Issuer,
    /// The issuer's certificate names no authority.
    #[error("issuer certificate carries no authority")]
    Authority(#[source] RoleError),
    /// The issuer's certificate is for another key than this host's.
    #[error("issuer certificate is for key `{certificate}`, this host's issuer key is `{host}`")]
    OtherKey {
        /// Pin of the key in the certificate.
        certificate: String,
        /// Pin of this host's issuer key.
        host: String,
    },
    /// The issuer is not valid now.
    #[error("issuer certificate is valid from {not_before} to {not_after}, not at {now}")]
    Expired {
        /// Its first second.
        not_before: OffsetDateTime,
        /// Its last second.
        not_after: OffsetDateTime,
        /// The time given.
        now: OffsetDateTime,
    },
    /// Names that the issuer is not permitted to sign for.
    #[error("issuer certificate does not permit `{}`", .0.join("`, `"))]
    NotPermitted(Vec<String>),
}

fn check(names: &HostNames) -> Result<(), IssueError> {
    match names.problems() {
        problems if problems.is_empty() => Ok(()),
        problems => Err(IssueError::Names { host: names.host.clone(), problems }),
    }
}

/// When a certificate made now begins and ends.
fn span(now: OffsetDateTime, validity: Duration) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
    let end = time::Duration::try_from(validity).ok().and_then(|validity| now.checked_add(validity));
    let end = end.filter(|end| *end > now && end.year() <= 9999).ok_or(IssueError::Validity)?;
    Ok((now.checked_sub(CLOCK_SKEW).ok_or(IssueError::Validity)?, end))
}

/// Where an issuer or leaf says which authority it belongs to, and that its holder is a peer.
fn peer(authority: &AuthorityName) -> SanType {
    SanType::URI(Role::Peer.uri(authority).try_into().expect("a role URI is ASCII"))
}

/// Signs the issuer of one host.
pub(crate) fn issuer(
    root: &Root,
    authority: &AuthorityName,
    keys: &HostKeys,
    names: &HostNames,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<CertificatePem, IssueError> {
    check(names)?;
    let (not_before, not_after) = span(now, validity)?;
    let template = Template {
        authority,
        common_name: format!("issuer {}", names.host),
        not_before,
        not_after,
        names: vec![peer(authority)],
    };
    let key = keys.issuer_spki.rcgen();
    let mut params = template.ca(&key, 0);
    params.name_constraints = Some(names.constraints());
    params.extended_key_usages = both_usages();
    let certificate = params.signed_by(&key, &root.issuer()).expect("checked names and keys always encode");
    Ok(CertificatePem::from_der(certificate.into()))
}

fn both_usages() -> Vec<ExtendedKeyUsagePurpose> {
    // Routes and gateways authenticate both ways with one certificate. Source: nats-server 2.15.1, tried: a
    // certificate for servers only loses every gateway.
    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
}

/// A server certificate with the certificates above it, up to but without the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPem {
    /// The leaf.
    pub leaf: CertificatePem,
    /// The issuer; absent when the authority signed the leaf directly.
    pub issuer: Option<CertificatePem>,
}

impl LeafPem {
    /// PEM text as a server's `cert_file` holds it: leaf first.
    #[must_use]
    pub fn chain(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.issuer).map(CertificatePem::as_str).collect()
    }
}

fn leaf<S: rcgen::SigningKey>(
    authority: &AuthorityName,
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, S>,
    names: &HostNames,
    (not_before, not_after): (OffsetDateTime, OffsetDateTime),
) -> CertificatePem {
    let mut sans = names.sans();
    sans.push(peer(authority));
    let template =
        Template { authority, common_name: names.host.to_string(), not_before, not_after, names: sans };
    let mut params = template.end_entity(key);
    params.extended_key_usages = both_usages();
    let certificate = params.signed_by(key, issuer).expect("checked names and keys always encode");
    CertificatePem::from_der(certificate.into())
}

/// Signs a leaf without an issuer between, for clients that refuse critical name constraints.
pub(crate) fn direct_leaf(
    root: &Root,
    authority: &AuthorityName,
    keys: &HostKeys,
    names: &HostNames,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<LeafPem, IssueError> {
    check(names)?;
    let leaf = leaf(authority, &keys.leaf_spki.rcgen(), &root.issuer(), names, span(now, validity)?);
    Ok(LeafPem { leaf, issuer: None })
}

/// Mints the host's leaf under its issuer, for the host's one leaf key. It is valid for `validity` or as long as the
/// issuer, whichever ends first.
///
/// # Errors
/// When the issuer is for another key, not valid at `now`, or does not permit one of the names.
pub fn mint_leaf(
    secret: &HostSecret,
    issuer: &CertificatePem,
    names: &HostNames,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<LeafPem, IssueError> {
    check(names)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(issuer.der()).map_err(|_| IssueError::Issuer)?;
    let info = info_of(&parsed).filter(|info| info.is_ca).ok_or(IssueError::Issuer)?;
    let (authority, _) = role_in(&parsed).map_err(IssueError::Authority)?;
    let host = secret.keys().issuer_spki.pin();
    if info.spki_pin != host {
        return Err(IssueError::OtherKey { certificate: info.spki_pin, host });
    }
    if now < info.not_before || now > info.not_after {
        return Err(IssueError::Expired { not_before: info.not_before, not_after: info.not_after, now });
    }
    let refused = not_permitted(&parsed, names)?;
    if !refused.is_empty() {
        return Err(IssueError::NotPermitted(refused));
    }
    let (not_before, not_after) = span(now, validity)?;
    let span = (not_before.max(info.not_before), not_after.min(info.not_after));
    let rcgen_issuer =
        Issuer::from_ca_cert_der(issuer.der(), secret.issuer_key()).map_err(|_| IssueError::Issuer)?;
    let leaf = leaf::<&P256Key>(&authority, secret.leaf_key(), &rcgen_issuer, names, span);
    Ok(LeafPem { leaf, issuer: Some(issuer.clone()) })
}

/// The names that the issuer's permitted subtrees do not list.
fn not_permitted(
    issuer: &x509_parser::certificate::X509Certificate<'_>,
    names: &HostNames,
) -> Result<Vec<String>, IssueError> {
    let constraints = issuer.name_constraints().map_err(|_| IssueError::Issuer)?.ok_or(IssueError::Issuer)?;
    let permitted = constraints.value.permitted_subtrees.as_deref().unwrap_or_default();
    let has_dns = |name: &str| {
        permitted.iter().any(|tree| matches!(&tree.base, GeneralName::DNSName(base) if *base == name))
    };
    let has_ip = |ip: &IpAddr| {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        // An address and its mask, which is all ones in an issuer of ours.
        permitted.iter().any(|tree| matches!(&tree.base, GeneralName::IPAddress(base) if base.starts_with(&octets) && base.len() == octets.len() * 2))
    };
    let dns = names.dns_names().into_iter().filter(|name| !has_dns(name));
    let ips = names.ips.iter().filter(|ip| !has_ip(ip)).map(ToString::to_string);
    Ok(dns.chain(ips).collect())
}

impl PublicKeyInfo {
    /// The form that certificates are made from.
    fn rcgen(&self) -> rcgen::SubjectPublicKeyInfo {
        rcgen::SubjectPublicKeyInfo::from_der(self.as_der()).expect("the type only holds checked P-256 keys")
    }
}
