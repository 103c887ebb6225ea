//! Whether hosts that are held reach each other: the first election needs every server, so nobody starts before.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use host_state::chain;
use identity::HostName;
use nats_agent_api::order::ProbeOrder;
use tfplug::Diagnostic;

use super::join::Joined;
use super::progress::{Bounds, Progress};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns when each host reaches all of its `targets` (`host:port`).
///
/// # Errors
/// When some are not reached within `bounds`; the text names each pair.
pub async fn wait_reached(
    what: &str,
    hosts: &BTreeMap<HostName, Joined>,
    targets: &BTreeMap<HostName, Vec<String>>,
    bounds: &Bounds,
) -> Result<(), Diagnostic> {
    let mut progress = Progress::new(what);
    loop {
        let missing = missing(hosts, targets).await;
        let Some(first) = missing.first() else { return Ok(()) };
        progress.tell(&format!("waiting until all hosts reach each other: {first}"));
        if let Err(ended) = bounds.pause(PAUSE).await {
            return Err(Diagnostic::error(
                format!("The hosts of `{what}` do not reach each other"),
                format!(
                    "{}.\nNo held server was started, because each must reach all others first; {ended}. Check routing and \
                     firewalls, then apply again.",
                    missing.join(".\n")
                ),
            ));
        }
    }
}

async fn missing(
    hosts: &BTreeMap<HostName, Joined>,
    targets: &BTreeMap<HostName, Vec<String>>,
) -> Vec<String> {
    let asked = targets.iter().filter_map(|(host, targets)| Some((host, hosts.get(host)?, targets)));
    let asked = asked.filter(|(_, _, targets)| !targets.is_empty());
    let rounds = join_all(asked.map(|(host, joined, targets)| async move {
        let order = ProbeOrder { targets: targets.clone(), timeout: ATTEMPT };
        match joined.agent.probe(order).await {
            Ok(results) => results
                .into_iter()
                .filter_map(|result| {
                    Some(format!("`{host}` does not reach `{}`: {}", result.target, result.reached.err()?))
                })
                .collect(),
            Err(why) => vec![format!("`{host}`: {}", chain(&why))],
        }
    }));
    rounds.await.into_iter().flatten().collect()
}
