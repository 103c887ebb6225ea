//! What a plan can tell already: clusters that must not be joined. Asks hosts only when others than before are joined.

use std::collections::BTreeMap;
use std::time::Duration;

use identity::HostName;
use nats_config::HostPort;
use tfplug::{Diagnostic, Value};

use super::conduct::not_joined;
use crate::resources::cluster::{card, look_at};
use crate::resources::trust::TrustRef;
use crate::rollout::plan::{Past, course};
use crate::session::Session;
use crate::topology::Gateway;

/// How long a plan may wait for hosts; the apply asks them again, and the agents refuse by themselves.
const PATIENCE: Duration = Duration::from_secs(15);

/// The refusal to merge formed systems, when hosts that answer are of several. Nothing when none answers: a plan works
/// with nothing running.
pub(super) async fn merging(
    session: &Session,
    trust: &TrustRef,
    gateway: &Gateway,
    prior: Option<&Value>,
) -> Option<Diagnostic> {
    if prior.is_some_and(|prior| joins_nobody(prior, gateway)) {
        return None;
    }
    let card = card(session, trust).ok()?;
    let hosts: BTreeMap<HostName, HostPort> =
        gateway.nodes().map(|(host, _, node)| (host.clone(), node.agent.clone())).collect();
    let look = tokio::time::timeout(PATIENCE, look_at(session, &card, &hosts)).await.ok()?;
    let pasts = gateway.nodes().filter_map(|(host, member, _)| {
        let seen = look.seen.get(host)?;
        Some((host.clone(), Past::of(&seen.report, member.cluster.as_str())))
    });
    course(&pasts.collect()).err().map(|why| not_joined(&why))
}

/// Whether every node was there before.
fn joins_nobody(prior: &Value, gateway: &Gateway) -> bool {
    let nodes = prior.attr("clusters").entries().flat_map(|(_, member)| member.attr("nodes").entries());
    let known: std::collections::BTreeSet<&str> = nodes.map(|(host, _)| host).collect();
    gateway.nodes().all(|(host, _, _)| known.contains(host.as_str()))
}
