//! From an address to a connection that has spoken.
//!
//! In TLS 1.3 a client is done before the server has judged its certificate. So the connection is only handed out
//! once the agent's first bytes (its HTTP/2 settings) or its alert have come: a refused certificate is known here, by
//! its reason, and not as a broken first call.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::ClientIdentity;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::verify::{HostVerifier, Verdict};
use super::{AGAIN, ConnectError, Expected, Timeouts};
use crate::tls::{TlsError, crypto, private_key, roots};

/// How often an idle connection is asked whether it lives, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A connection whose first bytes were read, and are read again from `first`.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) stream: TlsStream<TcpStream>,
    first: Vec<u8>,
    is_read: bool,
}

/// How to reach one agent.
pub(crate) struct Dial<'a> {
    pub(crate) address: &'a str,
    pub(crate) identity: &'a ClientIdentity,
    pub(crate) verifier: Arc<dyn ServerCertVerifier>,
    pub(crate) alpn: &'static [u8],
    pub(crate) timeout: Duration,
}

/// Dials and waits until the agent has spoken; again where the connection ends before. Among strangers from thousands of
/// addresses a caller's connection may be the one that gives way.
///
/// # Errors
/// [`ConnectError`], without what the verifier knows: a refused server is [`ConnectError::WrongAuthority`].
pub(crate) async fn dial(dial: &Dial<'_>) -> Result<Spoken, ConnectError> {
    let mut left = AGAIN.iter();
    loop {
        match (dial_once(dial).await, left.next()) {
            (Err(ConnectError::Closed { .. }), Some(pause)) => tokio::time::sleep(*pause).await,
            (dialled, _) => return dialled,
        }
    }
}

async fn dial_once(dial: &Dial<'_>) -> Result<Spoken, ConnectError> {
    let address = || dial.address.to_owned();
    let config = config(dial).map_err(|source| ConnectError::Setup { address: address(), source })?;
    let connecting = async {
        let stream = TcpStream::connect(dial.address)
            .await
            .map_err(|source| ConnectError::Unreachable { address: address(), source })?;
        // A socket that does not take the option works without it.
        let _ = stream.set_nodelay(true);
        // Never sent (SNI is off): names are checked by the verifier.
        let name = ServerName::try_from("nats-agent").expect("a plain DNS name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let mut stream = connecting.map_err(|error| failed(dial, error))?;
        if stream.get_ref().1.alpn_protocol() != Some(dial.alpn) {
            let source = io::Error::other("it agreed to no protocol");
            return Err(ConnectError::Protocol { address: address(), source });
        }
        let mut first = vec![0; 64];
        let count = stream.read(&mut first).await.map_err(|error| failed(dial, error))?;
        if count == 0 {
            return Err(ConnectError::Closed { address: address() });
        }
        first.truncate(count);
        Ok(Spoken { stream, first, is_read: false })
    };
    tokio::time::timeout(dial.timeout, connecting).await.unwrap_or_else(|_| {
        Err(ConnectError::Timeout { address: address(), seconds: dial.timeout.as_secs() })
    })
}

fn config(dial: &Dial<'_>) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(dial.verifier.clone())
        .with_client_auth_cert(dial.identity.chain.clone(), private_key(&dial.identity.key))
        .map_err(TlsError::Identity)?;
    config.alpn_protocols = vec![dial.alpn.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What a broken handshake or first read means.
fn failed(dial: &Dial<'_>, error: io::Error) -> ConnectError {
    let address = dial.address.to_owned();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            if dial.alpn == crate::ALPN_CLAIM {
                ConnectError::Claimed { address }
            } else {
                ConnectError::NotClaimed { address }
            }
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            ConnectError::Refused { address, reason: refused_reason(*alert) }
        }
        Some(rustls::Error::InvalidCertificate(reason)) => {
            ConnectError::WrongAuthority { address, reason: reason.to_string() }
        }
        Some(_) => ConnectError::Protocol { address, source: error },
        None if is_closed(&error) => ConnectError::Closed { address },
        None => ConnectError::Unreachable { address, source: error },
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// What an agent means by its alert.
fn refused_reason(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "it is not under the fleet CA that the agent trusts".to_owned(),
        AlertDescription::CertificateExpired => {
            "it is not valid now; check the clocks of both sides".to_owned()
        }
        AlertDescription::UnsupportedCertificate => "it is not one for callers".to_owned(),
        AlertDescription::AccessDenied => "it carries no role that the agent takes".to_owned(),
        AlertDescription::CertificateRequired => "there was none".to_owned(),
        other => format!("the agent's alert is `{other:?}`"),
    }
}

/// Adds what the verifier knows.
fn explained(error: ConnectError, verifier: &HostVerifier) -> ConnectError {
    let ConnectError::WrongAuthority { address, reason } = error else { return error };
    match verifier.verdict() {
        Some(Verdict::Authority(reason)) => ConnectError::WrongAuthority { address, reason },
        Some(Verdict::Expired(reason)) => ConnectError::Expired { address, reason },
        Some(Verdict::Host { expected, found }) => ConnectError::WrongHost { address, expected, found },
        Some(Verdict::Key { expected, found }) => ConnectError::WrongKey { address, expected, found },
        None => ConnectError::WrongAuthority { address, reason },
    }
}

/// Everything that a later connection to the same agent needs.
struct Target {
    address: String,
    identity: ClientIdentity,
    roots: rustls::RootCertStore,
    expected: Expected,
    timeout: Duration,
}

impl Target {
    async fn connect(&self) -> Result<Spoken, ConnectError> {
        let verifier = Arc::new(HostVerifier::new(self.roots.clone(), self.expected.clone(), crypto()));
        let spoken = dial(&Dial {
            address: &self.address,
            identity: &self.identity,
            verifier: verifier.clone(),
            alpn: crate::ALPN_CLAIMED,
            timeout: self.timeout,
        })
        .await;
        spoken.map_err(|error| explained(error, &verifier))
    }
}

/// A channel whose first connection stands; a broken one is dialled again, with the same checks.
pub(super) async fn channel(
    address: &str,
    identity: &ClientIdentity,
    host_ca: &str,
    expected: Expected,
    timeouts: Timeouts,
) -> Result<Channel, ConnectError> {
    let roots = roots("the host CA", host_ca)
        .map_err(|source| ConnectError::Setup { address: address.to_owned(), source })?;
    let target = Arc::new(Target {
        address: address.to_owned(),
        identity: identity.clone(),
        roots,
        expected,
        timeout: timeouts.connect,
    });
    let first = target.connect().await?;
    Ok(over(first, move || {
        let target = target.clone();
        async move { target.connect().await }
    }))
}

/// HTTP/2 over one connection that is never dialled again.
pub(crate) fn connect_once(connection: Spoken) -> Channel {
    over(connection, || async { Err(ConnectError::Closed { address: "the claimed host".to_owned() }) })
}

/// HTTP/2 over `first`, and over what `again` dials when that has broken.
fn over<F, D>(first: Spoken, again: F) -> Channel
where
    F: Fn() -> D + Send + Sync + 'static,
    D: Future<Output = Result<Spoken, ConnectError>> + Send + 'static,
{
    let first = Mutex::new(Some(first));
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let dialled = ready.is_none().then(&again);
        async move {
            match (ready, dialled) {
                (Some(spoken), _) => Ok(TokioIo::new(spoken)),
                (None, Some(dialled)) => dialled.await.map(TokioIo::new).map_err(io::Error::other),
                (None, None) => Err(io::Error::from(io::ErrorKind::NotConnected)),
            }
        }
    });
    // TLS is the connector's; the scheme only keeps tonic from adding its own.
    Endpoint::from_static("http://nats-agent")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

impl AsyncRead for Spoken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_read {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        let rest = self.first.split_off(count);
        buffer.put_slice(&self.first);
        self.is_read = rest.is_empty();
        self.first = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Spoken {
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
