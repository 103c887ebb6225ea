//! Somebody in the middle between the operator and a host that is nobody's: what the operator sends to the host's agent
//! comes to them, and they speak TLS with both. They hold more than a thief could have, a certificate of the operator,
//! so that nothing but the proofs of a claim is left to stop them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use identity::ClientIdentity;
use nats_agent_api::wrong_peer::AnyServer;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::rig::hosts::execute::{run, run_with};
use crate::rig::hosts::network::OPERATOR;
use crate::rig::loopback::AGENT_PORT;

/// Where they listen, on the operator's own machine: whatever is sent to the host is turned there.
const PORT: u16 = 9442;
/// Where they speak to the host from.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 100, 3);

/// They, while they are there. Dropping it lets the operator reach the host again.
#[derive(Debug)]
pub(super) struct Middle {
    between: Arc<AtomicUsize>,
    /// Held, never read: what they do ends with it.
    _runtime: Runtime,
}

impl Middle {
    /// Puts them between the operator and the agent at `host`, with `certificate` to show to the agent.
    ///
    /// # Errors
    /// When the network cannot be changed or no keys can be made.
    pub(super) fn stand(host: Ipv4Addr, certificate: &ClientIdentity) -> Result<Middle> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let acceptor = TlsAcceptor::from(Arc::new(server(&crypto)?));
        let connector = TlsConnector::from(Arc::new(client(&crypto, certificate)?));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("start a runtime")?;
        let between = Arc::new(AtomicUsize::new(0));
        run(Command::new("ip").args(["addr", "replace", &format!("{OWN}/24"), "dev", "operator"]))?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
        let listener = listener.context("listen in the middle")?;
        let counted = Arc::clone(&between);
        runtime.spawn(async move {
            while let Ok((operator, _)) = listener.accept().await {
                let (acceptor, connector) = (acceptor.clone(), connector.clone());
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // What becomes of a connection is for the operator to see.
                    let _ = relay(operator, host, &acceptor, &connector, &counted).await;
                });
            }
        });
        let rules = format!(
            "table ip middle {{\nchain out {{\ntype nat hook output priority -100\n\
             ip saddr {} ip daddr {host} tcp dport {AGENT_PORT} redirect to :{PORT}\n}}\n}}\n",
            OPERATOR.0
        );
        run_with(Command::new("nft").args(["-f", "-"]), rules.as_bytes())?;
        Ok(Middle { between, _runtime: runtime })
    }

    /// Connections on which both sides took them for the other.
    pub(super) fn between(&self) -> usize {
        self.between.load(Ordering::Acquire)
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        // What is left of it ends with this process.
        let _ = run(Command::new("nft").args(["delete", "table", "ip", "middle"]));
    }
}

async fn relay(
    operator: TcpStream,
    host: Ipv4Addr,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    between: &AtomicUsize,
) -> Result<()> {
    let mut operator = acceptor.accept(operator).await.context("pass for the host")?;
    let socket = TcpSocket::new_v4().context("make a socket")?;
    socket.bind((OWN, 0).into()).context("take the own address")?;
    let stream = socket.connect((host, AGENT_PORT).into()).await.context("reach the host")?;
    let name = ServerName::try_from("nats-agent").context("name the host")?;
    let mut agent = connector.connect(name, stream).await.context("pass for the operator")?;
    between.fetch_add(1, Ordering::AcqRel);
    copy_bidirectional(&mut operator, &mut agent).await.context("hand on").map(drop)
}

/// As an agent that is nobody's: a certificate that it signed itself, and only the protocol of a claim.
fn server(crypto: &Arc<CryptoProvider>) -> Result<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(["nats-agent".to_owned()]).context("make a key")?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(crypto))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("speak TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .context("serve the own certificate")?;
    config.alpn_protocols = vec![nats_agent_api::ALPN_CLAIM.to_vec()];
    Ok(config)
}

/// As the provider: with a certificate of the operator.
fn client(crypto: &Arc<CryptoProvider>, certificate: &ClientIdentity) -> Result<ClientConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.to_vec()));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(crypto))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("speak TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_auth_cert(certificate.chain.clone(), key)
        .context("show the operator's certificate")?;
    config.alpn_protocols = vec![nats_agent_api::ALPN_CLAIM.to_vec()];
    Ok(config)
}
