//! The applier's side: answers the front, and tells it what changes.
//!
//! What a front says is hostile until proven: it is the process that parses what the network sends. It is told by its
//! user id, has a bounded number of calls under way, and none of them is carried out here but each in a task of its own,
//! so that no call can hold up the applier or this.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::frame;
use super::link::{CallError, EndWithMe};
use super::message::{
    ApplierAnswer, ApplierCall, ApplierError as WireError, Hello, Standing, ToApplier, ToFront,
};
use super::places::Places;
use super::remote_view::{ApplierLink, RemoteView};
use crate::roles::{ApiIdentity, Applier, ApplierError, ClaimState};
use crate::unix_socket::{Access, OpenSocketError, UnixSocket};

/// The socket's name in the directory of the agent's sockets.
pub const SOCKET_NAME: &str = "applier.sock";
/// Pause after a connection could not be accepted.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Events of one apply that wait to be sent.
const EVENTS: usize = 64;

/// Who may be the front, beside root and the user of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontUser {
    /// Nobody else: both processes are of one user.
    Own,
    /// A user of its own.
    Other {
        /// User id.
        uid: u32,
        /// Group id, which the socket is given to.
        gid: u32,
    },
}

/// Opens the socket that the front connects to, in the directory `sockets`.
///
/// # Errors
/// [`OpenSocketError`].
pub async fn open(sockets: &Path, front: FrontUser) -> Result<UnixSocket, OpenSocketError> {
    let access = match front {
        FrontUser::Own => Access::OwnUser,
        FrontUser::Other { uid: _, gid } => Access::Group(gid),
    };
    UnixSocket::open(sockets.join(SOCKET_NAME), access).await
}

/// Lets a front in until `stop`, one at a time: a newer one takes the place of an older one. `view` looks through it.
pub async fn serve(
    socket: UnixSocket,
    front: FrontUser,
    applier: Arc<dyn Applier>,
    view: Arc<RemoteView>,
    stop: CancellationToken,
) {
    // Over all fronts: what a lost one asked for is under way until it ends.
    let places = Places::to_answer();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of a front failed");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        let peer = stream.peer_cred().map(|credentials| credentials.uid());
        if !matches!(&peer, Ok(uid) if is_front(front, *uid)) {
            tracing::warn!(?peer, "a connection by a user that is not the front's was refused");
            continue;
        }
        let border =
            Border { applier: Arc::clone(&applier), view: Arc::clone(&view), places: places.clone() };
        tokio::spawn(border.hold(stream, stop.clone()));
    }
}

fn is_front(front: FrontUser, uid: u32) -> bool {
    let other = match front {
        FrontUser::Own => None,
        FrontUser::Other { uid, gid: _ } => Some(uid),
    };
    uid == 0 || uid == rustix::process::geteuid().as_raw() || Some(uid) == other
}

/// What every connection works with.
struct Border {
    applier: Arc<dyn Applier>,
    view: Arc<RemoteView>,
    places: Places,
}

impl Border {
    /// One connection from its first to its last message.
    async fn hold(self, stream: UnixStream, stop: CancellationToken) {
        let (read, write) = stream.into_split();
        let link = ApplierLink::start(write);
        let _end = EndWithMe(link.end.clone());
        let hello = Hello {
            host_keys: self.applier.host_keys(),
            leaf_key: (&self.applier.leaf_key()).into(),
            standing: standing(self.applier.as_ref()),
        };
        // What changes after this is told.
        let news = Arc::new(News::of(Arc::clone(&self.applier)));
        if link.send(ToFront::Hello(Box::new(hello))).await.is_err() {
            return;
        }
        let told = tokio::spawn(tell_changes(Arc::clone(&news), Arc::clone(&link)));
        let welcomed = {
            let (view, link) = (Arc::clone(&self.view), Arc::clone(&link));
            tokio::spawn(async move { view.welcome(link).await })
        };
        tracing::info!("a front is connected");
        let reason = tokio::select! {
            reason = link.end.reached() => reason,
            () = stop.cancelled() => {
                let reason = "the applier ends".to_owned();
                link.farewell(ToFront::Farewell { reason: reason.clone() }, &reason).await;
                reason
            }
            refused = self.take_all(read, &link, &news) => match refused {
                None => "it hung up".to_owned(),
                Some(reason) => {
                    link.farewell(ToFront::Farewell { reason: reason.clone() }, &reason).await;
                    reason
                }
            },
        };
        link.end.now(&reason);
        tracing::warn!(reason, "a front is gone");
        told.abort();
        welcomed.abort();
        self.view.farewell(&link);
    }

    /// Takes messages until the stream ends; why it has to, unless the front ended it.
    async fn take_all(
        &self,
        mut stream: OwnedReadHalf,
        link: &Arc<ApplierLink>,
        news: &Arc<News>,
    ) -> Option<String> {
        loop {
            match frame::read::<ToApplier>(&mut stream).await {
                Ok(Some((ToApplier::Answer { id, answer }, _))) => link.answered(id, answer),
                Ok(Some((ToApplier::Call { id, call }, length))) => {
                    if let Some(place) = self.places.take(length) {
                        let (applier, link, news) =
                            (Arc::clone(&self.applier), Arc::clone(link), Arc::clone(news));
                        // To its end, whatever becomes of the connection: its place is taken until then.
                        tokio::spawn(async move {
                            carry_out(applier.as_ref(), &link, &news, id, call).await;
                            drop(place);
                        });
                    } else {
                        let error = ApplierError::Failed("too many requests at once".to_owned());
                        let answer = ApplierAnswer::Failed(error.into());
                        let _ended = link.send(ToFront::Answer { id, answer }).await;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(host_state::chain(&error)),
            }
        }
    }
}

fn standing(applier: &dyn Applier) -> Standing {
    let (claim, identity) = (applier.claim_state(), applier.api_identity());
    let identity = identity.borrow().clone();
    Standing::of(&claim.borrow(), identity.as_deref())
}

/// What the front of one connection has been told of claim and certificate.
struct News {
    applier: Arc<dyn Applier>,
    told: Mutex<Channels>,
}

type Channels = (watch::Receiver<ClaimState>, watch::Receiver<Option<Arc<ApiIdentity>>>);

impl News {
    fn of(applier: Arc<dyn Applier>) -> News {
        let told = Mutex::new((applier.claim_state(), applier.api_identity()));
        News { applier, told }
    }

    /// Tells what has changed since the last time, if something has.
    async fn tell(&self, link: &ApplierLink) -> Result<(), CallError> {
        let mut told = self.told.lock().await;
        let (claim, identity) = &mut *told;
        let is_news = |changed: Result<bool, _>| changed.unwrap_or(false);
        if !is_news(claim.has_changed()) && !is_news(identity.has_changed()) {
            return Ok(());
        }
        claim.mark_unchanged();
        identity.mark_unchanged();
        link.send(ToFront::Standing(Box::new(standing(self.applier.as_ref())))).await
    }
}

/// Tells every change until the connection ends.
async fn tell_changes(news: Arc<News>, link: Arc<ApplierLink>) {
    let (mut claim, mut identity) = (news.applier.claim_state(), news.applier.api_identity());
    // Also what changed between the first message and this.
    while news.tell(&link).await.is_ok() {
        let is_gone = tokio::select! {
            changed = claim.changed() => changed.is_err(),
            changed = identity.changed() => changed.is_err(),
        };
        if is_gone {
            return;
        }
    }
}

/// Does what the front asks and answers.
async fn carry_out(applier: &dyn Applier, link: &ApplierLink, news: &News, id: u64, call: ApplierCall) {
    let answer = match asked(applier, link, id, call).await {
        Ok(answer) => answer,
        Err(error) => ApplierAnswer::Failed(error.into()),
    };
    // Before the answer, so that who was answered sees what came of it.
    let _ended = news.tell(link).await;
    if let Err(CallError::TooLong(error)) = link.send(ToFront::Answer { id, answer }).await {
        let answer = ApplierAnswer::Failed(WireError::Failed(format!("the answer is too long: {error}")));
        let _ended = link.send(ToFront::Answer { id, answer }).await;
    }
}

async fn asked(
    applier: &dyn Applier,
    link: &ApplierLink,
    id: u64,
    call: ApplierCall,
) -> Result<ApplierAnswer, ApplierError> {
    Ok(match call {
        ApplierCall::Bind(claim) => {
            applier.bind((*claim).into()).await?;
            ApplierAnswer::Bind
        }
        ApplierCall::Observe => ApplierAnswer::Observe(Box::new(applier.observe().await?)),
        ApplierCall::AuditHash { seq } => ApplierAnswer::AuditHash(applier.audit_hash(seq).await?),
        ApplierCall::Sections => ApplierAnswer::Sections(applier.sections().await?),
        ApplierCall::Pins => ApplierAnswer::Pins(applier.pins().await?),
        ApplierCall::SystemLogin => {
            ApplierAnswer::SystemLogin(Box::new((&applier.system_login().await?).into()))
        }
        ApplierCall::Preflight => ApplierAnswer::Preflight(applier.preflight().await?),
        ApplierCall::Preview { sections } => ApplierAnswer::Preview(applier.preview(sections).await?),
        ApplierCall::Apply { order, caller } => {
            let (sender, mut happened) = mpsc::channel(EVENTS);
            let hand_on = async {
                while let Some(event) = happened.recv().await {
                    // An apply goes on when nobody listens any more.
                    let _ended = link.send(ToFront::Event { id, event }).await;
                }
            };
            let (applied, ()) = tokio::join!(applier.apply(order.into(), caller.into(), sender), hand_on);
            applied?;
            ApplierAnswer::Apply
        }
        ApplierCall::Lease { order, caller } => {
            ApplierAnswer::Lease(applier.lease(order.into(), caller.into()).await?.into())
        }
        ApplierCall::Confirm { wish, caller } => {
            applier.confirm(wish.into(), caller.into()).await?;
            ApplierAnswer::Confirm
        }
        ApplierCall::Cancel { wish, caller } => {
            applier.cancel(wish.into(), caller.into()).await?;
            ApplierAnswer::Cancel
        }
        ApplierCall::TakeClaims { section } => {
            ApplierAnswer::TakeClaims { newer: applier.take_claims(*section).await? }
        }
        ApplierCall::Beat => {
            applier.beat().await?;
            ApplierAnswer::Beat
        }
    })
}
