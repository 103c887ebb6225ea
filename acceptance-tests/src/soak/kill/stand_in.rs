//! A program in the place of nats-server that costs next to nothing, and how an applier sees it.
//!
//! It honours what the agent asks of a nats-server: `--version`, `-t` with its digest, a trial boot, SIGHUP, SIGTERM.
//! What it would show on its ports it writes into a file of its working directory. The same cases run on the real
//! nats-server, which keeps it honest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use host_state::observed::RunningObserved;
use host_state::report::MeshRow;
use host_state::{DownloadUrl, layout};
use nats_agent::roles::{LocalServer, MeshPost, ServerView};
use nats_agent::testing::{HOST, VERSION};
use nats_config::Sha256Hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// File in the working directory that says what runs; gone when nothing does.
pub const STATUS_FILE: &str = "stand-in.json";

/// File in the working directory that holds the JWT which the process `pid` read or wrote last for `account`.
#[must_use]
pub fn remembered(pid: u32, account: &str) -> String {
    format!("stand-in-{pid}-{account}")
}

/// What the stand-in shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Digest of what it read last.
    pub digest: String,
    /// The certificate file as it read it last.
    pub chain: String,
}

/// The front of a host whose nats-server is the stand-in.
#[derive(Debug)]
pub struct StandInView {
    state: PathBuf,
}

impl StandInView {
    /// For the server that runs in `state`.
    #[must_use]
    pub fn new(state: &Path) -> StandInView {
        StandInView { state: state.to_owned() }
    }

    fn status(&self) -> Option<Status> {
        let status: Status = serde_json::from_slice(&fs::read(self.state.join(STATUS_FILE)).ok()?).ok()?;
        let cwd = fs::read_link(format!("/proc/{}/cwd", status.pid)).ok()?;
        (cwd == self.state).then_some(status)
    }

    /// The JWT that the running server wrote last for an account. It writes the same one no second time.
    fn remembered(&self, pid: u32, account: &str) -> PathBuf {
        self.state.join(remembered(pid, account))
    }
}

#[async_trait]
impl ServerView for StandInView {
    async fn running(&self, _: SocketAddr) -> RunningObserved {
        let Some(Status { digest, chain, .. }) = self.status() else {
            return RunningObserved::Silent { reason: "the stand-in does not run".to_owned() };
        };
        let not_after = identity::certificate_info(&chain)
            .ok()
            .and_then(|info| info.not_after.format(&time::format_description::well_known::Rfc3339).ok());
        let certificates = not_after.map(|not_after| ("client".to_owned(), not_after));
        RunningObserved::Answered {
            digest,
            version: VERSION.to_owned(),
            server_name: HOST.to_owned(),
            certificates: certificates.into_iter().collect(),
        }
    }

    async fn healthz(&self, _: SocketAddr, query: &str) -> Result<(), String> {
        let is_well = query == "js-server-only=true" && self.status().is_some();
        if is_well { Ok(()) } else { Err("the stand-in is not well".to_owned()) }
    }

    async fn known_accounts(&self, _: &LocalServer) -> Result<BTreeSet<String>, String> {
        let entries = fs::read_dir(self.state.join(layout::RESOLVER)).into_iter().flatten();
        let account = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".jwt")?.to_owned());
        Ok(entries.filter_map(|entry| account(entry.ok()?.path())).collect())
    }

    async fn account_jwts(
        &self,
        _: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        // It is the only server.
        let directory = self.state.join(layout::RESOLVER);
        let jwt = |account: &String| {
            let jwt = fs::read_to_string(directory.join(format!("{account}.jwt"))).ok()?;
            Some((account.clone(), BTreeSet::from([jwt])))
        };
        Ok(accounts.iter().filter_map(jwt).collect())
    }

    async fn download(&self, _: &DownloadUrl, _: &Sha256Hex) -> Result<(), String> {
        Err("the stand-in downloads nothing".to_owned())
    }

    async fn push_claim(&self, _: &LocalServer, jwt: &str) -> Result<(), String> {
        let status = self.status().ok_or("the stand-in does not run")?;
        let claims = claims_of(jwt).ok_or("it is no JWT")?;
        let account = claims["sub"].as_str().ok_or("it is nobody's")?;
        let remembered = self.remembered(status.pid, account);
        if fs::read_to_string(&remembered).is_ok_and(|known| known == jwt) {
            return Ok(());
        }
        let directory = self.state.join(layout::RESOLVER);
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(directory.join(format!("{account}.jwt")), jwt))
            .and_then(|()| fs::write(remembered, jwt))
            .map_err(|error| error.to_string())
    }

    async fn served_leaf(&self, _: SocketAddr, _: bool) -> Result<String, String> {
        let status = self.status().ok_or("the stand-in does not run")?;
        fingerprint(&status.chain).ok_or_else(|| "it serves no certificate".to_owned())
    }

    async fn hold_ports(&self, _: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>> {
        BTreeMap::new()
    }

    async fn answer_probes(&self, _: Option<MeshPost>) {}

    async fn mesh_row(&self) -> Option<MeshRow> {
        None
    }
}

/// What a JWT says, unverified.
fn claims_of(jwt: &str) -> Option<serde_json::Value> {
    let body = BASE64URL_NOPAD.decode(jwt.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&body).ok()
}

/// SHA-256 of the first certificate in a PEM text.
fn fingerprint(chain: &str) -> Option<String> {
    let (_, rest) = chain.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let text: String = body.split_whitespace().collect();
    Some(HEXLOWER.encode(&Sha256::digest(BASE64.decode(text.as_bytes()).ok()?)))
}
