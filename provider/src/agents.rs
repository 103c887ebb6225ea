//! Agents: connections shared by the whole process, and the systems that agents' ledgers describe.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use identity::{AccountName, Authority, HostName, Trust};
use nats_agent_api::{AgentClient, Tunnel};
use nats_config::HostPort;
use tfplug::Diagnostic;

/// One host of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The cluster it belongs to.
    pub cluster: String,
    /// Where its agent listens.
    pub agent: HostPort,
}

/// Everything that one authority runs, as its agents' ledgers name it.
#[derive(Debug)]
pub struct System {
    /// The keys.
    pub authority: Authority,
    /// The authority's public side.
    pub trust: Trust,
    /// The gateway that joins the clusters; absent for a cluster on its own.
    pub gateway: Option<String>,
    /// Every declared host by name, absent ones left out.
    pub hosts: BTreeMap<HostName, HostEntry>,
    connections: Arc<Agents>,
}

impl System {
    /// A connection to the agent of `host`, shared and made when needed.
    ///
    /// # Errors
    /// When `host` is not of this system or its agent does not answer.
    pub async fn agent(&self, host: &HostName) -> Result<AgentClient, Diagnostic> {
        todo!()
    }

    /// Does the same with every host at once; one result a host.
    pub async fn each_host<T, F, Fut>(&self, act: F) -> BTreeMap<HostName, Result<T, Diagnostic>>
    where
        F: Fn(HostName, AgentClient) -> Fut,
        Fut: Future<Output = Result<T, Diagnostic>>,
    {
        todo!()
    }

    /// A tunnel to a NATS server of the system as an administrator of `account`, for minutes; the user is minted
    /// in memory. Tries the next host when one is down.
    ///
    /// # Errors
    /// When no host lets it in; the text names each and why.
    pub async fn account_tunnel(&self, account: &AccountName) -> Result<Tunnel, Diagnostic> {
        todo!()
    }

    /// The same in the system account.
    ///
    /// # Errors
    /// As [`System::account_tunnel`].
    pub async fn system_tunnel(&self) -> Result<Tunnel, Diagnostic> {
        todo!()
    }
}
