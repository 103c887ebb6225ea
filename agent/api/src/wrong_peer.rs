//! Every way of being the wrong caller, tried on a real listener: the same matrix for [`FakeAgent`](crate::fake) and
//! for the real agent.
//!
//! A *peer* here is somebody who dials: a certificate or none, a protocol, a TLS version. Each tries every call. A call
//! counts as accepted when the agent did anything but close the connection or deny it: also when it only said that the
//! request was malformed, because then somebody without the right has been listened to.

mod attempt;
mod certificates;

use std::time::Duration;

use identity::{Authority, ClientIdentity, Role};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::server::{METHODS, is_allowed};
use attempt::{Attempt, Call, Verdict};

/// What came of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// How many calls were tried by how many wrong peers.
    pub tried: usize,
    /// Calls that were accepted though they should not have been: `peer: call`. Empty when all is well.
    pub accepted: Vec<String>,
    /// Calls that were denied though they should have been accepted, which would make the rest worthless: the right
    /// callers are tried too. Empty when all is well.
    pub denied: Vec<String>,
}

/// One caller and which calls it may make.
struct Peer {
    name: &'static str,
    attempt: Attempt,
    role: Option<Role>,
}

/// Tries every wrong peer on the claimed agent of `authority` at `address` (`host:port`), and every right one.
///
/// It makes calls that change nothing: no sections, empty ids. Takes some seconds.
pub async fn matrix(address: &str, authority: &Authority) -> Matrix {
    let mut matrix = Matrix { tried: 0, accepted: Vec::new(), denied: Vec::new() };
    for peer in peers(authority) {
        for call in METHODS.into_iter().map(Call::Method).chain([Call::Claim]) {
            let verdict = peer.attempt.call(address, call).await;
            matrix.tried += 1;
            let is_right = match (&peer.role, call) {
                (Some(role), Call::Method(method)) => is_allowed(method, role),
                (Some(_) | None, Call::Claim) | (None, Call::Method(_)) => false,
            };
            match verdict {
                Verdict::Accepted if !is_right => matrix.accepted.push(format!("{}: {call:?}", peer.name)),
                Verdict::Refused(why) if is_right => {
                    matrix.denied.push(format!("{}: {call:?}: {why}", peer.name));
                }
                Verdict::Accepted | Verdict::Refused(_) => {}
            }
        }
    }
    matrix
}

/// Every peer. Certificates that the fleet CA would never sign cannot be made without its key; those of hosts' issuers
/// can, because a host has the issuer's key, and that is the attack.
fn peers(authority: &Authority) -> Vec<Peer> {
    let now = OffsetDateTime::now_utc();
    let hour = Duration::from_secs(3600);
    let operator = client(authority, &Role::Operator, now, hour);
    let stranger = certificates::stranger(authority);
    let host = certificates::HostIssuer::new(authority, now);
    let wrong = |name, attempt| Peer { name, attempt, role: None };
    let right = |name, role: Role| Peer {
        name,
        attempt: Attempt::of(client(authority, &role, now, hour)),
        role: Some(role),
    };
    let account = Role::Account("orders".parse().expect("a good name"));
    vec![
        wrong("no certificate", Attempt::anonymous()),
        wrong("plain text", Attempt::plain()),
        wrong("operator of another authority", Attempt::of(client(&stranger, &Role::Operator, now, hour))),
        wrong("self-signed operator", Attempt::of(certificates::self_signed(authority, now))),
        wrong(
            "expired operator",
            Attempt::of(client(authority, &Role::Operator, now - Duration::from_secs(86_400), hour)),
        ),
        wrong(
            "operator of tomorrow",
            Attempt::of(client(authority, &Role::Operator, now + Duration::from_secs(86_400), hour)),
        ),
        wrong("operator by a host's issuer", Attempt::of(host.caller(Some(Role::Operator), true))),
        wrong("reader by a host's issuer", Attempt::of(host.caller(Some(Role::Reader), true))),
        wrong("no role by a host's issuer", Attempt::of(host.caller(None, true))),
        wrong("peer for servers only", Attempt::of(host.caller(Some(Role::Peer), false))),
        wrong("a host's issuer itself", Attempt::of(host.issuer())),
        wrong("expired peer", Attempt::of(host.expired(now))),
        wrong("no protocol", Attempt::of(operator.clone()).alpn(&[])),
        wrong("the claim's protocol", Attempt::of(operator.clone()).alpn(&[crate::ALPN_CLAIM])),
        wrong("HTTP/1.1", Attempt::of(operator.clone()).alpn(&[b"http/1.1"])),
        wrong("TLS 1.2", Attempt::of(operator).tls12()),
        Peer {
            name: "peer",
            attempt: Attempt::of(host.caller(Some(Role::Peer), true)),
            role: Some(Role::Peer),
        },
        right("reader", Role::Reader),
        right("account", account),
        right("operator", Role::Operator),
    ]
}

fn client(authority: &Authority, role: &Role, now: OffsetDateTime, life: Duration) -> ClientIdentity {
    let seed = Zeroizing::new([role.to_string().len() as u8; 32]);
    authority.client_certificate(role, &seed, now, life).expect("the fleet CA gives this role")
}
