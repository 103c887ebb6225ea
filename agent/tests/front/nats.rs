//! A real nats-server in operator mode with TLS of the authority's own issuers, in a state directory of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_state::observed::RunningObserved;
use identity::{Authority, HostSecret, HostSeeds, Jwt, mint_leaf};
use nats_agent::front::monitor;
use nats_agent::front::tunnel::Target;
use nats_agent::roles::{LocalServer, MeshPost};
use serde_json::json;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::scripted::{HOUR, Scripted};

const VERSION: &str = "2.15.1";

/// The pinned nats-server: the one that `cargo xtask tools` puts under the target folder.
fn binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let binary = target.join(format!("tools/nats-server-{VERSION}/nats-server"));
    assert!(
        binary.is_file(),
        "no nats-server {VERSION} at `{}`: `cargo xtask tools` fetches it",
        binary.display()
    );
    binary
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) state: tempfile::TempDir,
    pub(crate) address: IpAddr,
    pub(crate) secret: HostSecret,
    host_ca_pem: String,
    name: String,
    system_jwt: Jwt,
    probe_jwt: Jwt,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts server `name` of a cluster of `routes`, and waits until it answers.
    pub(crate) async fn start(authority: &Authority, name: &str, address: &str, routes: &[&str]) -> Server {
        let state = tempfile::tempdir().unwrap();
        let seed = address.rsplit('.').next().unwrap().parse::<u8>().unwrap();
        let key = |n: u8| Zeroizing::new([seed.wrapping_add(n.wrapping_mul(50)); 32]);
        let seeds = HostSeeds { issuer: key(1), leaf: key(2), system_user: key(3), probe_user: key(4) };
        let secret = HostSecret::from_seeds(&seeds);
        let (names, now) = (Scripted::names(name, address), OffsetDateTime::now_utc());
        let issuer = authority.issuer(&secret.keys(), &names, now, 24 * HOUR).unwrap();
        let leaf = mint_leaf(&secret, &issuer, &names, now, HOUR).unwrap();
        let trust = authority.trust();
        let write = |file: &str, text: &str| std::fs::write(state.path().join(file), text).unwrap();
        write("server.pem", &format!("{}{}", leaf.leaf.as_str(), issuer.as_str()));
        write("server-key.pem", &secret.leaf_key_pem());
        write("ca.pem", &trust.host_ca_bundle());
        let tls = json!({ "cert_file": "server.pem", "key_file": "server-key.pem", "ca_file": "ca.pem", "timeout": 5 });
        let routes: Vec<String> = routes.iter().map(|route| format!("nats-route://{route}:5222")).collect();
        let config = json!({
            "server_name": name,
            "host": address, "port": 4222, "tls": tls,
            "http": format!("{address}:8222"),
            "max_payload": 65536,
            "cluster": { "name": "east", "host": address, "port": 5222, "routes": routes, "tls": tls },
            "operator": trust.operator_jwt.as_str(),
            "system_account": trust.system_account.as_str(),
            "resolver": { "type": "full", "dir": "server/resolver", "allow_delete": true, "interval": "2m", "limit": 1000 },
            "resolver_preload": BTreeMap::from([
                (trust.system_account.as_str(), trust.system_account_jwt.as_str()),
                (trust.probe_account.as_str(), trust.probe_account_jwt.as_str()),
            ]),
        });
        write("nats-server.json", &config.to_string());
        let log = std::fs::File::create(state.path().join("log")).unwrap();
        let child = Command::new(binary())
            .args(["-c", "nats-server.json"])
            .current_dir(state.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let host = name.parse().unwrap();
        let system_jwt = authority.system_user_jwt(&host, &secret.keys().system_user, now, now + HOUR);
        let probe_jwt = authority.probe_user_jwt(&host, &secret.keys().probe_user, now, now + HOUR);
        let (name, address) = (name.to_owned(), address.parse().unwrap());
        let host_ca_pem = trust.host_ca_bundle();
        let server = Server { child, state, address, secret, host_ca_pem, name, system_jwt, probe_jwt };
        server.wait().await;
        server
    }

    async fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !matches!(monitor::running(self.monitor()).await, RunningObserved::Answered { .. }) {
            let log = || std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "nats-server did not start:\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn monitor(&self) -> SocketAddr {
        SocketAddr::new(self.address, 8222)
    }

    pub(crate) fn client(&self) -> SocketAddr {
        SocketAddr::new(self.address, 4222)
    }

    pub(crate) fn target(&self) -> Target {
        Target { client: self.client(), address: self.address, host_ca_pem: self.host_ca_pem.clone() }
    }

    pub(crate) fn local(&self) -> LocalServer {
        LocalServer {
            client: self.client(),
            address: self.address,
            host_ca_pem: self.host_ca_pem.clone(),
            user_jwt: self.system_jwt.as_str().to_owned(),
            user_key: Arc::new(self.secret.system_user().clone()),
        }
    }

    /// Its agent's place in a mesh of `hosts`, itself among them.
    pub(crate) fn post(&self, hosts: &[&str]) -> MeshPost {
        let probe = LocalServer {
            user_jwt: self.probe_jwt.as_str().to_owned(),
            user_key: Arc::new(self.secret.probe_user().clone()),
            ..self.local()
        };
        let others = hosts.iter().filter(|host| **host != self.name).map(|host| (*host).to_owned());
        MeshPost { host: self.name.clone(), others: others.collect(), system: self.local(), probe }
    }

    /// Stops it from doing anything while its connections stay open, or lets it go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = if is_frozen { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The leaf it was started with.
    pub(crate) fn leaf_sha256(&self) -> String {
        use rustls_pki_types::pem::PemObject;
        use sha2::Digest;
        let pem = std::fs::read(self.state.path().join("server.pem")).unwrap();
        let leaf = rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
        data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&leaf))
    }
}
