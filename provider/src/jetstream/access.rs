//! JetStream of any account of the system: one tunnel and one listing an account, shared by all resources of a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nats_agent_api::{RequestError, Tunnel};
use tfplug::Diagnostic;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::api::{Caller, JetStreamApi};
use super::listing::Listings;
use crate::resources::natural_id::AccountId;
use crate::session::SessionSlot;

/// How many creates may be under way at once. Measured on nine servers: 16 make 38 R3 streams/s; 64 make no more
/// and take four times as long each.
const CREATES_AT_ONCE: usize = 16;

/// The way to JetStream for every resource of a process.
pub struct JetStreamAccess {
    sessions: SessionSlot,
    apis: Mutex<BTreeMap<AccountId, Arc<OnceCell<JetStreamApi>>>>,
    listings: Listings,
    creates: Semaphore,
}

impl JetStreamAccess {
    /// Dials nobody yet.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Arc<JetStreamAccess> {
        Arc::new(JetStreamAccess {
            sessions,
            apis: Mutex::default(),
            listings: Listings::default(),
            creates: Semaphore::new(CREATES_AT_ONCE),
        })
    }

    /// The API of `account`, as an administrator minted in memory; connected once.
    ///
    /// # Errors
    /// When there is no root key or no host lets the administrator in.
    pub async fn api(&self, account: &AccountId) -> Result<JetStreamApi, Diagnostic> {
        let cell = Arc::clone(self.apis.lock().await.entry(account.clone()).or_default());
        cell.get_or_try_init(|| self.connect(account)).await.cloned()
    }

    async fn connect(&self, account: &AccountId) -> Result<JetStreamApi, Diagnostic> {
        let system = self.sessions.session()?.system(&account.authority).await?;
        let tunnel = system.account_tunnel(&account.account).await?;
        Ok(JetStreamApi::new(Arc::new(tunnel)))
    }

    /// Forgets a connection that was lost, so that the next call makes a new one.
    pub async fn reconnect(&self, account: &AccountId) {
        self.apis.lock().await.remove(account);
    }

    /// What the accounts' streams looked like when first asked for.
    #[must_use]
    pub fn listings(&self) -> &Listings {
        &self.listings
    }

    /// A place among the creates that may be under way at once.
    pub async fn create_permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.creates.acquire().await.ok()
    }
}

#[async_trait]
impl Caller for Tunnel {
    async fn request(
        &self,
        subject: &str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        Ok(Tunnel::request(self, subject, payload, timeout).await?.payload)
    }
}
