//! Who tries: every wrong peer, and the right ones that show that the others are not refused for nothing.

use std::time::Duration;

use identity::{Authority, ClientIdentity, HostSecret, Role};
use rcgen::{DnType, SanType};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::attempt::Attempt;
use super::certificates::{self, HostIssuer};

/// Life of callers' certificates here.
const HOUR: Duration = Duration::from_secs(3600);
/// How far away are the times at which a certificate is not valid.
const DAY: Duration = Duration::from_secs(86_400);

/// One caller and which calls it may make.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) attempt: Attempt,
    /// Absent for who may make none.
    pub(super) role: Option<Role>,
}

fn wrong(name: &'static str, attempt: Attempt) -> Peer {
    Peer { name, attempt, role: None }
}

/// Every peer. Certificates that the fleet CA would never sign cannot be made without its key; those of hosts' issuers
/// can, because a host has the issuer's key, and that is the attack.
pub(super) fn all(authority: &Authority, neighbour: &HostSecret) -> Vec<Peer> {
    let now = OffsetDateTime::now_utc();
    let host = HostIssuer::new(authority, neighbour, now);
    let mut peers = strangers(authority, now);
    peers.extend(out_of_time(authority, &host, now));
    peers.extend(by_a_host(authority, neighbour, &host, now));
    peers.extend(by_other_ways(authority, &host, now));
    peers.extend(right(authority, &host, now));
    peers
}

fn account() -> Role {
    Role::Account("orders".parse().expect("a good name"))
}

fn client(authority: &Authority, role: &Role, now: OffsetDateTime) -> ClientIdentity {
    let seed = Zeroizing::new([role.to_string().len() as u8; 32]);
    authority.client_certificate(role, &seed, now, HOUR).expect("the fleet CA gives this role")
}

/// Who has no certificate of this authority, or not its key.
fn strangers(authority: &Authority, now: OffsetDateTime) -> Vec<Peer> {
    let (stranger, another) = (certificates::stranger(authority), certificates::another());
    let theirs = |of: &Authority, role: Role| Attempt::of(client(of, &role, now));
    let own = |role: Role| Attempt::of(certificates::self_signed(authority, &role, now));
    let stolen = |role: Role| Attempt::of(certificates::stolen(&client(authority, &role, now)));
    vec![
        wrong("no certificate", Attempt::anonymous()),
        wrong("plain text", Attempt::plain()),
        wrong("operator of an authority of the same name", theirs(&stranger, Role::Operator)),
        wrong("reader of an authority of the same name", theirs(&stranger, Role::Reader)),
        wrong("account of an authority of the same name", theirs(&stranger, account())),
        wrong("operator of another authority", theirs(&another, Role::Operator)),
        wrong("self-signed operator", own(Role::Operator)),
        wrong("self-signed reader", own(Role::Reader)),
        wrong("self-signed account", own(account())),
        wrong("self-signed peer", own(Role::Peer)),
        wrong("operator's certificate without its key", stolen(Role::Operator)),
        wrong("reader's certificate without its key", stolen(Role::Reader)),
    ]
}

/// Whose certificate is not valid now.
fn out_of_time(authority: &Authority, host: &HostIssuer<'_>, now: OffsetDateTime) -> Vec<Peer> {
    let at = |role: Role, then: OffsetDateTime| Attempt::of(client(authority, &role, then));
    let tomorrow = host.forged(Some(Role::Peer), |params| {
        params.not_before = now + HOUR;
        params.not_after = now + DAY;
    });
    vec![
        wrong("expired operator", at(Role::Operator, now - DAY)),
        wrong("expired reader", at(Role::Reader, now - DAY)),
        wrong("expired account", at(account(), now - DAY)),
        wrong("expired peer", Attempt::of(host.expired(now))),
        wrong("operator of tomorrow", at(Role::Operator, now + DAY)),
        wrong("reader of tomorrow", at(Role::Reader, now + DAY)),
        wrong("account of tomorrow", at(account(), now + DAY)),
        wrong("peer of tomorrow", Attempt::of(tomorrow)),
    ]
}

/// What the root user of one host signs to be more than that host.
fn by_a_host(
    authority: &Authority,
    neighbour: &HostSecret,
    host: &HostIssuer<'_>,
    now: OffsetDateTime,
) -> Vec<Peer> {
    let elsewhere = certificates::stranger(authority);
    let other_name = host.forged(Some(Role::Peer), |params| {
        params.subject_alt_names.push(SanType::DnsName("east-1".try_into().expect("ASCII")));
    });
    let other_address = host.forged(Some(Role::Peer), |params| {
        params.subject_alt_names.push(SanType::IpAddress([127, 8, 8, 8].into()));
    });
    let other_authority = host.forged(None, |params| {
        let uri = Role::Peer.uri(certificates::another().name());
        params.subject_alt_names.push(SanType::URI(uri.try_into().expect("ASCII")));
    });
    let by_common_name = host.forged(None, |params| {
        params.distinguished_name.push(DnType::CommonName, Role::Operator.uri(authority.name()));
    });
    let mut alone = host.caller(Some(Role::Peer), true);
    alone.chain.truncate(1);
    let foreign = HostIssuer::new(&elsewhere, neighbour, now).caller(Some(Role::Peer), true);
    vec![
        wrong("operator by a host's issuer", Attempt::of(host.caller(Some(Role::Operator), true))),
        wrong("reader by a host's issuer", Attempt::of(host.caller(Some(Role::Reader), true))),
        wrong("account by a host's issuer", Attempt::of(host.caller(Some(account()), true))),
        wrong("no role by a host's issuer", Attempt::of(host.caller(None, true))),
        wrong("two roles by a host's issuer", Attempt::of(host.two_roles())),
        wrong("role in the subject by a host's issuer", Attempt::of(by_common_name)),
        wrong("peer of another authority by a host's issuer", Attempt::of(other_authority)),
        wrong("peer with another host's name", Attempt::of(other_name)),
        wrong("peer with another host's address", Attempt::of(other_address)),
        wrong("peer for servers only", Attempt::of(host.caller(Some(Role::Peer), false))),
        wrong("peer without its issuer", Attempt::of(alone)),
        wrong("peer by another authority's issuer", Attempt::of(foreign)),
        wrong("peer of a key that no section pins", Attempt::of(host.of_unpinned_key())),
        wrong("peer below a leaf", Attempt::of(host.below_a_leaf())),
        wrong("a host's issuer itself", Attempt::of(host.issuer())),
    ]
}

/// Right certificates over anything but what an agent speaks.
fn by_other_ways(authority: &Authority, host: &HostIssuer<'_>, now: OffsetDateTime) -> Vec<Peer> {
    let operator = || Attempt::of(client(authority, &Role::Operator, now));
    let peer = || Attempt::of(host.caller(Some(Role::Peer), true));
    vec![
        wrong("operator without a protocol", operator().alpn(&[])),
        wrong("operator with the claim's protocol", operator().alpn(&[crate::ALPN_CLAIM])),
        wrong("operator over HTTP/1.1", operator().alpn(&[b"http/1.1"])),
        wrong("operator over TLS 1.2", operator().tls12()),
        wrong("peer without a protocol", peer().alpn(&[])),
        wrong("peer with the claim's protocol", peer().alpn(&[crate::ALPN_CLAIM])),
        wrong("peer over TLS 1.2", peer().tls12()),
        wrong("nobody with the claim's protocol", Attempt::anonymous().alpn(&[crate::ALPN_CLAIM])),
        wrong("nobody over TLS 1.2", Attempt::anonymous().tls12()),
    ]
}

/// Who may make some calls, and tries all.
fn right(authority: &Authority, host: &HostIssuer<'_>, now: OffsetDateTime) -> Vec<Peer> {
    let by_fleet = |name, role: Role| Peer {
        name,
        attempt: Attempt::of(client(authority, &role, now)),
        role: Some(role),
    };
    let peer = Attempt::of(host.caller(Some(Role::Peer), true));
    vec![
        Peer { name: "peer", attempt: peer, role: Some(Role::Peer) },
        by_fleet("reader", Role::Reader),
        by_fleet("account", account()),
        by_fleet("operator", Role::Operator),
    ]
}
