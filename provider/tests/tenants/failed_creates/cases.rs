//! What each step's failing must come to. The order is that of a create; a step that is repeated stands once.

use nats_agent_api::server::Method;

use super::WHY;
use super::world::Kind;

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// What is asked of the agent.
    pub(super) method: Method,
    /// When the first agent fails from here on.
    pub(super) first: Effect,
    /// When all do.
    pub(super) all: Effect,
}

/// What a create whose step fails comes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
    /// It fails, and its error has these words.
    Fails(&'static [&'static str]),
    /// It succeeds: the others do, or what failed is not needed.
    Goes,
}

const fn case(method: Method, first: Effect, all: Effect) -> Case {
    Case { method, first, all }
}

use Effect::{Fails, Goes};

const JOIN: Effect = Fails(&["did not come", WHY, "its time is over"]);
const ONE_HOST: Effect = Fails(&["stopped at one host", "`east-1`", WHY, "Changed: `"]);
const ONE_ASKED: Effect = Fails(&["stopped at one host", "`east-1`", WHY, "Changed: none."]);
const ALL_HOSTS: Effect = Fails(&["stopped at 3 hosts", WHY, "Changed: none."]);
const UNREACHED: Effect = Fails(&["do not reach each other", "`east-1`", WHY, "No held server was started"]);
const UNFORMED: Effect = Fails(&["stopped", "`east-1`", WHY, "its time is over"]);
const CLAIMS_OF_NOBODY: Effect = Fails(&["No host took the claims", WHY, "`east-1`", "`east-3`"]);
const SYSTEM_OF_NOBODY: Effect = Fails(&["tells of its system", WHY]);
const CLAIMS_OF_STREAM: Effect = Fails(&["account `orders`", WHY]);
const TUNNEL_OF_NOBODY: Effect = Fails(&["No server lets the provider into account `orders`", WHY]);

const CLUSTER: &[Case] = &[
    case(Method::Observe, JOIN, JOIN),
    // Two of three grant the lease; the third is asked then, and fails.
    case(
        Method::Lease,
        ONE_ASKED,
        Fails(&["Only 0 of 3 agents grant the lease, 2 are needed", WHY, "Bring the hosts back"]),
    ),
    // Asks all hosts whether they would take it, then stages.
    case(Method::Preview, ONE_ASKED, ALL_HOSTS),
    case(Method::Apply, ONE_HOST, ALL_HOSTS),
    case(Method::Probe, UNREACHED, UNREACHED),
    // Releases.
    case(Method::Apply, ONE_HOST, ALL_HOSTS),
    case(Method::Observe, UNFORMED, UNFORMED),
    case(Method::Tunnel, UNFORMED, UNFORMED),
    // Gives the lease back, which otherwise runs out.
    case(Method::Lease, Goes, Goes),
];
const GATEWAY: &[Case] = CLUSTER;
const ACCOUNT: &[Case] = &[
    case(Method::Observe, Goes, SYSTEM_OF_NOBODY),
    case(Method::Claims, Goes, Fails(&["No agent answers", WHY])),
    case(Method::Apply, Goes, CLAIMS_OF_NOBODY),
];
const USER: &[Case] = ACCOUNT;
const STREAM: &[Case] = &[
    case(Method::Observe, Goes, SYSTEM_OF_NOBODY),
    // Which key of the account servers know.
    case(Method::Claims, Goes, CLAIMS_OF_STREAM),
    case(Method::Tunnel, Goes, TUNNEL_OF_NOBODY),
];

/// All steps of a create, in order.
pub(super) fn cases(kind: Kind) -> &'static [Case] {
    match kind {
        Kind::Cluster => CLUSTER,
        Kind::Gateway => GATEWAY,
        Kind::Account => ACCOUNT,
        Kind::User => USER,
        Kind::Stream => STREAM,
    }
}
