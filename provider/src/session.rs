//! What one provider process shares: the state of the root key, the seeds, the stop wish and the systems found.
//!
//! Made when Terraform configures the provider, and lazy: nothing is dialled before a resource needs it, so a
//! plan works with nothing running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use identity::{Authority, AuthorityName, Generations, RootKey};
use nats_config::HostPort;
use tfplug::{Diagnostic, Stop};
use tokio::sync::Mutex;

use crate::agents::{Agents, System, find_system};

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
}

impl Session {
    /// A session that has dialled nobody yet. `stop` trips when Terraform is interrupted.
    #[must_use]
    pub fn new(settings: Settings, stop: Stop) -> Arc<Session> {
        Arc::new(Session {
            settings,
            stop,
            agents: Arc::new(Agents::new()),
            nodes: RwLock::default(),
            generations: RwLock::default(),
            systems: Mutex::default(),
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
        todo!()
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
        todo!()
    }

    /// Forgets the systems found, so that the next [`Session::system`] asks again. Connections stay.
    pub async fn invalidate(&self) {
        self.systems.lock().await.clear();
    }
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
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(session);
    }

    /// The session.
    ///
    /// # Errors
    /// When Terraform has not configured the provider.
    pub fn session(&self) -> Result<Arc<Session>, Diagnostic> {
        let slot = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        slot.clone().ok_or_else(|| {
            Diagnostic::error("The provider is not configured", "Terraform has not sent a provider block yet.")
        })
    }
}
