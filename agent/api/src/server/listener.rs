//! Accepting connections: bounded handshakes, bounded connections, one ALPN protocol, a known caller.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use super::adapter::Adapter;
use super::claiming::Claiming;
use super::{AgentService, EnrollmentService, ListenerTls};
use crate::claim::EXPORTER_LABEL;
use crate::order::Caller;
use crate::tls::EXPORTER_BYTES;
use crate::wire::agent_server::AgentServer;
use crate::wire::enrollment_server::EnrollmentServer;
use crate::{MAX_DOWN_BYTES, MAX_UP_BYTES};

/// Longest TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most handshakes at once; who comes on top is closed at once.
pub const MAX_HANDSHAKES: usize = 64;
/// Most connections at once; who comes on top is closed at once.
pub const MAX_CONNECTIONS: usize = 256;
/// Most requests at once on one connection.
pub const MAX_STREAMS: u32 = 64;
/// Largest list of headers of one request, in bytes.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How often an idle connection is asked whether it lives, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long requests may go on after the listener was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What the listener knows of a connection.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    /// Who called.
    pub(super) caller: Caller,
    /// Keying material that both ends share and nobody else has.
    pub(super) exporter: [u8; EXPORTER_BYTES],
}

/// Serves a claimed agent until `stop` resolves. `tls` is read anew for each connection, so that a renewed leaf is
/// served at once and open connections stay.
///
/// Returns when no request is under way any more, at most a few seconds after `stop`; what is still open then is closed.
/// The listener stays open and may be served again.
///
/// # Errors
/// When the HTTP/2 server fails; single connections never end it.
pub async fn serve_claimed(
    listener: Arc<TcpListener>,
    tls: watch::Receiver<Arc<ListenerTls>>,
    service: Arc<dyn AgentService>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let service = AgentServer::new(Adapter::new(service))
        .max_decoding_message_size(MAX_UP_BYTES)
        .max_encoding_message_size(MAX_DOWN_BYTES);
    serve(listener, tls, http2().add_service(service), stop).await
}

/// Serves the claim of an unclaimed agent until `stop` resolves; otherwise as [`serve_claimed`].
///
/// # Errors
/// When the HTTP/2 server fails; single connections never end it.
pub async fn serve_unclaimed(
    listener: Arc<TcpListener>,
    tls: watch::Receiver<Arc<ListenerTls>>,
    service: Arc<dyn EnrollmentService>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let limit = 2 * crate::convert::MAX_CLAIM_BYTES;
    let service = EnrollmentServer::new(Claiming::new(service)).max_decoding_message_size(limit);
    serve(listener, tls, http2().add_service(service), stop).await
}

fn http2() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

async fn serve(
    listener: Arc<TcpListener>,
    tls: watch::Receiver<Arc<ListenerTls>>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (accepted, incoming) = mpsc::channel(1);
    // Dropped together with this future, whichever way it ends: then every connection closes.
    let open = watch::Sender::new(());
    let accepting = tokio::spawn(accept(listener, tls, accepted, open.subscribe()));
    let (stopping, mut stopped) = watch::channel(false);
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
    let serving = router.serve_with_incoming_shutdown(incoming, async move {
        // The sender only goes away together with this whole future.
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    });
    let ended = async {
        stop.await;
        accepting.abort();
        stopping.send_replace(true);
        tokio::time::sleep(STOP_GRACE).await;
    };
    let result = tokio::select! {
        result = serving => result,
        () = ended => Ok(()),
    };
    accepting.abort();
    drop(open);
    result
}

async fn accept(
    listener: Arc<TcpListener>,
    tls: watch::Receiver<Arc<ListenerTls>>,
    accepted: mpsc::Sender<Connection>,
    open: watch::Receiver<()>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(pair) => pair,
            Err(error) => {
                // Out of file descriptors, mostly: others end meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let permits = (handshakes.clone().try_acquire_owned(), connections.clone().try_acquire_owned());
        let (Ok(handshake), Ok(connection)) = permits else {
            tracing::warn!(%peer, "a connection was closed: too many at once");
            continue;
        };
        let tls = tls.borrow().clone();
        let accepted = accepted.clone();
        let mut open = open.clone();
        tokio::spawn(async move {
            let result = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshaken(stream, &tls)).await;
            drop(handshake);
            match result {
                Ok(Ok((stream, channel))) => {
                    // Never changes: the wait ends when the sender is gone.
                    let closing = Box::pin(async move { while open.changed().await.is_ok() {} });
                    let connection = Connection { stream, channel, closing, _permit: connection };
                    // Nobody takes it when the server is stopping: dropped, and thereby closed.
                    let _ = accepted.send(connection).await;
                }
                Ok(Err(error)) => tracing::info!(%peer, %error, "a connection was refused"),
                Err(_) => tracing::info!(%peer, "a connection was refused: no handshake in time"),
            }
        });
    }
}

async fn handshaken(stream: TcpStream, tls: &ListenerTls) -> io::Result<(TlsStream<TcpStream>, Channel)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(tls.config.clone()).accept(stream).await?;
    let (_, connection) = stream.get_ref();
    // rustls lets a client through that names no protocol at all.
    if connection.alpn_protocol() != Some(tls.alpn) {
        return Err(io::Error::other("no ALPN protocol was named"));
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    let (leaf, above) = chain.split_first().ok_or_else(|| io::Error::other("no certificate was shown"))?;
    let caller = tls.verifier.caller(leaf, above, UnixTime::now()).map_err(io::Error::other)?;
    let exporter = connection
        .export_keying_material([0_u8; EXPORTER_BYTES], EXPORTER_LABEL, None)
        .map_err(io::Error::other)?;
    Ok((stream, Channel { caller, exporter }))
}

/// An accepted connection; counts as one until it is dropped.
struct Connection {
    stream: TlsStream<TcpStream>,
    channel: Channel,
    /// Resolves when the listener has ended; the connection then reads as ended too.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Channel;

    fn connect_info(&self) -> Channel {
        self.channel.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closing.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
