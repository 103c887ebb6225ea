//! Every way of being the wrong caller, tried on a real listener: the same matrix for [`FakeAgent`](crate::fake) and
//! for the real agent.
//!
//! A *peer* here is somebody who dials: a certificate or none, a protocol, a TLS version. Each tries every call. A call
//! counts as accepted when the agent did anything but close the connection or deny it: also when it only said that the
//! request was malformed, because then somebody without the right has been listened to.

mod any_server;
mod attempt;
mod certificates;
mod every_call;
mod peers;

use identity::{Authority, HostSecret};

use crate::server::{METHODS, is_allowed};
use attempt::{Call, Verdict};

pub use any_server::AnyServer;
pub use every_call::call;

/// What came of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// How many kinds of wrong peer there were: callers that may make no call at all.
    pub wrong: usize,
    /// How many calls were tried, by wrong peers and right ones.
    pub tried: usize,
    /// Calls that were accepted though they should not have been: `peer: call`. Empty when all is well.
    pub accepted: Vec<String>,
    /// Calls that were denied though they should have been accepted, which would make the rest worthless: the right
    /// callers are tried too. Empty when all is well.
    pub denied: Vec<String>,
}

/// Tries every wrong peer on the claimed agent of `authority` at `address` (`host:port`), and every right one.
///
/// `neighbour` is a host whose leaf key the agent's sections pin, so that its certificates are refused for what else is
/// wrong with them. It makes calls that change nothing: no sections, empty ids. Takes some seconds.
pub async fn matrix(address: &str, authority: &Authority, neighbour: &HostSecret) -> Matrix {
    let mut matrix = Matrix { wrong: 0, tried: 0, accepted: Vec::new(), denied: Vec::new() };
    for peer in peers::all(authority, neighbour) {
        matrix.wrong += usize::from(peer.role.is_none());
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
