//! What one provider process shares: the state of the root key, the seeds, the stop wish and the systems found.
//!
//! Made when Terraform configures the provider, and lazy: nothing is dialled before a resource needs it, so a
//! plan works with nothing running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use host_state::chain;
use identity::{Authority, AuthorityName, Generations, RootKey};
use nats_config::HostPort;
use tfplug::{Diagnostic, Stop};
use tokio::sync::Mutex;

use crate::agents::{Agents, Search, System, find_system, random_bytes};
use crate::whoami::whoami;

/// Whether this process may derive keys.
#[derive(Debug, Clone, Copy)]
pub enum KeyState<'a> {
    /// The root key is here.
    Known(&'a RootKey),
    /// It was given and Terraform does not know it yet; only during plan.
    Unknown,
    /// None was given.
    Missing,
}

/// The root key as the provider block and the environment gave it.
#[derive(Debug)]
pub enum RootKeyInput {
    /// Read and checked.
    Known(RootKey),
    /// Not known yet.
    Unknown,
    /// Nowhere given.
    Missing,
}

/// What a provider block says, parsed.
#[derive(Debug)]
pub struct Settings {
    /// The root key.
    pub root_key: RootKeyInput,
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

    /// Whether this process may derive keys.
    #[must_use]
    pub fn root_key(&self) -> KeyState<'_> {
        match &self.settings.root_key {
            RootKeyInput::Known(key) => KeyState::Known(key),
            RootKeyInput::Unknown => KeyState::Unknown,
            RootKeyInput::Missing => KeyState::Missing,
        }
    }

    /// The authority `name` with the keys of these generations.
    ///
    /// # Errors
    /// When there is no root key, or it is not known yet; the text says what to do.
    pub fn authority(&self, name: &AuthorityName, generations: Generations) -> Result<Authority, Diagnostic> {
        let root_key = self.known_root_key()?;
        let authority = Authority::derive(root_key, name.clone(), generations).map_err(|why| {
            Diagnostic::error("The authority cannot be derived", format!("{}.", chain(&why)))
        })?;
        write(&self.generations).insert(name.clone(), generations);
        Ok(authority)
    }

    fn known_root_key(&self) -> Result<&RootKey, Diagnostic> {
        match self.root_key() {
            KeyState::Known(root_key) => Ok(root_key),
            KeyState::Unknown => Err(Diagnostic::error(
                "The root key is not known yet",
                "It comes from something that this run has still to make. Make the root key outside of this \
                 configuration: everything is derived from it.",
            )),
            KeyState::Missing => Err(Diagnostic::error(
                "There is no root key",
                "Set `root_key` in the provider block, best from an ephemeral variable, or `root_key_file`, or the \
                 environment variable `NATS_ROOT_KEY`. Make one with `openssl rand -base64 32` and keep it safe: it is \
                 the one secret.",
            )),
        }
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
    /// When there is no root key, no address is known, or nobody answers; the text names each address and why.
    pub async fn system(&self, authority: &AuthorityName) -> Result<Arc<System>, Diagnostic> {
        let root_key = self.known_root_key()?;
        // Held while asking, so that resources that start at once ask once.
        let mut systems = self.systems.lock().await;
        if let Some(system) = systems.get(authority) {
            return Ok(Arc::clone(system));
        }
        let mut addresses = read(&self.nodes).clone();
        addresses.extend(self.settings.agents.iter().cloned());
        if addresses.is_empty() {
            return Err(self.nobody_to_ask());
        }
        let generations = read(&self.generations).get(authority).copied();
        let search = Search { root_key, authority, generations, addresses, agents: &self.agents };
        let system = Arc::new(find_system(search).await?);
        systems.insert(authority.clone(), Arc::clone(&system));
        Ok(system)
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
