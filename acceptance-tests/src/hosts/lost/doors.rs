//! Every door of a host, tried with every key of a stolen disk: the agent's calls, routes, gateways, and clients. Judges by
//! what came back alone: a door that says anything but no is open.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use host_state::chain;
use identity::ClientIdentity;
use nats_agent_api::server::{METHODS, Method};
use nats_agent_api::wrong_peer::call;
use nats_agent_api::{AgentClient, CallError, Expected, Timeouts};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Target;
use super::disk::Disk;
use crate::rig::loopback::{AGENT_PORT, CLIENT_PORT, CLUSTER_PORT, GATEWAY_PORT};

/// How long one attempt may take; a door that leaves somebody waiting has not opened.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a server may take to say something to who is in.
const WORD: Duration = Duration::from_secs(3);
/// Requests of the system account: what they read or change, and where. Source: nats-server 2.15.1, server/events.go.
const SYSTEM: [(&str, &str); 2] =
    [("statistics of every server", "$SYS.REQ.SERVER.PING"), ("a push of claims", "$SYS.REQ.CLAIMS.UPDATE")];

/// One attempt at one door.
#[derive(Debug, Clone)]
pub(super) struct Door {
    kind: String,
    host: String,
    /// What was read or done, or why not.
    came: Result<String, String>,
}

impl Door {
    /// What was tried, with what.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether it opened.
    pub(super) fn is_open(&self) -> bool {
        self.came.is_ok()
    }
}

impl Display for Door {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Ok(came) | Err(came)) = &self.came;
        write!(f, "{}: {came}", self.host)
    }
}

/// Tries every door of `targets`.
///
/// # Errors
/// When no attempt can be made.
pub(super) fn try_all(disk: &Disk, targets: &[Target]) -> Result<Vec<Door>> {
    let server_ca = fs_roots(&disk.server_ca)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start a runtime")?.block_on(async {
        let doors = join_all(targets.iter().map(|target| try_one(disk, &server_ca, target))).await;
        Ok(doors.into_iter().flatten().collect())
    })
}

async fn try_one(disk: &Disk, server_ca: &RootCertStore, target: &Target) -> Vec<Door> {
    let mut doors = Vec::new();
    let mut add = |kind: String, came| doors.push(Door { kind, host: target.name.clone(), came });
    for (what, identity) in &disk.callers {
        for (method, came) in calls(disk, identity, target).await {
            add(format!("{method} of the agent with {what}"), came);
        }
    }
    let (_, own) = &disk.callers[0];
    for (what, port) in [("route", CLUSTER_PORT), ("gateway", GATEWAY_PORT)] {
        for address in [target.cluster, target.client] {
            add(format!("{what} with its own certificate"), link(own, server_ca, address, port).await);
        }
    }
    for (what, credentials) in &disk.users {
        match login(credentials, &disk.server_ca, target.client).await {
            Err(why) => add(format!("login of {what}"), Err(why)),
            Ok(client) => {
                add(format!("login of {what}"), Ok("connected".to_owned()));
                for (request, subject) in SYSTEM {
                    add(format!("{request} as {what}"), ask(&client, subject).await);
                }
            }
        }
    }
    doors
}

/// Each call of an agent. What the order says is what the disk holds, or empty: enough to be listened to.
async fn calls(
    disk: &Disk,
    identity: &ClientIdentity,
    target: &Target,
) -> Vec<(&'static str, Result<String, String>)> {
    let address = format!("{}:{AGENT_PORT}", target.client);
    let timeouts = Timeouts { connect: PATIENCE, call: PATIENCE };
    let connected = AgentClient::connect(&address, identity, &disk.host_ca, Expected::default(), timeouts);
    let agent = match connected.await {
        Ok(agent) => agent,
        Err(why) => {
            let why = chain(&why);
            return METHODS.iter().map(|method| (name(*method), Err(why.clone()))).collect();
        }
    };
    let mut came = Vec::new();
    for method in METHODS {
        let called = timeout(2 * PATIENCE, call(&agent, method, disk.sections.clone())).await;
        came.push((name(method), called.map_or_else(|_| Err("no answer".to_owned()), listened)));
    }
    came
}

/// Whether the agent did anything but deny the call: also to call it malformed is to have listened.
fn listened(result: Result<(), CallError>) -> Result<String, String> {
    match result {
        Ok(()) => Ok("it was answered".to_owned()),
        Err(
            why @ (CallError::Denied { .. }
            | CallError::NotClaimed { .. }
            | CallError::Lost { .. }
            | CallError::Timeout { .. }),
        ) => Err(chain(&why)),
        Err(
            why @ (CallError::Invalid { .. }
            | CallError::Conflict { .. }
            | CallError::Leased { .. }
            | CallError::Frozen { .. }
            | CallError::Failed { .. }
            | CallError::Unreadable { .. }),
        ) => Ok(chain(&why)),
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Observe => "Observe",
        Method::Preview => "Preview",
        Method::Preflight => "Preflight",
        Method::Apply => "Apply",
        Method::Confirm => "Confirm",
        Method::Cancel => "Cancel",
        Method::Lease => "Lease",
        Method::Probe => "Probe",
        Method::Claims => "Claims",
        Method::Tunnel => "Tunnel",
    }
}

/// A connection as another server's. Who is not let in is closed at once, in the handshake or right after it;
/// everything else, silence too, is an open door.
/// Between servers the handshake comes before any word, and a key that is not pinned is closed without one.
/// Source: nats-server 2.15.1 server/route.go `createRoute`, server/client.go `doTLSServerHandshake`.
async fn link(
    own: &ClientIdentity,
    server_ca: &RootCertStore,
    address: Ipv4Addr,
    port: u16,
) -> Result<String, String> {
    let stream = timeout(WORD, TcpStream::connect((address, port))).await;
    let stream = stream.map_err(|_| "no connection in time".to_owned())?.map_err(|why| why.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls(own, server_ca).map_err(|why| format!("{why:#}"))?));
    let name = ServerName::IpAddress(std::net::IpAddr::from(address).into());
    let shaken = timeout(WORD, connector.connect(name, stream)).await;
    let mut stream = shaken.map_err(|_| "no handshake in time".to_owned())?.map_err(|why| why.to_string())?;
    let mut word = [0_u8; 200];
    match timeout(WORD, stream.read(&mut word)).await {
        Err(_) => Ok("it stays open".to_owned()),
        Ok(Ok(0)) => Err("it was closed without a word".to_owned()),
        Ok(Ok(length)) => Ok(String::from_utf8_lossy(&word[..length]).trim().to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
    }
}

fn tls(own: &ClientIdentity, server_ca: &RootCertStore) -> Result<rustls::ClientConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.to_vec()));
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .context("speak TLS")?
        .with_root_certificates(server_ca.clone())
        .with_client_auth_cert(own.chain.clone(), key)
        .context("show the certificate")
}

fn fs_roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).context("read the servers' CA")? {
        roots.add(certificate.context("read the servers' CA")?).context("take the servers' CA")?;
    }
    Ok(roots)
}

async fn login(credentials: &str, server_ca: &Path, address: Ipv4Addr) -> Result<async_nats::Client, String> {
    let options = async_nats::ConnectOptions::with_credentials(credentials).map_err(|why| why.to_string())?;
    let options = options
        .require_tls(true)
        .add_root_certificates(server_ca.to_owned())
        .connection_timeout(WORD)
        .max_reconnects(1);
    let connected = timeout(PATIENCE, options.connect(format!("tls://{address}:{CLIENT_PORT}"))).await;
    connected.map_err(|_| "no connection in time".to_owned())?.map_err(|why| chain(&why))
}

/// Whether anybody answers a request.
async fn ask(client: &async_nats::Client, subject: &'static str) -> Result<String, String> {
    let answer = timeout(WORD, client.request(subject, "{}".into())).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|why| why.to_string())?;
    let text: String = String::from_utf8_lossy(&answer.payload).chars().take(120).collect();
    Ok(text)
}
