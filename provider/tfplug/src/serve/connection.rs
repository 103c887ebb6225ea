//! One accepted connection, and the count of those that are there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait for the first connection. Source: go-plugin v1.6.0 gives a plugin a minute to start.
const FIRST: Duration = Duration::from_secs(60);
/// How long to stay without any connection: Terraform keeps one open as long as it lives.
const LINGER: Duration = Duration::from_secs(5);

/// How many authenticated connections there are.
#[derive(Clone)]
pub(super) struct Presence(watch::Sender<usize>);

impl Presence {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn enter(self) -> Present {
        self.0.send_modify(|count| *count += 1);
        Present(self)
    }

    /// Returns when nobody has connected for a while: Terraform was killed and will not say goodbye.
    pub(super) async fn abandoned(&self) {
        let mut count = self.0.subscribe();
        let mut patience = FIRST;
        loop {
            let came = tokio::time::timeout(patience, count.wait_for(|count| *count > 0)).await.is_ok();
            if !came || count.wait_for(|count| *count == 0).await.is_err() {
                return;
            }
            patience = LINGER;
        }
    }
}

/// Counts as long as it lives.
struct Present(Presence);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// An authenticated connection.
pub(super) struct Connection {
    stream: TlsStream<UnixStream>,
    _present: Present,
}

/// Does the TLS handshake.
///
/// # Errors
/// When the client has not the one certificate, speaks no TLS 1.3, or takes too long.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: UnixStream,
    presence: Presence,
) -> io::Result<Connection> {
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    Ok(Connection { stream, _present: presence.enter() })
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
