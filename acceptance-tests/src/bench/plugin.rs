//! The provider's process, started and ended the way Terraform does.
//!
//! Source: go-plugin v1.6.0 client.go, mtls.go and terraform v1.11.4 internal/plugin6/serve.go.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64_NOPAD;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint, Uri};

const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// How long a process may take to end. Terraform kills after two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who starts the process: the one certificate that may connect to it.
pub(super) struct Owner {
    pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// A running provider.
pub(super) struct Plugin {
    child: Child,
    socket: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Owner {
    /// A new one.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub(super) fn new() -> Result<Self> {
        let key = KeyPair::generate().context("make a key")?;
        let parameters = CertificateParams::new(["localhost".to_owned()]).context("name a certificate")?;
        let certificate = parameters.self_signed(&key).context("make a certificate")?;
        Ok(Self { pem: certificate.pem(), certificate: certificate.der().clone(), key: key.serialize_der() })
    }
}

impl Plugin {
    /// Starts `program` and says how long it was until its handshake line.
    ///
    /// # Errors
    /// When it cannot be started or says something else.
    pub(super) async fn start(program: &Path, owner: &Owner) -> Result<(Self, Duration)> {
        let mut command = Command::new(program);
        command
            .env("TF_PLUGIN_MAGIC_COOKIE", COOKIE)
            .env("PLUGIN_PROTOCOL_VERSIONS", "6")
            .env("PLUGIN_CLIENT_CERT", &owner.pem)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().context("start the provider")?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await.context("read the handshake")?;
        let elapsed = started.elapsed();
        let parts: Vec<&str> = line.trim_end().split('|').collect();
        let &["1", "6", "unix", socket, "grpc", certificate] = parts.as_slice() else {
            bail!("the handshake is `{line}`");
        };
        let certificate = BASE64_NOPAD.decode(certificate.as_bytes()).context("decode its certificate")?;
        Ok((Self { child, socket: socket.into(), certificate: certificate.into() }, elapsed))
    }

    /// Asks it to end, and says how long that took. The connection was there before.
    ///
    /// # Errors
    /// When it does not answer, or ends otherwise than well.
    pub(super) async fn shut_down(mut self, owner: &Owner) -> Result<Duration> {
        let channel = self.connect(owner).await?;
        call(&channel, "/grpc.health.v1.Health/Check").await?;
        let started = Instant::now();
        call(&channel, "/plugin.GRPCController/Shutdown").await?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("the provider does not end")?.context("wait for the provider")?;
        let elapsed = started.elapsed();
        ensure!(status.success(), "the provider ended with {status}");
        Ok(elapsed)
    }

    async fn connect(&self, owner: &Owner) -> Result<Channel> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).context("trust the provider's certificate")?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("choose TLS versions")?
                .with_root_certificates(roots)
                .with_client_auth_cert(
                    vec![owner.certificate.clone()],
                    PrivateKeyDer::Pkcs8(owner.key.clone().into()),
                )
                .context("use our certificate")?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").context("name the server")?;
        let socket = self.socket.clone();
        let dial = tower::service_fn(move |_: Uri| {
            let (connector, socket, name) = (connector.clone(), socket.clone(), name.clone());
            async move {
                let stream = UnixStream::connect(socket).await?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(dial)
            .await
            .context("connect to the provider")
    }
}

/// Calls a method with an empty message.
async fn call(channel: &Channel, path: &'static str) -> Result<()> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.context("reach the provider")?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse().context("name a method")?;
    grpc.unary(tonic::Request::new(()), path, codec).await.map(drop).context("call the provider")
}
