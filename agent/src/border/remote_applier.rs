//! The front's side: the applier of another process, as if it were here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use host_state::audit::RecordHash;
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, Report};
use host_state::{Plan, SignedSection};
use identity::HostKeys;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, watch};

use super::frame::{self, FrameError};
use super::link::{CallError, EndWithMe, Link};
use super::message::{ApplierAnswer, ApplierCall, Hello, ToApplier, ToFront, ViewAnswer, ViewCall};
use super::places::Places;
use crate::roles::{
    ApiIdentity, Applier, ApplierError, ApplyOrder, Caller, ClaimState, LeaseAnswer, LeaseOrder, LocalServer,
    NewClaim, PrivateKeyPem, ServerView, TrialWish,
};

/// How often an applier that is not there yet is looked for.
const POLL: Duration = Duration::from_millis(100);
/// Longest time for the applier's first message. It opens the border when its ledger is read.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Events of one apply that wait to be taken; some more get lost when there are more.
const EVENTS: usize = 256;

/// Why there is no applier.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no applier answers at `{path}` within {} s; is `nats-agent applier` running?", patience.as_secs())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// How long it was looked for.
        patience: Duration,
        /// Why, the last time.
        #[source]
        source: std::io::Error,
    },
    /// It listens and says nothing.
    #[error("the applier at `{path}` said nothing within {} s", HELLO_TIMEOUT.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// It hung up, or its first message is not one.
    #[error("the applier at `{path}` cannot be understood: {reason}; are both processes of one package?")]
    Hello {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

type FrontLink = Link<ToApplier, ApplierAnswer>;

/// The applier in another process. The connection lives as long as this does.
pub struct RemoteApplier {
    link: Arc<FrontLink>,
    host_keys: HostKeys,
    leaf_key: PrivateKeyPem,
    claim: watch::Sender<ClaimState>,
    identity: watch::Sender<Option<Arc<ApiIdentity>>>,
    _end: EndWithMe,
}

impl std::fmt::Debug for RemoteApplier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteApplier").field("host_keys", &self.host_keys).finish_non_exhaustive()
    }
}

impl RemoteApplier {
    /// Connects to the applier behind the socket `path`, which may come up to `patience` later, and lets it look through
    /// `view`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        path: &Path,
        view: Arc<dyn ServerView>,
        patience: Duration,
    ) -> Result<Arc<RemoteApplier>, ConnectError> {
        let (mut read, write) = dial(path, patience).await?.into_split();
        let not_understood = |reason| ConnectError::Hello { path: path.to_owned(), reason };
        let first = tokio::time::timeout(HELLO_TIMEOUT, frame::read::<ToFront>(&mut read)).await;
        let first = first.map_err(|_| ConnectError::Silent { path: path.to_owned() })?;
        let hello = match first.map_err(|error| not_understood(host_state::chain(&error)))? {
            Some((ToFront::Hello(hello), _)) => *hello,
            Some((ToFront::Farewell { reason }, _)) => return Err(not_understood(reason)),
            Some(_) => return Err(not_understood("its first message is another one".to_owned())),
            None => return Err(not_understood("it hung up".to_owned())),
        };
        let Hello { host_keys, leaf_key, standing } = hello;
        let (claim, identity) = standing.into_parts().map_err(|error| not_understood(error.to_string()))?;
        let link = FrontLink::start(write);
        let applier = Arc::new(RemoteApplier {
            _end: EndWithMe(link.end.clone()),
            link: Arc::clone(&link),
            host_keys,
            leaf_key: leaf_key.into(),
            claim: watch::Sender::new(claim),
            identity: watch::Sender::new(identity),
        });
        let (claim, identity) = (applier.claim.clone(), applier.identity.clone());
        tokio::spawn(Reader { link, claim, identity, view, places: Places::to_answer() }.run(read));
        Ok(applier)
    }

    /// Waits until the applier is gone and says why.
    pub async fn lost(&self) -> String {
        self.link.end.reached().await
    }

    async fn ask(&self, call: ApplierCall) -> Result<ApplierAnswer, ApplierError> {
        self.ask_with(call, None).await
    }

    async fn ask_with(
        &self,
        call: ApplierCall,
        events: Option<mpsc::Sender<ApplyEvent>>,
    ) -> Result<ApplierAnswer, ApplierError> {
        match self.link.call(|id| ToApplier::Call { id, call }, events).await {
            Ok(ApplierAnswer::Failed(error)) => Err(error.into()),
            Ok(answer) => Ok(answer),
            Err(CallError::TooLong(error)) => {
                Err(ApplierError::InvalidDocument(format!("the request is too long: {error}")))
            }
            Err(CallError::Ended(reason)) => Err(ApplierError::Failed(format!(
                "the agent's applier went away before it answered ({reason}); what was asked may have been done"
            ))),
        }
    }
}

async fn dial(path: &Path, patience: Duration) -> Result<UnixStream, ConnectError> {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(_) if begin.elapsed() < patience => tokio::time::sleep(POLL).await,
            Err(source) => return Err(ConnectError::Absent { path: path.to_owned(), patience, source }),
        }
    }
}

fn misplaced() -> ApplierError {
    ApplierError::Failed("the applier answered another question".to_owned())
}

#[async_trait]
impl Applier for RemoteApplier {
    fn claim_state(&self) -> watch::Receiver<ClaimState> {
        self.claim.subscribe()
    }

    fn api_identity(&self) -> watch::Receiver<Option<Arc<ApiIdentity>>> {
        self.identity.subscribe()
    }

    fn host_keys(&self) -> HostKeys {
        self.host_keys.clone()
    }

    fn leaf_key(&self) -> PrivateKeyPem {
        self.leaf_key.clone()
    }

    async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError> {
        match self.ask(ApplierCall::Bind(Box::new(claim.into()))).await? {
            ApplierAnswer::Bind => Ok(()),
            _ => Err(misplaced()),
        }
    }

    async fn observe(&self) -> Result<Report, ApplierError> {
        match self.ask(ApplierCall::Observe).await? {
            ApplierAnswer::Observe(report) => Ok(*report),
            _ => Err(misplaced()),
        }
    }

    async fn audit_hash(&self, seq: u64) -> Result<Option<RecordHash>, ApplierError> {
        match self.ask(ApplierCall::AuditHash { seq }).await? {
            ApplierAnswer::AuditHash(hash) => Ok(hash),
            _ => Err(misplaced()),
        }
    }

    async fn sections(&self) -> Result<Vec<SignedSection>, ApplierError> {
        match self.ask(ApplierCall::Sections).await? {
            ApplierAnswer::Sections(sections) => Ok(sections),
            _ => Err(misplaced()),
        }
    }

    async fn pins(&self) -> Result<BTreeSet<String>, ApplierError> {
        match self.ask(ApplierCall::Pins).await? {
            ApplierAnswer::Pins(pins) => Ok(pins),
            _ => Err(misplaced()),
        }
    }

    async fn system_login(&self) -> Result<LocalServer, ApplierError> {
        match self.ask(ApplierCall::SystemLogin).await? {
            ApplierAnswer::SystemLogin(server) => {
                (*server).try_into().map_err(|error| ApplierError::Failed(host_state::chain(&error)))
            }
            _ => Err(misplaced()),
        }
    }

    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ApplierError> {
        match self.ask(ApplierCall::Preview { sections }).await? {
            ApplierAnswer::Preview(plan) => Ok(plan),
            _ => Err(misplaced()),
        }
    }

    async fn preflight(&self) -> Result<Preflight, ApplierError> {
        match self.ask(ApplierCall::Preflight).await? {
            ApplierAnswer::Preflight(preflight) => Ok(preflight),
            _ => Err(misplaced()),
        }
    }

    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ApplierError> {
        let call = ApplierCall::Apply { order: order.into(), caller: caller.into() };
        let (sender, mut happened) = mpsc::channel(EVENTS);
        let hand_on = async {
            while let Some(event) = happened.recv().await {
                // A caller that does not listen holds nothing up.
                if events.send(event).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(self.ask_with(call, Some(sender)), hand_on);
        match answer? {
            ApplierAnswer::Apply => Ok(()),
            _ => Err(misplaced()),
        }
    }

    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ApplierError> {
        match self.ask(ApplierCall::Lease { order: order.into(), caller: caller.into() }).await? {
            ApplierAnswer::Lease(answer) => Ok(answer.into()),
            _ => Err(misplaced()),
        }
    }

    async fn confirm(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError> {
        match self.ask(ApplierCall::Confirm { wish: wish.into(), caller: caller.into() }).await? {
            ApplierAnswer::Confirm => Ok(()),
            _ => Err(misplaced()),
        }
    }

    async fn cancel(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError> {
        match self.ask(ApplierCall::Cancel { wish: wish.into(), caller: caller.into() }).await? {
            ApplierAnswer::Cancel => Ok(()),
            _ => Err(misplaced()),
        }
    }

    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        match self.ask(ApplierCall::TakeClaims { section: Box::new(section) }).await? {
            ApplierAnswer::TakeClaims { newer } => Ok(newer),
            _ => Err(misplaced()),
        }
    }

    async fn beat(&self) -> Result<(), ApplierError> {
        match self.ask(ApplierCall::Beat).await? {
            ApplierAnswer::Beat => Ok(()),
            _ => Err(misplaced()),
        }
    }

    /// Does nothing: neither process stops nats-server by its own end, so there is no such message.
    async fn shut_down(&self) {}
}

/// Takes what the applier says.
struct Reader {
    link: Arc<FrontLink>,
    claim: watch::Sender<ClaimState>,
    identity: watch::Sender<Option<Arc<ApiIdentity>>>,
    view: Arc<dyn ServerView>,
    places: Places,
}

impl Reader {
    async fn run(self, mut stream: OwnedReadHalf) {
        let reason = tokio::select! {
            _ended = self.link.end.reached() => return,
            reason = self.take_all(&mut stream) => reason,
        };
        self.link.end.now(&reason);
    }

    async fn take_all(&self, stream: &mut OwnedReadHalf) -> String {
        loop {
            match frame::read::<ToFront>(stream).await {
                Ok(Some((ToFront::Farewell { reason }, _))) => return reason,
                Ok(Some((message, length))) => {
                    if let Err(reason) = self.take(message, length).await {
                        return reason;
                    }
                }
                Ok(None) => return "the applier ended".to_owned(),
                Err(error @ FrameError::Io(_)) => {
                    return format!("the applier ended: {}", host_state::chain(&error));
                }
                Err(error) => return host_state::chain(&error),
            }
        }
    }

    async fn take(&self, message: ToFront, length: usize) -> Result<(), String> {
        match message {
            ToFront::Hello(_) | ToFront::Farewell { .. } => Err("the applier greets twice".to_owned()),
            ToFront::Standing(standing) => {
                let (claim, identity) = standing.into_parts().map_err(|error| error.to_string())?;
                // Certificates first: whoever sees the claim may serve at once.
                self.identity.send_if_modified(|known| {
                    let is_news = !is_same(known.as_deref(), identity.as_deref());
                    if is_news {
                        *known = identity;
                    }
                    is_news
                });
                self.claim.send_replace(claim);
                Ok(())
            }
            ToFront::Event { id, event } => {
                self.link.happened(id, event);
                Ok(())
            }
            ToFront::Answer { id, answer } => {
                self.link.answered(id, answer);
                Ok(())
            }
            ToFront::Call { id, call } => {
                let Some(place) = self.places.take(length) else {
                    let reason = "too many questions at once".to_owned();
                    let answer = ViewAnswer::Refused { reason };
                    return self.link.send(ToApplier::Answer { id, answer }).await.map_err(|e| e.to_string());
                };
                let (link, view) = (Arc::clone(&self.link), Arc::clone(&self.view));
                tokio::spawn(async move {
                    let answer = look(view.as_ref(), call).await;
                    if let Err(CallError::TooLong(error)) = link.send(ToApplier::Answer { id, answer }).await
                    {
                        let reason = format!("the answer is too long: {error}");
                        let answer = ViewAnswer::Refused { reason };
                        let _ended = link.send(ToApplier::Answer { id, answer }).await;
                    }
                    drop(place);
                });
                Ok(())
            }
        }
    }
}

/// A claim that changes comes with the same certificate again.
fn is_same(one: Option<&ApiIdentity>, other: Option<&ApiIdentity>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.chain_pem == other.chain_pem && one.key.as_str() == other.key.as_str()
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Asks the view what the applier asks.
async fn look(view: &dyn ServerView, call: ViewCall) -> ViewAnswer {
    let refused = |error: super::convert::ConvertError| ViewAnswer::Refused { reason: error.to_string() };
    match call {
        ViewCall::Running { monitor } => ViewAnswer::Running(view.running(monitor).await),
        ViewCall::Healthz { monitor, query } => ViewAnswer::Healthz(view.healthz(monitor, &query).await),
        ViewCall::KnownAccounts { server } => match server.try_into() {
            Ok(server) => ViewAnswer::KnownAccounts(view.known_accounts(&server).await),
            Err(error) => refused(error),
        },
        ViewCall::AccountJwts { server, accounts } => match server.try_into() {
            Ok(server) => ViewAnswer::AccountJwts(view.account_jwts(&server, &accounts).await),
            Err(error) => refused(error),
        },
        ViewCall::PushClaim { server, jwt } => match server.try_into() {
            Ok(server) => ViewAnswer::PushClaim(view.push_claim(&server, &jwt).await),
            Err(error) => refused(error),
        },
        ViewCall::Download { url, sha256 } => ViewAnswer::Download(view.download(&url, &sha256).await),
        ViewCall::ServedLeaf { address, after_info } => {
            ViewAnswer::ServedLeaf(view.served_leaf(address, after_info).await)
        }
        ViewCall::HoldPorts { ports } => ViewAnswer::HoldPorts(view.hold_ports(&ports).await),
        ViewCall::AnswerProbes { post } => match post.map(|post| (*post).try_into()).transpose() {
            Ok(post) => {
                view.answer_probes(post).await;
                ViewAnswer::AnswerProbes
            }
            Err(error) => refused(error),
        },
        ViewCall::MeshRow => ViewAnswer::MeshRow(view.mesh_row().await),
    }
}
