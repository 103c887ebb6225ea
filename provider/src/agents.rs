//! Agents: connections shared by the whole process, and the systems that agents' ledgers describe.

mod account_door;
mod find;
mod identity_card;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use host_state::document::ClaimsSection;
use host_state::{SignedSection, chain};
use identity::{AccountName, AdminPurpose, Authority, HostName, Trust};
use nats_agent_api::{AgentClient, ConnectError, Expected, Timeouts, Tunnel};
use nats_config::HostPort;
use tfplug::Diagnostic;
use time::OffsetDateTime;
use tokio::sync::{Mutex, OnceCell};

use crate::claims::edit::account_in;
use crate::keys::reader_only;

pub(crate) use account_door::AccountDoor;
pub(crate) use find::{Search, Seeker, find_system};
pub use identity_card::{IdentityCard, random_bytes};

/// Life of a user that a tunnel logs in as, in minutes: a tunnel that breaks later logs in anew.
const TUNNEL_MINUTES: u32 = 60;

/// As whom, where, and who must be there.
type Door = (String, HostPort, Option<HostName>);

/// Connections to agents, one for each host and authority, made when first needed.
#[derive(Default)]
pub struct Agents {
    connections: Mutex<HashMap<Door, Arc<OnceCell<AgentClient>>>>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Agents").finish_non_exhaustive()
    }
}

impl Agents {
    /// No connection yet.
    #[must_use]
    pub fn new() -> Agents {
        Agents::default()
    }

    /// A connection to the claimed agent at `agent`, shared. `host` is who it must be; absent when any host of the
    /// authority will do. A failure is not remembered.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        card: &IdentityCard,
        agent: &HostPort,
        host: Option<&HostName>,
    ) -> Result<AgentClient, ConnectError> {
        let key = (card.key().to_owned(), agent.clone(), host.cloned());
        let cell = Arc::clone(self.connections.lock().await.entry(key).or_default());
        let expected = Expected { host: host.cloned(), pin: None };
        let address = agent.to_string();
        let dial =
            || AgentClient::connect(&address, card.client(), card.host_ca(), expected, Timeouts::default());
        cell.get_or_try_init(dial).await.cloned()
    }

    async fn connect_to(
        &self,
        card: &IdentityCard,
        entry: &HostEntry,
        host: &HostName,
    ) -> Result<AgentClient, Diagnostic> {
        let connected = self.connect(card, &entry.agent, Some(host)).await;
        connected.map_err(|why| not_connected(host, &why))
    }
}

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
    /// The authority's public side.
    pub trust: Trust,
    /// The gateway that joins the clusters; absent for a cluster on its own.
    pub gateway: Option<String>,
    /// Every declared host by name, absent ones left out.
    pub hosts: BTreeMap<HostName, HostEntry>,
    /// Declared hosts that are marked `absent`, as far as they are known here: they are asked nothing, and what they left
    /// in the system is no surprise.
    pub absent: BTreeSet<HostName>,
    hold: Hold,
    card: IdentityCard,
    connections: Arc<Agents>,
}

/// What this process holds of a system.
#[derive(Debug)]
enum Hold {
    /// Its keys.
    Root(Box<Authority>),
    /// A certificate that lets it look.
    Reader,
}

impl System {
    /// A system of these hosts. Dials nobody.
    ///
    /// # Errors
    /// When no certificate can be made for this process.
    pub fn new(
        authority: Authority,
        gateway: Option<String>,
        hosts: BTreeMap<HostName, HostEntry>,
        connections: Arc<Agents>,
    ) -> Result<System, Diagnostic> {
        let card = IdentityCard::of(&authority)?;
        let trust = authority.trust();
        let absent = BTreeSet::new();
        Ok(System { hold: Hold::Root(Box::new(authority)), trust, gateway, hosts, absent, card, connections })
    }

    /// The same for who may only look.
    #[must_use]
    pub fn for_reader(
        card: IdentityCard,
        trust: Trust,
        gateway: Option<String>,
        hosts: BTreeMap<HostName, HostEntry>,
        connections: Arc<Agents>,
    ) -> System {
        System { hold: Hold::Reader, trust, gateway, hosts, absent: BTreeSet::new(), card, connections }
    }

    /// The same with these hosts marked absent.
    #[must_use]
    pub fn with_absent(self, absent: BTreeSet<HostName>) -> System {
        System { absent, ..self }
    }

    /// The keys.
    ///
    /// # Errors
    /// When this process may only look.
    pub fn authority(&self) -> Result<&Authority, Diagnostic> {
        match &self.hold {
            Hold::Root(authority) => Ok(authority),
            Hold::Reader => Err(reader_only()),
        }
    }

    /// Who this process is to the agents.
    #[must_use]
    pub fn card(&self) -> &IdentityCard {
        &self.card
    }

    /// A connection to the agent of `host`, shared and made when needed.
    ///
    /// # Errors
    /// When `host` is not of this system or its agent does not answer.
    pub async fn agent(&self, host: &HostName) -> Result<AgentClient, Diagnostic> {
        self.connections.connect_to(&self.card, self.entry(host)?, host).await
    }

    /// A connection to the agent of `host` that was opened just now and that nobody else has.
    ///
    /// # Errors
    /// As [`System::agent`].
    pub async fn dial(&self, host: &HostName) -> Result<AgentClient, Diagnostic> {
        Agents::new().connect_to(&self.card, self.entry(host)?, host).await
    }

    fn entry(&self, host: &HostName) -> Result<&HostEntry, Diagnostic> {
        self.hosts.get(host).ok_or_else(|| {
            Diagnostic::error(
                format!("Host `{host}` is not part of the system"),
                "No cluster declares it, or it is marked `absent`.",
            )
        })
    }

    /// Does the same with every host at once but `without` these, which are not even dialled; one result a host.
    pub async fn each_host<T, F, Fut>(
        &self,
        without: &BTreeSet<HostName>,
        act: F,
    ) -> BTreeMap<HostName, Result<T, Diagnostic>>
    where
        F: Fn(HostName, AgentClient) -> Fut,
        Fut: Future<Output = Result<T, Diagnostic>>,
    {
        let act = &act;
        let one = |host: &HostName| {
            let host = host.clone();
            async move {
                let result = match self.agent(&host).await {
                    Ok(agent) => act(host.clone(), agent).await,
                    Err(problem) => Err(problem),
                };
                (host, result)
            }
        };
        join_all(self.hosts.keys().filter(|host| !without.contains(*host)).map(one))
            .await
            .into_iter()
            .collect()
    }

    /// A tunnel to a NATS server of the system as an administrator of `account`, for minutes; the user is minted
    /// in memory. Tries the next host when one is down.
    ///
    /// # Errors
    /// When this process may only look, or no host lets it in; the text names each and why.
    pub async fn account_tunnel(&self, account: &AccountName) -> Result<Tunnel, Diagnostic> {
        let authority = self.authority()?;
        let open = |agent: AgentClient| async move {
            // The host's own claims say which keys its server takes; without them the first generation is as good as any.
            let claims = agent.claims().await.map_err(|why| chain(&why))?;
            let generation = claims.and_then(|claims| signing_generation(&claims, &self.trust, account));
            let purpose = AdminPurpose::JetStream(account.clone(), generation.unwrap_or(1));
            log_in(&agent, authority, &purpose).await
        };
        self.tunnel(open, &format!("account `{account}`")).await
    }

    /// The same in the system account, for monitoring and, with the root key, for moving leaders.
    ///
    /// # Errors
    /// When no host lets it in; the text names each and why.
    pub async fn system_tunnel(&self) -> Result<Tunnel, Diagnostic> {
        let open = |agent: AgentClient| async move {
            match &self.hold {
                Hold::Reader => agent.monitor().await.map_err(|why| chain(&why)),
                Hold::Root(authority) => system_log_in(&agent, authority).await,
            }
        };
        self.tunnel(open, "the system account").await
    }

    /// Tries host after host. `what` names in messages where the tunnel leads.
    async fn tunnel<Opening>(
        &self,
        open: impl Fn(AgentClient) -> Opening,
        what: &str,
    ) -> Result<Tunnel, Diagnostic>
    where
        Opening: Future<Output = Result<Tunnel, String>>,
    {
        let mut refusals = Vec::new();
        for host in self.hosts.keys() {
            let agent = match self.agent(host).await {
                Ok(agent) => agent,
                Err(problem) => {
                    refusals.push(problem.detail);
                    continue;
                }
            };
            match open(agent).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(why) => refusals.push(format!("`{host}`: {why}.")),
            }
        }
        Err(Diagnostic::error(
            format!("No server lets the provider into {what}"),
            format!("Each host was tried:\n{}\nApply again when one lets it in.", refusals.join("\n")),
        ))
    }
}

/// Generation of the newest signing key of an account in a claims section; absent when it has none.
fn signing_generation(claims: &SignedSection, trust: &Trust, account: &AccountName) -> Option<u32> {
    let claims: ClaimsSection = claims.body().ok()?;
    let account = account_in(&claims, trust, account).ok()??;
    account.claims.signing_keys.keys().next_back().copied()
}

/// Logs in as a user that is minted for it.
async fn log_in(
    agent: &AgentClient,
    authority: &Authority,
    purpose: &AdminPurpose,
) -> Result<Tunnel, String> {
    let seed = random_bytes().map_err(|problem| problem.detail)?;
    let user = authority.admin_user(purpose, &seed, OffsetDateTime::now_utc(), TUNNEL_MINUTES);
    let user = user.map_err(|why| chain(&why))?;
    agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.map_err(|why| chain(&why))
}

async fn system_log_in(agent: &AgentClient, authority: &Authority) -> Result<Tunnel, String> {
    log_in(agent, authority, &AdminPurpose::SystemOperations).await
}

/// What is told of a host that cannot be connected to.
pub(crate) fn not_connected(host: &HostName, why: &ConnectError) -> Diagnostic {
    Diagnostic::error(format!("Host `{host}` does not answer"), format!("`{host}`: {}.", chain(why)))
}

/// Compared by the resources of one process: the trust that keys and ledgers agree on.
///
/// # Errors
/// When the root key is another authority's than `expected`'s.
pub(crate) fn same_operator(trust: &Trust, expected: &str) -> Result<(), Diagnostic> {
    let Trust { authority, operator: found, .. } = trust;
    if found.as_str() == expected {
        return Ok(());
    }
    Err(Diagnostic::error(
        format!("This is not the root key of authority `{authority}`"),
        format!(
            "Its operator is `{expected}`, and this root key gives `{found}`. Use the root key that the authority was \
             made with; nothing was changed."
        ),
    ))
}
