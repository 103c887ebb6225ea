//! The process Terraform starts: handshake on stdout, mutually authenticated TLS over a unix socket in a
//! private directory, the provider's service and the launcher's own, and a prompt end.
//!
//! Source: go-plugin v1.6.0 client.go, server.go, mtls.go and terraform v1.11.4 internal/plugin6/serve.go.

mod broker;
mod connection;
mod controller;
mod environment;
mod health;
mod log;
mod socket;
mod stdio;
mod tls;

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64_NOPAD;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use self::connection::Presence;
use self::environment::{Environment, EnvironmentError};
use self::socket::{PrivateSocket, SocketError};
use self::tls::{Tls, TlsError};
use crate::engine::Engine;
use crate::proto::health::health_server::HealthServer;
use crate::proto::plugin::grpc_broker_server::GrpcBrokerServer;
use crate::proto::plugin::grpc_controller_server::GrpcControllerServer;
use crate::proto::plugin::grpc_stdio_server::GrpcStdioServer;
use crate::proto::tfplugin6::provider_server::ProviderServer;
use crate::rpc::Service;
use crate::{Provider, Stop};

/// How long the answer to Shutdown may take to leave before the process ends anyway. Terraform kills after
/// two seconds.
const FLUSH: Duration = Duration::from_millis(250);

/// How large one message may be. Source: go-plugin v1.6.0 raises both directions to the largest `int32`.
const MAX_MESSAGE: usize = i32::MAX as usize;

/// Window for flow control, so that a state of megabytes needs few round trips.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Why the server could not start or stay up.
#[derive(Debug, Error)]
enum ServeError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot watch for signals")]
    Signal(#[source] io::Error),
    #[error("cannot write the handshake to stdout")]
    Handshake(#[source] io::Error),
    #[error("server failed")]
    Server(#[source] tonic::transport::Error),
}

/// Serves `provider` to the Terraform that started this process.
///
/// Returns only when it could not start, after a message on stderr: not started by Terraform, or asked to
/// serve without a client certificate (`TF_DISABLE_PLUGIN_TLS`), which is refused because any local user
/// could then drive the provider. Otherwise the process exits when Terraform says so, or when its
/// connection has been gone for a while. SIGINT and SIGTERM do not end it.
pub async fn serve(provider: impl Provider) -> ExitCode {
    let error = match run(Arc::new(provider)).await {
        // Not a return: dropping the runtime would wait for blocking work, e.g. a name lookup.
        Ok(()) => std::process::exit(0),
        Err(error) => error,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

async fn run(provider: Arc<dyn Provider>) -> Result<(), ServeError> {
    let environment = Environment::read()?;
    log::install(environment.log_level);
    let engine = Arc::new(Engine::new(provider));
    outlive_signals(engine.stop.clone()).map_err(ServeError::Signal)?;
    let tls = Tls::new(&environment.client_certificate)?;
    let (socket, listener) = PrivateSocket::bind(environment.socket_directory.as_deref())?;
    let stopping = CancellationToken::new();
    let presence = Presence::new();
    let connections = accept(listener, &tls, &presence);
    handshake(&socket, &tls).map_err(ServeError::Handshake)?;

    let service = Service { engine };
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(
            ProviderServer::new(service)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        )
        .add_service(GrpcControllerServer::new(controller::Controller { stopping: stopping.clone() }))
        .add_service(GrpcStdioServer::new(stdio::Stdio { stopping: stopping.clone() }))
        .add_service(GrpcBrokerServer::new(broker::Broker { stopping: stopping.clone() }))
        .add_service(HealthServer::new(health::Health { stopping: stopping.clone() }))
        .serve_with_incoming_shutdown(
            connections.map(Ok::<_, Infallible>),
            stopping.clone().cancelled_owned(),
        );
    let mut server = tokio::spawn(server);
    let outcome = tokio::select! {
        ended = &mut server => ended,
        () = presence.abandoned() => {
            tracing::warn!("Terraform is gone");
            return Ok(());
        }
        () = stopping.cancelled() => match tokio::time::timeout(FLUSH, server).await {
            Ok(ended) => ended,
            Err(_) => return Ok(()),
        },
    };
    outcome.map_or(Ok(()), |served| served.map_err(ServeError::Server))
}

/// Keeps signals from ending this process in the middle of an apply, which would orphan what it creates.
/// SIGINT reaches Terraform as well, which then asks to stop. SIGTERM may have been sent to us alone, so it
/// is taken as that request; the process still ends when Terraform says so or is gone.
fn outlive_signals(stop: Stop) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupts.recv() => tracing::debug!("ignored SIGINT"),
                Some(()) = terminations.recv() => stop.trip(),
                else => return,
            }
        }
    });
    Ok(())
}

/// Takes connections, each with its TLS handshake in a task of its own.
fn accept(listener: UnixListener, tls: &Tls, presence: &Presence) -> ReceiverStream<connection::Connection> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let (acceptor, presence) = (tls.acceptor(), presence.clone());
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, sender, presence) = (acceptor.clone(), sender.clone(), presence.clone());
            tokio::spawn(async move {
                match connection::handshake(&acceptor, stream, presence).await {
                    // The receiver is gone only when the server ends.
                    Ok(connection) => drop(sender.send(connection).await),
                    Err(error) => tracing::warn!(%error, "refused a connection"),
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

/// Tells Terraform where to connect and which certificate to expect: the first and only line on stdout.
fn handshake(socket: &PrivateSocket, tls: &Tls) -> io::Result<()> {
    let certificate = BASE64_NOPAD.encode(tls.certificate());
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "1|6|unix|{}|grpc|{certificate}", socket.path().display())?;
    stdout.flush()
}
