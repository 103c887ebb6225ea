//! Serving connections: handshakes by one ALPN protocol, a known caller, bounded connections. Accepting is `port`'s.
//!
//! Nobody reaches HTTP/2 without a certificate of the authority: what a stranger can send is TLS, for
//! [`HANDSHAKE_TIMEOUT`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use super::adapter::Adapter;
use super::admission::{Admitted, Connections, Refusals};
use super::claiming::Claiming;
use super::gate::Gate;
use super::port::{Accepting, Port};
use super::tls::Holder;
use super::{AgentService, EnrollmentService, ListenerTls};
use crate::claim::EXPORTER_LABEL;
use crate::order::Caller;
use crate::tls::EXPORTER_BYTES;
use crate::wire::enrollment_server::EnrollmentServer;

/// Longest TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most requests at once on one connection.
pub const MAX_STREAMS: u32 = 64;
/// Largest list of headers of one request, in bytes.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of bodies that a connection may send before somebody reads them: a sixteenth of the largest section, so that
/// the largest takes sixteen round trips, and a connection holds no more than this for a request that is not read.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Most requests that a caller takes back before anybody has looked at them; one more ends its connection.
const MAX_TAKEN_BACK: usize = 20;
/// Most faults of a connection in how it uses HTTP/2; one more ends it.
const MAX_FAULTS: usize = 64;
/// How often an idle connection is asked whether it lives, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long requests may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why a port is not served any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot be answered.
    #[error("the port cannot be answered")]
    Port(#[source] io::Error),
    /// The HTTP/2 server failed.
    #[error("the HTTP/2 server failed")]
    Server(#[source] tonic::transport::Error),
}

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
/// The port stays open and may be served again.
///
/// # Errors
/// [`ServeError`]; single connections never end it.
pub async fn serve_claimed(
    port: &Port,
    tls: watch::Receiver<Arc<ListenerTls>>,
    service: Arc<dyn AgentService>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let gate = Gate::new(Adapter::new(service));
    serve(port, tls, http2().add_service(gate), stop).await
}

/// Serves the claim of an unclaimed agent until `stop` resolves; otherwise as [`serve_claimed`].
///
/// # Errors
/// [`ServeError`]; single connections never end it.
pub async fn serve_unclaimed(
    port: &Port,
    tls: watch::Receiver<Arc<ListenerTls>>,
    service: Arc<dyn EnrollmentService>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let limit = 2 * crate::convert::MAX_CLAIM_BYTES;
    let service = EnrollmentServer::new(Claiming::new(service)).max_decoding_message_size(limit);
    serve(port, tls, http2().add_service(service), stop).await
}

fn http2() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_TAKEN_BACK))
        .http2_max_local_error_reset_streams(Some(MAX_FAULTS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

async fn serve(
    port: &Port,
    tls: watch::Receiver<Arc<ListenerTls>>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (accepted, incoming) = mpsc::channel(1);
    // Dropped together with this future, whichever way it ends: then every connection closes.
    let open = watch::Sender::new(());
    let accepting = accept(port, tls, accepted, open.subscribe()).map_err(ServeError::Port)?;
    let (stopping, mut stopped) = watch::channel(false);
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
    let serving = router.serve_with_incoming_shutdown(incoming, async move {
        // The sender only goes away together with this whole future.
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    });
    let ended = async {
        stop.await;
        drop(accepting);
        stopping.send_replace(true);
        tokio::time::sleep(STOP_GRACE).await;
    };
    let result = tokio::select! {
        result = serving => result.map_err(ServeError::Server),
        () = ended => Ok(()),
    };
    drop(open);
    result
}

/// Has the port answered: what comes of each handshake goes to `accepted`.
fn accept(
    port: &Port,
    tls: watch::Receiver<Arc<ListenerTls>>,
    accepted: mpsc::Sender<Connection>,
    open: watch::Receiver<()>,
) -> io::Result<Accepting> {
    let (connections, refusals) = (Connections::new(), Refusals::default());
    port.answer(refusals.clone(), move |spoken| {
        let tls = tls.borrow().clone();
        let (accepted, mut open) = (accepted.clone(), open.clone());
        let (connections, refusals) = (connections.clone(), refusals.clone());
        async move {
            let (peer, opened_ms) = (spoken.peer, spoken.opened_ms);
            let shaken = spoken.kept(async |stream| handshaken(stream, opened_ms, &tls).await).await;
            let (stream, channel) = match shaken {
                Ok(known) => known,
                Err(reason) => return refusals.tell(peer, &reason),
            };
            let role = &channel.caller.role;
            let Some(admitted) = connections.admit(role) else {
                return refusals.tell(peer, &format!("too many connections of role `{role}`"));
            };
            // Never changes: the wait ends when the sender is gone.
            let closing = Box::pin(async move { while open.changed().await.is_ok() {} });
            let connection = Connection { stream, channel, closing, admitted };
            // Nobody takes it when the server is stopping: dropped, and thereby closed.
            let _ = accepted.send(connection).await;
        }
    })
}

async fn handshaken(
    stream: TcpStream,
    opened_ms: u64,
    tls: &ListenerTls,
) -> io::Result<(TlsStream<TcpStream>, Channel)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(tls.config.clone()).accept(stream).await?;
    let (_, connection) = stream.get_ref();
    // rustls lets a client through that names no protocol at all.
    if connection.alpn_protocol() != Some(tls.alpn) {
        return Err(io::Error::other("no ALPN protocol was named"));
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    let (leaf, above) = chain.split_first().ok_or_else(|| io::Error::other("no certificate was shown"))?;
    let holder = tls.verifier.caller(leaf, above, UnixTime::now()).map_err(io::Error::other)?;
    let Holder { role, serial, spki_pin } = holder;
    let caller = Caller { role, serial, spki_pin, opened_ms };
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
    admitted: Admitted,
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
        let Connection { stream, admitted, .. } = &mut *self;
        let Some(pace) = &mut admitted.pace else { return Pin::new(stream).poll_read(context, buffer) };
        std::task::ready!(pace.poll_ready(context));
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(context, buffer);
        pace.took(buffer.filled().len() - before);
        read
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
