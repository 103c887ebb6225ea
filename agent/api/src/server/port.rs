//! The port, and the thread that answers it.
//!
//! A handshake costs processor time, and whoever comes meanwhile waits for its turn. Accepting costs next to none, so a
//! thread of its own does it: the kernel's queue never fills behind handshakes, and the first word of a caller is heard
//! before strangers who came later push it out. Handshakes, and all that follows, run where the port is served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::admission::{Place, Refusals, Strangers};
use super::listener::HANDSHAKE_TIMEOUT;
use crate::order::boot_ms;

/// Connections that the kernel keeps until they are accepted. When there are more, it drops what comes, and a caller that
/// is dropped tries again after a second. Source: Linux, net.core.somaxconn is 4096 by default and cuts what is asked.
const BACKLOG: u32 = 4096;
/// Pause after a connection could not be accepted: out of file descriptors, mostly, and others end meanwhile.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The thread that accepts, for any number of ports; ends with the last that holds it.
#[derive(Debug, Clone)]
pub struct Acceptor {
    tasks: Handle,
    _thread: Arc<Thread>,
}

/// Absent only while it is dropped.
#[derive(Debug)]
struct Thread(Option<Runtime>);

impl Acceptor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no other thread.
    pub fn start() -> io::Result<Acceptor> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("acceptor").enable_all().build()?;
        Ok(Acceptor { tasks: runtime.handle().clone(), _thread: Arc::new(Thread(Some(runtime))) })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Accepting {
        Accepting(self.tasks.spawn(task).abort_handle())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The last one may be dropped in a task, where nothing may wait for a thread to end.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Accepts until it is dropped.
#[derive(Debug)]
pub(super) struct Accepting(AbortHandle);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A caller that has said something, and its place among those in a handshake.
pub(super) struct Spoken {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// When its connection was accepted, by [`boot_ms`].
    pub(super) opened_ms: u64,
    /// Until when its handshake must be done.
    pub(super) deadline: Instant,
    place: (Place, oneshot::Receiver<()>),
}

impl Spoken {
    /// What comes of the handshake, unless its place is lost to somebody else, or its time is over.
    pub(super) async fn kept<T>(
        self,
        handshake: impl AsyncFnOnce(TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let Spoken { stream, deadline, place, .. } = self;
        within(deadline, kept(place, handshake(stream))).await
    }
}

/// A bound port: whoever serves it next takes it over with the connections that wait.
#[derive(Debug)]
pub struct Port {
    listener: std::net::TcpListener,
    acceptor: Acceptor,
}

impl Port {
    /// Opens the port. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be had, mostly because another process has it.
    pub fn bind(address: SocketAddr, acceptor: &Acceptor) -> io::Result<Port> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // As tokio and std do: the port of an agent that has just ended may be taken again at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?.into_std()?;
        Ok(Port { listener, acceptor: acceptor.clone() })
    }

    /// Where it is.
    ///
    /// # Errors
    /// None that is known of a socket that is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts and closes until `over`, so that a caller learns at once that it comes too early instead of waiting for a
    /// timeout.
    ///
    /// # Errors
    /// When the port cannot be answered at all.
    pub async fn turn_away(&self, over: impl Future<Output = ()> + Send) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let _turning = self.acceptor.spawn(async move {
            each(listener, |stream, peer| {
                tracing::debug!(%peer, "a connection was closed: the door is closed");
                drop(stream);
            })
            .await;
        });
        over.await;
        Ok(())
    }

    /// Calls `handshake` in the runtime of the caller with each connection that has said something.
    pub(super) fn answer<F>(
        &self,
        refusals: Refusals,
        handshake: impl Fn(Spoken) -> F + Send + Sync + 'static,
    ) -> io::Result<Accepting>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, workers) = (self.listener.try_clone()?, Handle::current());
        let (silent, handshaking) = (Strangers::silent(), Strangers::handshaking());
        let handshake = Arc::new(handshake);
        Ok(self.acceptor.spawn(async move {
            // Ends together with this task.
            let mut listening = JoinSet::new();
            each(listener, |stream, peer| {
                let (place, opened_ms) = (silent.begin(peer.ip()), boot_ms());
                let (handshaking, handshake) = (handshaking.clone(), Arc::clone(&handshake));
                let (workers, refusals) = (workers.clone(), refusals.clone());
                listening.spawn(async move {
                    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
                    let heard = async {
                        let said = within(deadline, kept(place, stream.peek(&mut [0]))).await?;
                        if said == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { stream.into_std() }
                    };
                    match heard.await {
                        Ok(stream) => {
                            let place = handshaking.begin(peer.ip());
                            workers.spawn(async move {
                                match TcpStream::from_std(stream) {
                                    Ok(stream) => {
                                        handshake(Spoken { stream, peer, opened_ms, deadline, place }).await
                                    }
                                    Err(error) => refusals.tell(peer, &error),
                                }
                            });
                        }
                        Err(reason) => refusals.tell(peer, &reason),
                    }
                });
                while listening.try_join_next().is_some() {}
            })
            .await;
        }))
    }
}

/// Accepts for ever.
async fn each(listener: std::net::TcpListener, mut accepted: impl FnMut(TcpStream, SocketAddr)) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no connection can be accepted"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => accepted(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

async fn within<T>(deadline: Instant, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(deadline, step).await.unwrap_or_else(|_| Err(io::Error::other("no handshake in time")))
}

/// What comes of `step`, unless its place is lost to somebody else before.
async fn kept<T>(
    (_place, lost): (Place, oneshot::Receiver<()>),
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::select! {
        biased;
        _ = lost => Err(io::Error::other("others came meanwhile")),
        done = step => done,
    }
}
