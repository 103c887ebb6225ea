//! One caller's attempt at one call, without any of the care that our own client takes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::ClientIdentity;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::AnyServer;
use crate::server::Method;
use crate::tls::{crypto, private_key};
use crate::wire;
use crate::wire::agent_client::AgentClient as Wire;

/// How long one attempt may take; an agent that leaves a caller hanging has refused it.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Method(Method),
    /// The call of an unclaimed agent.
    Claim,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Verdict {
    Accepted,
    Refused(String),
}

#[derive(Debug, Clone)]
pub(super) struct Attempt {
    identity: Option<ClientIdentity>,
    alpn: Vec<Vec<u8>>,
    version: &'static SupportedProtocolVersion,
    is_plain: bool,
}

impl Attempt {
    pub(super) fn of(identity: ClientIdentity) -> Attempt {
        Attempt { identity: Some(identity), ..Attempt::anonymous() }
    }

    pub(super) fn anonymous() -> Attempt {
        let alpn = vec![crate::ALPN_CLAIMED.to_vec()];
        Attempt { identity: None, alpn, version: &rustls::version::TLS13, is_plain: false }
    }

    pub(super) fn plain() -> Attempt {
        Attempt { is_plain: true, ..Attempt::anonymous() }
    }

    pub(super) fn alpn(self, alpn: &[&[u8]]) -> Attempt {
        Attempt { alpn: alpn.iter().map(|name| name.to_vec()).collect(), ..self }
    }

    pub(super) fn tls12(self) -> Attempt {
        Attempt { version: &rustls::version::TLS12, ..self }
    }

    pub(super) async fn call(&self, address: &str, call: Call) -> Verdict {
        let attempt = async {
            match self.channel(address).await {
                Ok(channel) => verdict(tried(channel, call).await),
                Err(error) => Verdict::Refused(error.to_string()),
            }
        };
        let timeout = tokio::time::timeout(PATIENCE, attempt).await;
        timeout.unwrap_or_else(|_| Verdict::Refused("no answer".to_owned()))
    }

    async fn channel(&self, address: &str) -> io::Result<Channel> {
        let stream = TcpStream::connect(address).await?;
        let endpoint = Endpoint::from_static("http://nats-agent");
        if self.is_plain {
            return Ok(over(&endpoint, stream));
        }
        let crypto = crypto();
        let builder = ClientConfig::builder_with_provider(crypto.clone())
            .with_protocol_versions(&[self.version])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut config = match &self.identity {
            // Not checked for key and certificate to belong together: that is the agent's to find out.
            Some(identity) => {
                let key = crypto.key_provider.load_private_key(private_key(&identity.key));
                let pair = CertifiedKey::new(identity.chain.clone(), key.map_err(io::Error::other)?);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        let name = ServerName::try_from("nats-agent").map_err(io::Error::other)?;
        Ok(over(&endpoint, TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }
}

fn over<S>(endpoint: &Endpoint, stream: S) -> Channel
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let stream = std::sync::Mutex::new(Some(stream));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: tonic::transport::Uri| {
        let stream = stream.lock().map(|mut stream| stream.take()).ok().flatten();
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    }))
}

/// The call with an empty request: enough to be listened to, too little to change anything.
async fn tried(channel: Channel, call: Call) -> Result<(), Status> {
    let mut agent = Wire::new(channel.clone());
    match call {
        Call::Method(Method::Observe) => agent.observe(wire::ObserveRequest { audit_seq: 0 }).await.map(drop),
        Call::Method(Method::Preview) => agent.preview(wire::PreviewRequest::default()).await.map(drop),
        Call::Method(Method::Preflight) => agent.preflight(wire::PreflightRequest {}).await.map(drop),
        Call::Method(Method::Apply) => agent.apply(wire::ApplyRequest::default()).await.map(drop),
        Call::Method(Method::Confirm) => agent.confirm(wire::ConfirmRequest::default()).await.map(drop),
        Call::Method(Method::Cancel) => agent.cancel(wire::CancelRequest::default()).await.map(drop),
        Call::Method(Method::Lease) => agent.lease(wire::LeaseRequest::default()).await.map(drop),
        Call::Method(Method::Probe) => agent.probe(wire::ProbeRequest::default()).await.map(drop),
        Call::Method(Method::Claims) => agent.claims(wire::ClaimsRequest {}).await.map(drop),
        Call::Method(Method::Tunnel) => agent.tunnel(tokio_stream::empty()).await.map(drop),
        Call::Claim => {
            let mut enrollment = wire::enrollment_client::EnrollmentClient::new(channel);
            let mut answers = enrollment.claim(tokio_stream::empty()).await?.into_inner();
            answers.message().await.map(drop)
        }
    }
}

/// Whether the agent listened: it did when the answer is neither a broken connection nor a denial.
fn verdict(result: Result<(), Status>) -> Verdict {
    let Err(status) = result else { return Verdict::Accepted };
    let is_broken = std::error::Error::source(&status).is_some();
    let is_denied =
        matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented);
    if is_broken || is_denied {
        Verdict::Refused(format!("{:?}: {}", status.code(), status.message()))
    } else {
        Verdict::Accepted
    }
}
