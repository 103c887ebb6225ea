//! The applier's side: what the front in another process sees, as if it were here.
//!
//! Fronts come and go. One that has been away for ten seconds is no longer waited for: what nobody looks at is not seen,
//! and never taken for stopped or absent. What the front is to do until it is told otherwise, holding ports and answering
//! probes, is told to each new one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use host_state::DownloadUrl;
use host_state::observed::RunningObserved;
use host_state::report::MeshRow;
use nats_config::Sha256Hex;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::link::{CallError, Link};
use super::message::{ToFront, ViewAnswer, ViewCall};
use crate::roles::{DOWNLOAD_LONGEST, LocalServer, MeshPost, ServerView};

/// How long a front may be away before it is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for an answer. The slowest look logs in to nats-server and asks it, three seconds each. A front that never
/// answers must not make the applier's loop look dead to its watchdog.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is added to the longest time of a download, which ends by itself before.
const DOWNLOAD_MARGIN: Duration = Duration::from_secs(60);
/// Longest time to be told of a post.
const POST_TIMEOUT: Duration = Duration::from_secs(5);

/// The applier's link to one front.
pub(super) type ApplierLink = Link<ToFront, ViewAnswer>;

/// What the front sees. One for the life of the applier's process, with one front at a time behind it, or none.
pub struct RemoteView {
    front: watch::Sender<Front>,
    numbers: AtomicU64,
    ports: Mutex<Order<Vec<SocketAddr>>>,
    post: Mutex<Order<Option<MeshPost>>>,
}

#[derive(Clone)]
enum Front {
    Away { since: Instant },
    Here { number: u64, link: Arc<ApplierLink> },
}

/// What holds until something else is said, and the front that was told of it last.
struct Order<T> {
    what: T,
    told: Option<u64>,
}

/// Why something was not seen.
#[derive(Debug, thiserror::Error)]
enum NotSeen {
    #[error("the agent's front has been away for {} s: is `nats-agent front` running?", PATIENCE.as_secs())]
    Away,
    #[error("the agent's front went away while it looked: {0}")]
    Went(String),
    #[error("the agent's front did not answer in time")]
    Late,
    #[error("the question is too long for the agent's front: {0}")]
    TooLong(String),
    #[error("the agent's front did not look: {0}")]
    Refused(String),
    #[error("the agent's front answered another question")]
    Misplaced,
}

impl Default for RemoteView {
    fn default() -> RemoteView {
        RemoteView {
            front: watch::Sender::new(Front::Away { since: Instant::now() }),
            numbers: AtomicU64::new(1),
            ports: Mutex::new(Order { what: Vec::new(), told: None }),
            post: Mutex::new(Order { what: None, told: None }),
        }
    }
}

impl std::fmt::Debug for RemoteView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_here = matches!(*self.front.borrow(), Front::Here { .. });
        f.debug_struct("RemoteView").field("is_here", &is_here).finish_non_exhaustive()
    }
}

impl RemoteView {
    /// Looks through this front from now on, and not through the one before, whose connection ends. Returns when the front
    /// has been told what holds.
    pub(super) async fn welcome(&self, link: Arc<ApplierLink>) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let before = self.front.send_replace(Front::Here { number, link: Arc::clone(&link) });
        if let Front::Here { link, .. } = before {
            let reason = "another front took its place";
            let last = ToFront::Farewell { reason: reason.to_owned() };
            tokio::spawn(async move { link.farewell(last, reason).await });
        }
        let mut ports = self.ports.lock().await;
        if ports.told != Some(number) && !ports.what.is_empty() {
            let call = ViewCall::HoldPorts { ports: ports.what.clone() };
            match self.ask_of(&link, call, ANSWER_TIMEOUT).await {
                Ok(_) => ports.told = Some(number),
                Err(error) => {
                    tracing::warn!(%error, "the new front does not hold the ports of the held server")
                }
            }
        }
        drop(ports);
        let mut post = self.post.lock().await;
        if post.told != Some(number) && post.what.is_some() {
            self.tell_post(&mut post, number, &link).await;
        }
    }

    /// That front is gone.
    pub(super) fn farewell(&self, link: &Arc<ApplierLink>) {
        self.front.send_if_modified(|front| match front {
            Front::Here { link: current, .. } if Arc::ptr_eq(current, link) => {
                *front = Front::Away { since: Instant::now() };
                true
            }
            Front::Here { .. } | Front::Away { .. } => false,
        });
    }

    /// The front, waited for.
    async fn here(&self) -> Result<(u64, Arc<ApplierLink>), NotSeen> {
        let mut fronts = self.front.subscribe();
        loop {
            let since = match &*fronts.borrow_and_update() {
                Front::Here { number, link } => return Ok((*number, Arc::clone(link))),
                Front::Away { since } => *since,
            };
            // The sender is a field of this.
            let changed = tokio::time::timeout_at(since + PATIENCE, fronts.changed()).await;
            changed.map_err(|_| NotSeen::Away)?.expect("the sender lives as long as this");
        }
    }

    async fn ask_of(
        &self,
        link: &ApplierLink,
        call: ViewCall,
        longest: Duration,
    ) -> Result<ViewAnswer, NotSeen> {
        let answer = link.call(|id| ToFront::Call { id, call }, None);
        match tokio::time::timeout(longest, answer).await {
            Ok(Ok(ViewAnswer::Refused { reason })) => Err(NotSeen::Refused(reason)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(CallError::Ended(reason))) => Err(NotSeen::Went(reason)),
            Ok(Err(CallError::TooLong(error))) => Err(NotSeen::TooLong(error.to_string())),
            Err(_) => Err(NotSeen::Late),
        }
    }

    /// Asks the front; when it goes away meanwhile, the one that comes after it, since every call may be repeated.
    async fn ask(&self, call: ViewCall) -> Result<(u64, ViewAnswer), NotSeen> {
        let longest = match call {
            ViewCall::Download { .. } => DOWNLOAD_LONGEST + DOWNLOAD_MARGIN,
            _ => ANSWER_TIMEOUT,
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            let (number, link) = self.here().await?;
            match self.ask_of(&link, call.clone(), longest).await {
                Ok(answer) => return Ok((number, answer)),
                Err(NotSeen::Went(_)) if Instant::now() < give_up => self.farewell(&link),
                Err(error) => return Err(error),
            }
        }
    }

    async fn tell_post(&self, post: &mut Order<Option<MeshPost>>, number: u64, link: &ApplierLink) {
        let call = ViewCall::AnswerProbes { post: post.what.as_ref().map(|post| Box::new(post.into())) };
        match self.ask_of(link, call, POST_TIMEOUT).await {
            Ok(_) => post.told = Some(number),
            Err(error) => tracing::debug!(%error, "the front was not told of its post in the mesh"),
        }
    }
}

/// What was not seen, in words.
fn unseen<T>(error: &NotSeen) -> Result<T, String> {
    Err(error.to_string())
}

#[async_trait]
impl ServerView for RemoteView {
    async fn running(&self, monitor: SocketAddr) -> RunningObserved {
        let error = match self.ask(ViewCall::Running { monitor }).await {
            Ok((_, ViewAnswer::Running(running))) => return running,
            Ok(_) => NotSeen::Misplaced,
            Err(error) => error,
        };
        RunningObserved::Silent { reason: error.to_string() }
    }

    async fn healthz(&self, monitor: SocketAddr, query: &str) -> Result<(), String> {
        match self.ask(ViewCall::Healthz { monitor, query: query.to_owned() }).await {
            Ok((_, ViewAnswer::Healthz(health))) => health,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn known_accounts(&self, server: &LocalServer) -> Result<BTreeSet<String>, String> {
        match self.ask(ViewCall::KnownAccounts { server: server.into() }).await {
            Ok((_, ViewAnswer::KnownAccounts(known))) => known,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn account_jwts(
        &self,
        server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        let call = ViewCall::AccountJwts { server: server.into(), accounts: accounts.to_vec() };
        match self.ask(call).await {
            Ok((_, ViewAnswer::AccountJwts(jwts))) => jwts,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn push_claim(&self, server: &LocalServer, jwt: &str) -> Result<(), String> {
        match self.ask(ViewCall::PushClaim { server: server.into(), jwt: jwt.to_owned() }).await {
            Ok((_, ViewAnswer::PushClaim(pushed))) => pushed,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn download(&self, url: &DownloadUrl, sha256: &Sha256Hex) -> Result<(), String> {
        match self.ask(ViewCall::Download { url: url.clone(), sha256: sha256.clone() }).await {
            Ok((_, ViewAnswer::Download(downloaded))) => downloaded,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn served_leaf(&self, address: SocketAddr, after_info: bool) -> Result<String, String> {
        match self.ask(ViewCall::ServedLeaf { address, after_info }).await {
            Ok((_, ViewAnswer::ServedLeaf(leaf))) => leaf,
            Ok(_) => unseen(&NotSeen::Misplaced),
            Err(error) => unseen(&error),
        }
    }

    async fn hold_ports(&self, ports: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>> {
        let mut order = self.ports.lock().await;
        ports.clone_into(&mut order.what);
        let error = match self.ask(ViewCall::HoldPorts { ports: ports.to_vec() }).await {
            Ok((number, ViewAnswer::HoldPorts(held))) => {
                order.told = Some(number);
                return held;
            }
            Ok(_) => NotSeen::Misplaced,
            Err(error) => error,
        };
        ports.iter().map(|port| (*port, unseen(&error))).collect()
    }

    /// Without a front it returns at once: the next one is told.
    async fn answer_probes(&self, post: Option<MeshPost>) {
        let mut order = self.post.lock().await;
        order.what = post;
        let front = self.front.borrow().clone();
        if let Front::Here { number, link } = front {
            self.tell_post(&mut order, number, &link).await;
        }
    }

    async fn mesh_row(&self) -> Option<MeshRow> {
        match self.ask(ViewCall::MeshRow).await {
            Ok((_, ViewAnswer::MeshRow(row))) => row,
            Ok(_) | Err(_) => None,
        }
    }
}
