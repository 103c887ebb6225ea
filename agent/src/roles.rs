//! The borders between the agent's three roles, as traits: front, applier, shadow.
//!
//! *Front* is unprivileged and owns everything that touches the network. *Applier* verifies documents, keeps the
//! ledger, renders, switches; it opens no inet socket and asks the front through [`ServerView`] what it needs to see.
//! *Shadow* boots a candidate in a scratch place. In development all three run in one process; front and applier may be
//! two, with [`crate::border`] between them, so nothing crosses these borders but plain data. What the front says may
//! hold or roll back a change, never authorise one: signatures are checked by the applier itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use host_state::audit::RecordHash;
use host_state::observed::RunningObserved;
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, MeshRow, Report};
use host_state::{DownloadUrl, Plan, SignedSection, layout};
use identity::{HostKeys, HostNames, Role, Trust};
use nats_config::Sha256Hex;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Largest file that is downloaded, and largest binary in it, in bytes. A release of nats-server 2.15.1 has about 8 MB, the
/// binary 20 MB.
pub const DOWNLOAD_LIMIT: u64 = 256 * 1024 * 1024;
/// How long a download may take.
pub const DOWNLOAD_LONGEST: Duration = Duration::from_secs(600);

/// Where the agent keeps its state and what it was started with. Fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// State directory, absolute; holds claim, ledger, renditions, resolver. nats-server runs with it as working directory.
    pub state_dir: PathBuf,
    /// Where the agent listens.
    pub listen: SocketAddr,
    /// The nats-server binary named at start; absent when documents must name one.
    pub nats_server: Option<PathBuf>,
    /// Directory of the local sockets, absolute; the state directory where nothing else is said.
    pub sockets: PathBuf,
    /// Where the front puts what it downloads, which nobody believes: each file is called by the SHA-256 that it must have.
    /// Absolute.
    pub downloads: PathBuf,
    /// What the agent manages beside its state directory.
    pub place: Place,
}

impl AgentSettings {
    /// Settings of an agent in one process: sockets and downloads lie in its state directory.
    #[must_use]
    pub fn of_process(state_dir: PathBuf, listen: SocketAddr, nats_server: Option<PathBuf>) -> AgentSettings {
        let (sockets, downloads) = (state_dir.clone(), state_dir.join(layout::DOWNLOADS));
        AgentSettings { state_dir, listen, nats_server, sockets, downloads, place: Place::Process }
    }
}

/// Where the agent runs (docs/decisions/0005-processes-of-a-host.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One process of an ordinary user: nats-server is its child, and no kernel rule is changed.
    Process,
    /// A host with systemd: nats-server is a unit of a user of its own, and the firewall is ours.
    Host(ServiceUser),
}

impl Place {
    /// The user that nats-server runs as; absent where that is the agent's own.
    #[must_use]
    pub fn service_user(self) -> Option<ServiceUser> {
        match self {
            Place::Process => None,
            Place::Host(user) => Some(user),
        }
    }

    /// Permission bits of directories that nats-server reads from.
    #[must_use]
    pub fn directory_mode(self) -> u32 {
        match self {
            Place::Process => layout::DIRECTORY_MODE,
            Place::Host(_) => layout::SHARED_DIRECTORY_MODE,
        }
    }

    /// Permission bits of secrets that nats-server reads.
    #[must_use]
    pub fn secret_mode(self) -> u32 {
        match self {
            Place::Process => layout::SECRET_MODE,
            Place::Host(_) => layout::SHARED_SECRET_MODE,
        }
    }
}

/// The user that nats-server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Whether this host belongs to somebody.
#[derive(Debug, Clone)]
pub enum ClaimState {
    /// Nobody's, and nothing to be claimed with: the door is shut until `nats-agent enroll`.
    Closed,
    /// Nobody's; may be claimed with the token it was given.
    Open(OpenDoor),
    /// Claimed.
    Claimed(Arc<Claimed>),
    /// A claim is there and cannot be read: serve nothing, change nothing, alarm.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What an unclaimed agent may be claimed with.
#[derive(Debug, Clone)]
pub struct OpenDoor {
    /// Enrolment as given: host, generation, fleet CA, token (redacted in `Debug`).
    pub enrollment: Arc<identity::Enrollment>,
    /// Seconds since 1970 at which the token dies.
    pub expires_at: i64,
}

/// A claim, as fsynced.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Host name.
    pub host: String,
    /// Enrolment generation.
    pub generation: u32,
    /// 32 lower-case hex digits.
    pub claim_id: String,
    /// The authority's public side.
    pub trust: Trust,
    /// Public keys of this host.
    pub host_keys: HostKeys,
}

/// A claim that passed the proof, to be fsynced.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// Enrolment generation.
    pub generation: u32,
    /// 32 lower-case hex digits.
    pub claim_id: String,
    /// The authority's public side.
    pub trust: Trust,
    /// Issuer certificate for this host, PEM.
    pub issuer_pem: String,
    /// Names and addresses of this host.
    pub names: HostNames,
}

/// A private key as PKCS #8 PEM. Wiped on drop.
#[derive(Clone)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// Takes PEM text.
    #[must_use]
    pub fn new(pem: Zeroizing<String>) -> PrivateKeyPem {
        PrivateKeyPem(pem)
    }

    /// The PEM text. A secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKeyPem(redacted)")
    }
}

/// The certificate the agent's own listener serves; swapped when it renews.
#[derive(Debug, Clone)]
pub struct ApiIdentity {
    /// Leaf and issuer, PEM.
    pub chain_pem: String,
    /// Leaf key, PKCS#8 PEM. Redacted by its own type.
    pub key: PrivateKeyPem,
}

/// Who called, by the certificate that TLS verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Role.
    pub role: Role,
    /// Serial of the certificate, lower-case hex.
    pub serial: String,
    /// When its connection was opened, in milliseconds since the machine was booted (`CLOCK_BOOTTIME`).
    pub opened_ms: u64,
}

/// What Apply was asked.
#[derive(Debug, Clone)]
pub struct ApplyOrder {
    /// Sections to take in; may be none, which repairs.
    pub sections: Vec<SignedSection>,
    /// Stage only, or bring the host there.
    pub mode: ApplyMode,
    /// Lease that the caller holds; empty where none is needed.
    pub lease_id: String,
}

/// See [`ApplyOrder::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Take in, render, check; switch nothing.
    Stage,
    /// Bring the host to everything taken in so far.
    Roll,
}

/// Why the applier refused or failed. Text for people; the code is chosen in one `match` by the front.
#[derive(Debug, thiserror::Error)]
pub enum ApplierError {
    /// Not claimed, or by somebody else.
    #[error("{0}")]
    NotClaimed(String),
    /// Signature, authority, host, claim, hash or form of a section is wrong.
    #[error("{0}")]
    InvalidDocument(String),
    /// Older, forked, or another owner's; names the other writer.
    #[error("{0}")]
    Conflict(String),
    /// Somebody else holds the lease; names the holder.
    #[error("{0}")]
    Leased(String),
    /// The ledger cannot be read: changes are frozen.
    #[error("{0}")]
    Frozen(String),
    /// Anything else, with its chain of causes.
    #[error("{0}")]
    Failed(String),
}

/// What Confirm and Cancel are asked.
#[derive(Debug, Clone)]
pub struct TrialWish {
    /// The trial, as the report names it.
    pub trial_id: String,
    /// Signature under the document key over `nats-agent/trial/v1`, base64.
    pub signature: String,
}

/// A lease wish.
#[derive(Debug, Clone)]
pub struct LeaseOrder {
    /// 32 lower-case hex digits.
    pub lease_id: String,
    /// Who asks.
    pub holder: String,
    /// What is wanted.
    pub action: LeaseAction,
    /// Wanted life in milliseconds.
    pub ttl_ms: u32,
    /// Signature under the document key over `nats-agent/lease/v1`, base64.
    pub signature: String,
}

/// See [`LeaseOrder::action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAction {
    /// Get it.
    Acquire,
    /// Keep it.
    Renew,
    /// Give it back.
    Release,
}

/// A lease answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Whether the asker holds it now.
    pub granted: bool,
    /// Who holds it; empty when nobody does.
    pub holder: String,
    /// Milliseconds until it ends.
    pub remaining_ms: u32,
}

/// What the front asks of the applier.
#[async_trait]
pub trait Applier: Send + Sync + 'static {
    /// Whose host this is; changes are seen through the receiver.
    fn claim_state(&self) -> watch::Receiver<ClaimState>;
    /// The certificate for the agent's own listener; `None` until claimed.
    fn api_identity(&self) -> watch::Receiver<Option<Arc<ApiIdentity>>>;
    /// Public keys of this host, made at first start.
    fn host_keys(&self) -> HostKeys;
    /// The leaf key before a claim, so that the unclaimed listener can present it self-signed.
    fn leaf_key(&self) -> PrivateKeyPem;
    /// Makes a claim last: fsynced, token burnt. The same claim again is a no-op.
    async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError>;
    /// A fresh sweep.
    async fn observe(&self) -> Result<Report, ApplierError>;
    /// Hash of record `seq` of the audit log; absent when the log has no such record.
    async fn audit_hash(&self, seq: u64) -> Result<Option<RecordHash>, ApplierError>;
    /// Sections in the ledger, newest taken in.
    async fn sections(&self) -> Result<Vec<SignedSection>, ApplierError>;
    /// Pins of the leaf keys of every host that the newest sections taken in name, each a SHA-256 of 64 hex digits.
    async fn pins(&self) -> Result<BTreeSet<String>, ApplierError>;
    /// How to reach the local nats-server as the agent's system user.
    async fn system_login(&self) -> Result<LocalServer, ApplierError>;
    /// What an apply would do.
    async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, ApplierError>;
    /// Whether the host is fit for the cluster section that it holds. Changes nothing; no latency probe is run.
    async fn preflight(&self) -> Result<Preflight, ApplierError>;
    /// Does it. Events end with `Finished`, except when it is refused with an error before anything was done.
    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ApplierError>;
    /// Grants, renews or releases the lease.
    async fn lease(&self, order: LeaseOrder, caller: Caller) -> Result<LeaseAnswer, ApplierError>;
    /// Makes a change that is on trial permanent. Only over a connection that was opened after it began.
    async fn confirm(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError>;
    /// Ends a trial at once.
    async fn cancel(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError>;
    /// Takes in a claims section that a peer had; verified like any other. True when it was newer.
    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError>;
    /// Whether the loop that keeps the host goes round, or a change is under way that has not taken too long: what a
    /// watchdog asks.
    async fn beat(&self) -> Result<(), ApplierError>;
    /// Stops nats-server in order and returns when it is down (the process is about to end).
    async fn shut_down(&self);
}

/// What the applier asks of the front about the local nats-server and its neighbours. Observation only, but for
/// [`ServerView::push_claim`], which carries a JWT that only the operator can have signed, and [`ServerView::download`],
/// whose file is worth nothing unless it has the SHA-256 of a signed document.
#[async_trait]
pub trait ServerView: Send + Sync + 'static {
    /// `/varz` of the server that listens for monitoring at `monitor`.
    async fn running(&self, monitor: SocketAddr) -> RunningObserved;
    /// `/healthz` with the given query (`js-server-only=true`, `js-meta-only=true`), Ok when 200.
    async fn healthz(&self, monitor: SocketAddr, query: &str) -> Result<(), String>;
    /// Public keys of the accounts that the local nats-server knows, asked as the agent's system user; an error when it
    /// cannot be asked. What JWTs they have, the applier reads itself.
    async fn known_accounts(&self, server: &LocalServer) -> Result<BTreeSet<String>, String>;
    /// What every server of the system has for these accounts, by account; an account that none has is absent. Nothing
    /// is verified. An error when nobody can be asked.
    async fn account_jwts(
        &self,
        server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, String>;
    /// Pushes one account JWT to the local resolver and waits for this server's answer. Every other server of the system
    /// takes it too, be it older than what that has.
    async fn push_claim(&self, server: &LocalServer, jwt: &str) -> Result<(), String>;
    /// Downloads a file into the directory of [`AgentSettings::downloads`], as a file called by its SHA-256. Takes up
    /// to ten minutes. Whoever installs it checks the sum again.
    async fn download(&self, url: &DownloadUrl, sha256: &Sha256Hex) -> Result<(), String>;
    /// SHA-256 of the leaf that is served at a route or gateway port (TLS at once), or at a client port after INFO.
    async fn served_leaf(&self, address: SocketAddr, after_info: bool) -> Result<String, String>;
    /// Answers on these ports while the server is held, so that others can test reachability; an empty list lets go.
    async fn hold_ports(&self, ports: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>>;
    /// Answers the mesh probes of other hosts at this post from now on, until told otherwise; `None` lets go of it.
    /// Returns at once. The same post again changes nothing.
    async fn answer_probes(&self, post: Option<MeshPost>);
    /// Which other servers are reached from the post, at most ten seconds old; absent without one, or while the
    /// agent cannot log in. Takes 2.5 s at the longest.
    async fn mesh_row(&self) -> Option<MeshRow>;
}

/// Where this host stands in the mesh of all servers.
#[derive(Debug, Clone)]
pub struct MeshPost {
    /// This host, by which name others probe it.
    pub host: String,
    /// Every other host whose server this one must reach.
    pub others: BTreeSet<String>,
    /// The local server as the agent's system user.
    pub system: LocalServer,
    /// The same as the agent's probe user.
    pub probe: LocalServer,
}

/// How to reach the local nats-server as one of the agent's users.
#[derive(Debug, Clone)]
pub struct LocalServer {
    /// Client listener.
    pub client: SocketAddr,
    /// Name to verify its certificate by.
    pub address: IpAddr,
    /// Host CA certificate, PEM.
    pub host_ca_pem: String,
    /// JWT of the user.
    pub user_jwt: String,
    /// Key of the user. Redacted by its own type.
    pub user_key: Arc<identity::Nkey>,
}
