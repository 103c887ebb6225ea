//! JetStream of any account of the system: one tunnel and one listing an account, shared by all resources of a process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nats_agent_api::{RequestError, Tunnel};
use tfplug::Diagnostic;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::api::{CREATE_PREFIX, Caller, JetStreamApi};
use super::listing::Listings;
use super::monitored::{Monitored, monitored};
use crate::claims::ClaimsWriter;
use crate::keys::{Keys, account_of, account_only, reader_only};
use crate::resources::natural_id::AccountId;
use crate::session::SessionSlot;

/// How many creates may be under way at once. Measured on nine servers: 16 make 38 R3 streams/s; 64 make no more
/// and take four times as long each.
const CREATES_AT_ONCE: usize = 16;

/// The way to JetStream for every resource of a process.
pub struct JetStreamAccess {
    sessions: SessionSlot,
    claims: Arc<ClaimsWriter>,
    ways: Mutex<BTreeMap<AccountId, Arc<OnceCell<Way>>>>,
    listings: Listings,
    creates: Semaphore,
}

/// How an account's JetStream is seen.
#[derive(Clone)]
pub enum Way {
    /// From inside the account.
    Api(JetStreamApi),
    /// From outside, as servers tell of themselves; nothing can be changed.
    Monitor(Arc<Monitored>),
}

impl JetStreamAccess {
    /// Dials nobody yet.
    #[must_use]
    pub fn new(sessions: SessionSlot, claims: Arc<ClaimsWriter>) -> Arc<JetStreamAccess> {
        Arc::new(JetStreamAccess {
            sessions,
            claims,
            ways: Mutex::default(),
            listings: Listings::default(),
            creates: Semaphore::new(CREATES_AT_ONCE),
        })
    }

    /// The way to `account`, by what this process holds; found once.
    ///
    /// # Errors
    /// When the keys lead to no account, or not to this one, or no host lets us in.
    pub async fn way(&self, account: &AccountId) -> Result<Way, Diagnostic> {
        let cell = Arc::clone(self.ways.lock().await.entry(account.clone()).or_default());
        cell.get_or_try_init(|| self.find_way(account)).await.cloned()
    }

    /// The API of `account`, as an administrator minted in memory; connected once.
    ///
    /// # Errors
    /// As [`JetStreamAccess::way`]; also when this process may only look.
    pub async fn api(&self, account: &AccountId) -> Result<JetStreamApi, Diagnostic> {
        match self.way(account).await? {
            Way::Api(api) => Ok(api),
            Way::Monitor(_) => Err(reader_only()),
        }
    }

    async fn find_way(&self, account: &AccountId) -> Result<Way, Diagnostic> {
        if self.claims.is_reader()? {
            return Ok(Way::Monitor(Arc::new(self.monitored(account).await?)));
        }
        let door = Door { sessions: self.sessions.clone(), account: account.clone() };
        let tunnel = Mutex::new((0, door.tunnel().await?));
        Ok(Way::Api(JetStreamApi::new(Arc::new(AccountCaller { door, tunnel }))))
    }

    /// What servers show of the account's streams; none when the claims know no such account.
    async fn monitored(&self, id: &AccountId) -> Result<Monitored, Diagnostic> {
        let Some(account) = self.claims.read(id).await? else { return Ok(Monitored::default()) };
        let system = self.claims.system(&id.authority).await?;
        monitored(&system, &account.claims.key).await
    }

    /// Forgets the connection of an account, so that the next call makes a new one: what its administrator may do, or
    /// whether it exists, has changed.
    pub async fn reconnect(&self, account: &AccountId) {
        self.ways.lock().await.remove(account);
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

/// How an account is entered.
struct Door {
    sessions: SessionSlot,
    account: AccountId,
}

impl Door {
    async fn tunnel(&self) -> Result<Tunnel, Diagnostic> {
        let session = self.sessions.session()?;
        match session.keys() {
            Keys::Account(key) if account_of(key) == self.account => session.account_key_tunnel(key).await,
            Keys::Account(key) => Err(account_only(key)),
            Keys::Root(_) | Keys::Reader(_) | Keys::Unknown | Keys::Missing => {
                let system = session.system(&self.account.authority).await?;
                system.account_tunnel(&self.account.account).await
            }
        }
    }
}

/// Requests in one account. A tunnel ends when its agent or server restarts, and when its user has expired; a request
/// that may be repeated then goes through a new one.
struct AccountCaller {
    door: Door,
    /// The tunnel in use, and how many there were before it.
    tunnel: Mutex<(u64, Tunnel)>,
}

impl AccountCaller {
    /// A tunnel in place of the `ended`-th, made by the first who asks.
    async fn again(&self, ended: u64) -> Result<Tunnel, Diagnostic> {
        let mut current = self.tunnel.lock().await;
        if current.0 == ended {
            *current = (ended + 1, self.door.tunnel().await?);
        }
        Ok(current.1.clone())
    }
}

#[async_trait]
impl Caller for AccountCaller {
    async fn request(
        &self,
        subject: &str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let (number, tunnel) = self.tunnel.lock().await.clone();
        let first = tunnel.request(subject, payload.clone(), timeout).await;
        let closed = match first {
            Ok(reply) => return Ok(reply.payload),
            Err(closed @ RequestError::Closed { .. }) if may_be_repeated(subject) => closed,
            Err(error) => return Err(error),
        };
        match self.again(number).await {
            Ok(tunnel) => Ok(tunnel.request(subject, payload, timeout).await?.payload),
            Err(problem) => {
                tracing::warn!("{}: {}", problem.summary, problem.detail);
                Err(closed)
            }
        }
    }
}

/// All but a create: whether the lost one was taken is not known, and a create is never a probe.
fn may_be_repeated(subject: &str) -> bool {
    !subject.starts_with(CREATE_PREFIX)
}
