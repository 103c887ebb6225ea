//! This host's post in the mesh of all servers, by its own sections. The front stands there and probes.

use std::collections::BTreeSet;

use host_state::report::MeshRow;

use super::host::Host;
use super::ledger::Contents;
use super::target::{Target, Which};
use crate::roles::{ClaimState, MeshPost};

impl Host {
    /// Lets the front answer the probes of others while nats-server runs. Cheap; may be repeated at will.
    pub(super) async fn stand_in_mesh(&self) {
        self.view.answer_probes(self.mesh_post()).await;
    }

    /// Which other servers this one reaches; absent while it does not run.
    pub(super) async fn mesh_row(&self) -> Option<MeshRow> {
        self.stand_in_mesh().await;
        self.view.mesh_row().await
    }

    fn mesh_post(&self) -> Option<MeshPost> {
        self.running_server()?;
        let host = match &*self.claim.borrow() {
            ClaimState::Claimed(claimed) => claimed.host.clone(),
            ClaimState::Closed | ClaimState::Open(_) | ClaimState::Unreadable { .. } => return None,
        };
        let contents = self.ledger.read().unwrap_or_else(|_| self.readable_contents());
        let target = running_target(&contents)?;
        let others = others(&target, &host);
        Some(MeshPost { host, others, system: self.local_server(&target), probe: self.local_probe(&target) })
    }
}

/// What runs: what was confirmed, or what is being brought in for the first time.
pub(super) fn running_target(contents: &Contents) -> Option<Target> {
    let target = |which| Target::of(contents, which).ok().flatten();
    target(Which::Confirmed).or_else(|| target(Which::Accepted))
}

/// Every other host of the supercluster, or of the cluster where it has no gateway.
fn others(target: &Target, host: &str) -> BTreeSet<String> {
    let hosts: BTreeSet<&String> = match &target.gateway {
        Some(gateway) => gateway.hosts.keys().collect(),
        None => target.cluster.peers.keys().collect(),
    };
    hosts.into_iter().filter(|other| *other != host).cloned().collect()
}
