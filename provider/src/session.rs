//! What one provider process shares: its keys, the seeds, the stop wish and the systems found.
//!
//! Made when Terraform configures the provider, and lazy: nothing is dialled before a resource needs it, so a
//! plan works with nothing running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use host_state::chain;
use identity::{AccountKey, Authority, AuthorityName, Credentials, Generations};
use nats_agent_api::Tunnel;
use nats_config::HostPort;
use tfplug::{Diagnostic, Stop};
use tokio::sync::Mutex;

use crate::agents::{
    AccountDoor, Agents, IdentityCard, Search, Seeker, System, find_system, random_bytes, same_operator,
};
use crate::keys::{Keys, Kind, same_authority};
use crate::resources::trust::TrustRef;
use crate::rollout::lease::Applicant;
use crate::whoami::whoami;

/// What a provider block says, parsed.
#[derive(Debug)]
pub struct Settings {
    /// What this process may do, and by which key.
    pub keys: Keys,
    /// Addresses of agents to ask first; those not known yet are left out.
    pub agents: Vec<HostPort>,
    /// Whether some of the addresses are not known yet.
    pub agents_unknown: bool,
}

/// One configured provider process.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    stop: Stop,
    agents: Arc<Agents>,
    /// Addresses that resources of this process named; they serve as further seeds.
    nodes: RwLock<BTreeSet<HostPort>>,
    /// Generations that resources of this process named, newest last.
    generations: RwLock<BTreeMap<AuthorityName, Generations>>,
    systems: Mutex<BTreeMap<AuthorityName, Arc<System>>>,
    lease_id: OnceLock<String>,
    writer: String,
}

impl Session {
    /// A session that has dialled nobody yet. `stop` trips when Terraform is interrupted.
    #[must_use]
    pub fn new(settings: Settings, stop: Stop) -> Arc<Session> {
        Session::writing_as(settings, stop, whoami())
    }

    /// The same under another name, for tests that hold several writers in one process.
    #[must_use]
    pub fn writing_as(settings: Settings, stop: Stop, writer: String) -> Arc<Session> {
        Arc::new(Session {
            settings,
            stop,
            agents: Arc::new(Agents::new()),
            nodes: RwLock::default(),
            generations: RwLock::default(),
            systems: Mutex::default(),
            lease_id: OnceLock::new(),
            writer,
        })
    }

    /// What this process may do, and by which key.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.settings.keys
    }

    /// The authority `name` with the keys of these generations.
    ///
    /// # Errors
    /// When there is no root key here; the text says what to do.
    pub fn authority(&self, name: &AuthorityName, generations: Generations) -> Result<Authority, Diagnostic> {
        let root_key = self.keys().root()?;
        let authority = Authority::derive(root_key, name.clone(), generations).map_err(|why| {
            Diagnostic::error("The authority cannot be derived", format!("{}.", chain(&why)))
        })?;
        write(&self.generations).insert(name.clone(), generations);
        Ok(authority)
    }

    /// Who this process is to the agents of an authority, to look at them.
    ///
    /// # Errors
    /// When its keys open no agent, or are another authority's.
    pub fn card(&self, trust: &TrustRef) -> Result<IdentityCard, Diagnostic> {
        match self.keys() {
            Keys::Reader(caller) => {
                same_authority(Kind::Reader, caller.authority(), &trust.name)?;
                Ok(IdentityCard::of_caller(caller))
            }
            Keys::Root(_) | Keys::Account(_) | Keys::Unknown | Keys::Missing => {
                let authority = self.authority(&trust.name, trust.generations)?;
                same_operator(&authority.trust(), &trust.operator)?;
                IdentityCard::of(&authority)
            }
        }
    }

    /// A tunnel into the account that `account_key` is for, through any agent that is known.
    ///
    /// # Errors
    /// When no agent lets it in; the text names each and why.
    pub async fn account_key_tunnel(&self, key: &AccountKey) -> Result<Tunnel, Diagnostic> {
        let addresses = self.addresses()?;
        AccountDoor { key, addresses, agents: &self.agents }.tunnel().await
    }

    /// Logs in once with credentials of a user of the account that `account_key` is for.
    ///
    /// # Errors
    /// As [`Session::account_key_tunnel`].
    pub async fn account_key_login(&self, key: &AccountKey, user: &Credentials) -> Result<(), Diagnostic> {
        let addresses = self.addresses()?;
        let door = AccountDoor { key, addresses, agents: &self.agents };
        door.enter(user.jwt.as_str(), |nonce| user.sign(nonce)).await.map(drop)
    }

    /// Trips when Terraform is interrupted.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Connections to agents, shared by the whole process.
    #[must_use]
    pub fn agents(&self) -> &Arc<Agents> {
        &self.agents
    }

    /// The system that `authority` runs: every host that the agents' ledgers name. Asks the seeds and the nodes
    /// named in this process, any that answers; found once, then kept until [`Session::invalidate`].
    ///
    /// # Errors
    /// When the keys open no agent, no address is known, or nobody answers; the text names each address and why.
    pub async fn system(&self, authority: &AuthorityName) -> Result<Arc<System>, Diagnostic> {
        let seeker = match self.keys() {
            Keys::Reader(caller) => Seeker::Reader(caller),
            keys @ (Keys::Root(_) | Keys::Account(_) | Keys::Unknown | Keys::Missing) => {
                Seeker::Root(keys.root()?)
            }
        };
        // Held while asking, so that resources that start at once ask once.
        let mut systems = self.systems.lock().await;
        if let Some(system) = systems.get(authority) {
            return Ok(Arc::clone(system));
        }
        let addresses = self.addresses()?;
        let generations = read(&self.generations).get(authority).copied();
        let search = Search { seeker, authority, generations, addresses, agents: &self.agents };
        let system = Arc::new(find_system(search).await?);
        systems.insert(authority.clone(), Arc::clone(&system));
        Ok(system)
    }

    /// Agents to ask.
    fn addresses(&self) -> Result<BTreeSet<HostPort>, Diagnostic> {
        let mut addresses = read(&self.nodes).clone();
        addresses.extend(self.settings.agents.iter().cloned());
        if addresses.is_empty() { Err(self.nobody_to_ask()) } else { Ok(addresses) }
    }

    fn nobody_to_ask(&self) -> Diagnostic {
        let why = if self.settings.agents_unknown {
            "The addresses in the provider's `agents` are not known yet."
        } else {
            "Set `agents` in the provider block to `host:port` of agents of the system; one that answers is enough."
        };
        Diagnostic::error("No agent's address is known", why)
    }

    /// Remembers agents that a resource named, as further seeds.
    pub fn remember_agents(&self, agents: impl IntoIterator<Item = HostPort>) {
        write(&self.nodes).extend(agents);
    }

    /// Names this process to the agents' leases: 32 lower-case hex digits, made once.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn lease_id(&self) -> Result<String, Diagnostic> {
        if let Some(id) = self.lease_id.get() {
            return Ok(id.clone());
        }
        let id = data_encoding::HEXLOWER.encode(&random_bytes()?[..16]);
        Ok(self.lease_id.get_or_init(|| id).clone())
    }

    /// Who this process is when it asks for a lease.
    ///
    /// # Errors
    /// As [`Session::lease_id`].
    pub fn applicant(&self) -> Result<Applicant, Diagnostic> {
        Ok(Applicant { lease_id: self.lease_id()?, holder: self.writer.clone() })
    }

    /// The name that others read who are slower, or who wait for this process.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Forgets the systems found, so that the next [`Session::system`] asks again. Connections stay.
    pub async fn invalidate(&self) {
        self.systems.lock().await.clear();
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The place where resources find the session; empty until Terraform configures the provider.
#[derive(Debug, Clone, Default)]
pub struct SessionSlot(Arc<RwLock<Option<Arc<Session>>>>);

impl SessionSlot {
    /// An empty one.
    #[must_use]
    pub fn new() -> SessionSlot {
        SessionSlot::default()
    }

    /// Puts a session in; a second one replaces the first.
    pub fn fill(&self, session: Arc<Session>) {
        *write(&self.0) = Some(session);
    }

    /// The session.
    ///
    /// # Errors
    /// When Terraform has not configured the provider.
    pub fn session(&self) -> Result<Arc<Session>, Diagnostic> {
        read(&self.0).clone().ok_or_else(|| {
            Diagnostic::error(
                "The provider is not configured",
                "Terraform has not sent a provider block yet.",
            )
        })
    }
}
