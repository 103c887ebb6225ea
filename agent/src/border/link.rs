//! One side of one connection: sends messages, and waits for the answers to its calls.
//!
//! It carries and counts; what a message means is its users'. Writing is a task of its own, so that a caller who goes
//! away leaves no half a message behind, and a peer that does not read ends the connection instead of holding anybody up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use host_state::report::ApplyEvent;
use serde::Serialize;
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{self, TooLong};
use super::places::{Place, Places};

/// Messages that wait to be written.
const QUEUE: usize = 4;
/// How long the last message may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the peer's last message is waited for once nothing can be sent any more.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// It was never sent.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The connection ended before there was an answer; whether the call was carried out is unknown.
    #[error("the connection ended: {0}")]
    Ended(String),
}

/// The end of a connection, which comes once and has a reason. Clones are the same end.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl End {
    /// Ends the connection; the first reason holds.
    pub(super) fn now(&self, reason: &str) {
        let _first = self.reason.set(reason.to_owned());
        self.token.cancel();
    }

    /// Waits for it and says why.
    pub(super) async fn reached(&self) -> String {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }
}

/// Ends the connection when it is dropped: whoever reads it has ended.
pub(super) struct EndWithMe(pub(super) End);

impl Drop for EndWithMe {
    fn drop(&mut self) {
        self.0.now("it was given up");
    }
}

/// A side that sends `Out` and is answered with `In`.
pub(super) struct Link<Out, In> {
    queue: mpsc::Sender<Outgoing<Out>>,
    waiting: Mutex<BTreeMap<u64, Waiting<In>>>,
    next: AtomicU64,
    places: Places,
    pub(super) end: End,
}

struct Outgoing<Out> {
    message: Out,
    length: usize,
    is_last: bool,
}

/// A call without an answer yet. It holds its place until there is one, whether or not somebody still waits.
struct Waiting<In> {
    answer: oneshot::Sender<In>,
    events: Option<mpsc::Sender<ApplyEvent>>,
    _place: Place,
}

impl<Out: Serialize + Send + Sync + 'static, In> Link<Out, In> {
    /// Begins to write to `stream`, until the connection ends.
    pub(super) fn start(stream: impl AsyncWrite + Send + Unpin + 'static) -> Arc<Link<Out, In>> {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let end = End::default();
        tokio::spawn(write_all(stream, outgoing, end.clone()));
        let (waiting, next, places) = (Mutex::default(), AtomicU64::new(1), Places::to_ask());
        Arc::new(Link { queue, waiting, next, places, end })
    }

    /// Sends a message that nobody answers.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn send(&self, message: Out) -> Result<(), CallError> {
        let length = frame::length(&message)?;
        self.slot().await?.send(Outgoing { message, length, is_last: false });
        Ok(())
    }

    /// Sends `message` as the last one and ends the connection, at the latest after two seconds.
    pub(super) async fn farewell(&self, message: Out, reason: &str) {
        let _first = self.end.reason.set(reason.to_owned());
        let sent = async {
            let length = frame::length(&message).map_err(CallError::TooLong)?;
            self.slot().await?.send(Outgoing { message, length, is_last: true });
            Ok::<_, CallError>(self.end.reached().await)
        };
        let _late = tokio::time::timeout(FAREWELL, sent).await;
        self.end.now(reason);
    }

    /// Sends the call that `message` makes of a new id, waits while too many are under way, and returns its answer.
    /// `events` takes what comes before that.
    ///
    /// A caller that stops waiting leaves the call to be carried out.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn call(
        &self,
        message: impl FnOnce(u64) -> Out,
        events: Option<mpsc::Sender<ApplyEvent>>,
    ) -> Result<In, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let message = message(id);
        let length = frame::length(&message)?;
        let place = tokio::select! {
            reason = self.end.reached() => return Err(CallError::Ended(reason)),
            place = self.places.wait(length) => place,
        };
        let slot = self.slot().await?;
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, Waiting { answer, events, _place: place });
        slot.send(Outgoing { message, length, is_last: false });
        tokio::select! {
            // An answer that is there counts, also when the connection has ended since.
            biased;
            answer = answered => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => Err(CallError::Ended(self.end.reached().await)),
            },
            reason = self.end.reached() => {
                self.waiting().remove(&id);
                Err(CallError::Ended(reason))
            }
        }
    }

    /// Hands an answer to whoever waits for it. One that nobody waits for is dropped.
    pub(super) fn answered(&self, id: u64, answer: In) {
        if let Some(waiting) = self.waiting().remove(&id) {
            let _gone = waiting.answer.send(answer);
        }
    }

    /// Hands on an event of the call `id`. When they are not taken, some get lost on the way, never the last.
    pub(super) fn happened(&self, id: u64, event: ApplyEvent) {
        let waiting = self.waiting();
        let Some(events) = waiting.get(&id).and_then(|waiting| waiting.events.as_ref()) else { return };
        let is_last = matches!(event, ApplyEvent::Finished { .. });
        if is_last || events.capacity() > 1 {
            let _gone = events.try_send(event);
        }
    }

    async fn slot(&self) -> Result<mpsc::Permit<'_, Outgoing<Out>>, CallError> {
        tokio::select! {
            biased;
            reason = self.end.reached() => Err(CallError::Ended(reason)),
            slot = self.queue.reserve() => match slot {
                Ok(slot) => Ok(slot),
                Err(_) => Err(CallError::Ended(self.end.reached().await)),
            },
        }
    }

    /// A poisoned lock is taken all the same: the map is whole between any two calls.
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting<In>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_all<Out: Serialize>(
    mut stream: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Outgoing<Out>>,
    end: End,
) {
    let written = async {
        while let Some(Outgoing { message, length, is_last }) = outgoing.recv().await {
            if let Err(error) = frame::write(&mut stream, &message, length).await {
                return host_state::chain(&error);
            }
            if is_last {
                end.now("its last message was sent");
            }
        }
        "it is no longer used".to_owned()
    };
    let reason = tokio::select! {
        _ended = end.reached() => return,
        reason = written => reason,
    };
    // A peer that hung up has said why, and whoever reads the stream knows better.
    if tokio::time::timeout(LAST_WORD, end.reached()).await.is_err() {
        end.now(&reason);
    }
}
