//! The firewall against a real kernel: in network namespaces of its own, with real `nft` and real TCP connections.
//!
//! What the agent's own firewall part does with random intents is held against the evaluator of `host-state`; then come
//! replacements under traffic, a process that is killed while rules are on trial, crashes at each moment of a change, and
//! hands that change the table.
//! Needs root, `nft`, `ip`, `unshare` and `nsenter`; changes nothing outside the namespaces.

mod asked;
mod crashes;
mod flood;
mod hands;
mod intents;
mod lockout;
mod namespaces;
mod probes;
mod traffic;
mod trials;
mod witness;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use host_state::document::ClusterSection;
use host_state::firewall::FirewallRules;
use nats_agent::parts::effects::Effects;
use nats_agent::parts::firewall::Firewall;

use self::intents::AGENT_PORT;
use self::namespaces::Pair;
use crate::proof::Proof;
use crate::soak::Order;

pub use lockout::hold;

/// How long rules are on trial where nobody waits for the end.
const TRIAL: Duration = Duration::from_secs(60);
/// Proves it: 1,000 intents, 2,000 replacements under as many packets as go, 200 under connections, 10 lock-outs, 20
/// rounds of foreign hands as a whole.
///
/// # Errors
/// When a namespace cannot be made, a program is missing, or the firewall cannot be changed.
pub fn prove(order: &Order) -> Result<Proof> {
    let pair = Pair::new()?;
    witness::load(&pair.host)?;
    let mut rows = asked::intents_hold(order)?;
    rows.extend(flood::replaced_under_flood(order.rounds(20, 2_000), &pair)?);
    rows.extend(traffic::replaced_under_traffic(order.rounds(10, 200), &pair)?);
    rows.extend(lockout::undone_by_the_kernel(order.rounds(1, 10), &pair)?);
    rows.extend(trials::trials_end(&pair)?);
    rows.extend(crashes::crashes_blame_nobody(&pair)?);
    rows.extend(hands::foreign_hands(order.rounds(2, 20), &pair)?);
    Ok(Proof {
        what:
            "The firewall part of the agent in two network namespaces, with real nft and real TCP connections"
                .to_owned(),
        rows,
    })
}

/// Does `work` with the host's firewall, whose files lie in `state`, in the host's namespace.
fn with_firewall<T: Send>(
    pair: &Pair,
    state: &Path,
    work: impl AsyncFnOnce(&Firewall) -> Result<T> + Send,
) -> Result<T> {
    pair.host.inside(|| in_runtime(async || work(&Firewall::open(Effects::default(), state)).await))
}

/// Runs a future on this thread, so that whatever it starts is in the thread's namespace.
fn in_runtime<T, F: Future<Output = Result<T>>>(work: impl FnOnce() -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work().await })
}

/// Puts rules on trial and confirms them, as over a connection that was opened after.
async fn establish(firewall: &Firewall, rules: &FirewallRules) -> Result<()> {
    let trial = firewall.begin_trial(rules, TRIAL).await?;
    Ok(firewall.confirm(&trial.id, u64::MAX).await?)
}

/// Rules under which only `allowed` reaches the client port.
fn only(plain: &ClusterSection, allowed: &[&str]) -> Result<FirewallRules> {
    let mut section = plain.clone();
    section.firewall.clients = allowed.iter().map(|network| network.parse()).collect::<Result<_, _>>()?;
    Ok(host_state::firewall::Reach { cluster: &section, gateway: None, agent_port: AGENT_PORT }.rules())
}
