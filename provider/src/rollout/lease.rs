//! The lease that keeps two applies apart: granted by a majority of the declared agents, renewed while it is needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::future::join_all;
use host_state::chain;
use host_state::lease::{DEFAULT_TTL_MS, LeaseAction, LeaseAnswer};
use identity::{Authority, HostName};
use nats_agent_api::AgentClient;
use nats_agent_api::order::{LEASE_DOMAIN, LeaseOrder};
use tfplug::Diagnostic;
use tokio::task::JoinHandle;

/// A third of the lease's life, so that two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(10);

/// A lease that is held. Dropped without [`Lease::release`] it runs out by itself.
#[derive(Debug)]
pub struct Lease {
    id: String,
    asking: Arc<Asking>,
    is_lost: Arc<AtomicBool>,
    renewal: JoinHandle<()>,
}

#[derive(Debug)]
struct Asking {
    agents: BTreeMap<HostName, AgentClient>,
    declared: usize,
    lease_id: String,
    holder: String,
    signature: String,
}

impl Lease {
    /// Acquires it from `agents`, of which there are `declared` in all, those that do not answer included.
    ///
    /// # Errors
    /// When fewer than half of `declared` and one grant it; the text names who holds it.
    pub async fn acquire(
        agents: BTreeMap<HostName, AgentClient>,
        declared: usize,
        authority: &Authority,
        lease_id: String,
        holder: String,
    ) -> Result<Lease, Diagnostic> {
        let signed =
            authority.document_key().sign(LEASE_DOMAIN, &LeaseOrder::signed_bytes(&lease_id, &holder));
        let signature = BASE64.encode(&signed);
        let asking = Arc::new(Asking { agents, declared, lease_id: lease_id.clone(), holder, signature });
        let answers = asking.ask(LeaseAction::Acquire).await;
        if let Err(why) = asking.majority(&answers) {
            asking.ask(LeaseAction::Release).await;
            return Err(why);
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(renew(Arc::clone(&asking), Arc::clone(&is_lost)));
        Ok(Lease { id: lease_id, asking, is_lost, renewal })
    }

    /// Its id, for each apply.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is still held.
    ///
    /// # Errors
    /// When a renewal did not find a majority.
    pub fn check(&self) -> Result<(), Diagnostic> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(Diagnostic::error(
                "The lease was lost",
                "Fewer than a majority of the agents renewed it, so somebody else may be changing hosts. Apply again.",
            ));
        }
        Ok(())
    }

    /// Gives it back.
    pub async fn release(self) {
        self.renewal.abort();
        self.asking.ask(LeaseAction::Release).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(asking: Arc<Asking>, is_lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        // Acquire renews what is held and takes back what ran out on a host that was away; it never takes what
        // somebody else holds.
        let answers = asking.ask(LeaseAction::Acquire).await;
        if asking.majority(&answers).is_err() {
            is_lost.store(true, Ordering::Release);
            return;
        }
    }
}

impl Asking {
    async fn ask(&self, action: LeaseAction) -> BTreeMap<HostName, Result<LeaseAnswer, String>> {
        let one = |(host, agent): (&HostName, &AgentClient)| {
            let order = LeaseOrder {
                lease_id: self.lease_id.clone(),
                holder: self.holder.clone(),
                action,
                ttl_ms: DEFAULT_TTL_MS,
                signature: self.signature.clone(),
            };
            let (host, agent) = (host.clone(), agent.clone());
            async move {
                // Shorter than a renewal's pause, so that a silent host does not hold up the others' renewal.
                let answer = tokio::time::timeout(RENEWAL / 2, agent.lease(order)).await;
                let answer = match answer {
                    Ok(answer) => answer.map_err(|why| chain(&why)),
                    Err(_) => Err(format!("agent `{}` did not answer in time", agent.address())),
                };
                (host, answer)
            }
        };
        join_all(self.agents.iter().map(one)).await.into_iter().collect()
    }

    fn majority(&self, answers: &BTreeMap<HostName, Result<LeaseAnswer, String>>) -> Result<(), Diagnostic> {
        let granted =
            answers.values().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.granted)).count();
        let needed = self.declared / 2 + 1;
        if granted >= needed {
            return Ok(());
        }
        let mut held = answers.values().filter_map(|answer| answer.as_ref().ok());
        if let Some(other) = held.find(|answer| !answer.granted && !answer.holder.is_empty()) {
            let seconds = other.remaining_ms.div_ceil(1000);
            return Err(Diagnostic::error(
                "Somebody else is changing these hosts",
                format!(
                    "The lease is held by {} for another {seconds} s unless it is renewed. Wait until that is done, then \
                     apply again.",
                    other.holder
                ),
            ));
        }
        let why: Vec<String> = answers
            .iter()
            .filter_map(|(host, answer)| answer.as_ref().err().map(|why| format!("`{host}`: {why}.")))
            .collect();
        Err(Diagnostic::error(
            format!("Only {granted} of {} agents grant the lease, {needed} are needed", self.declared),
            format!("Bring the hosts back, or mark them `absent`.\n{}", why.join("\n")),
        ))
    }
}
