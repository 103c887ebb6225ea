//! [`Network`]: the front as the applier sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use host_state::DownloadUrl;
use host_state::observed::RunningObserved;
use host_state::report::MeshRow;
use nats_config::Sha256Hex;
use tokio::sync::Mutex;

use crate::front::held_ports::HeldPorts;
use crate::front::login::SystemLogin;
use crate::front::mesh::Mesh;
use crate::front::resolver::Resolver;
use crate::front::{download, monitor, served_leaf};
use crate::roles::{LocalServer, MeshPost, ServerView};

/// Looks at the local nats-server, holds its ports while it may not start, and downloads for it. One for the life of
/// the process.
#[derive(Debug)]
pub struct Network {
    resolver: Resolver,
    held: HeldPorts,
    mesh: Mesh,
    downloads: PathBuf,
    downloading: Mutex<()>,
}

impl Network {
    /// One that downloads into this directory. Opens nothing yet.
    #[must_use]
    pub fn new(downloads: PathBuf) -> Network {
        let login = Arc::new(SystemLogin::default());
        Network {
            resolver: Resolver::new(Arc::clone(&login)),
            held: HeldPorts::default(),
            mesh: Mesh::new(login),
            downloads,
            downloading: Mutex::new(()),
        }
    }
}

#[async_trait]
impl ServerView for Network {
    /// Never [`RunningObserved::Stopped`]: whether a process is there is not seen from a port.
    async fn running(&self, monitor: SocketAddr) -> RunningObserved {
        monitor::running(monitor).await
    }

    async fn healthz(&self, monitor: SocketAddr, query: &str) -> Result<(), String> {
        monitor::healthz(monitor, query).await
    }

    async fn known_accounts(&self, server: &LocalServer) -> Result<BTreeSet<String>, String> {
        self.resolver.known(server).await.map_err(|error| host_state::chain(&error))
    }

    async fn account_jwts(
        &self,
        server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        self.resolver.everywhere(server, accounts).await.map_err(|error| host_state::chain(&error))
    }

    async fn push_claim(&self, server: &LocalServer, jwt: &str) -> Result<(), String> {
        self.resolver.push(server, jwt).await.map_err(|error| host_state::chain(&error))
    }

    async fn download(&self, url: &DownloadUrl, sha256: &Sha256Hex) -> Result<(), String> {
        let _one_at_a_time = self.downloading.lock().await;
        let (url, sha256, directory) = (url.clone(), sha256.clone(), self.downloads.clone());
        // It ends by its own deadline, whoever still waits for it.
        let done = tokio::task::spawn_blocking(move || download::download(&url, &sha256, &directory)).await;
        done.map_err(|error| error.to_string())?.map_err(|error| host_state::chain(&error))
    }

    async fn served_leaf(&self, address: SocketAddr, after_info: bool) -> Result<String, String> {
        served_leaf::served_leaf(address, after_info).await.map_err(|error| host_state::chain(&error))
    }

    async fn hold_ports(&self, ports: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>> {
        self.held.hold(ports).await
    }

    async fn answer_probes(&self, post: Option<MeshPost>) {
        self.mesh.take(post).await;
    }

    async fn mesh_row(&self) -> Option<MeshRow> {
        self.mesh.row().await
    }
}
