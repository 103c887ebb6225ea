//! A scripted agent, in process, over real TLS: for tests of whoever calls agents.
//!
//! It takes sections in by the same rules as a real one ([`host_state::admission`]), plans with the same
//! [`host_state::plan()`] and keeps a lease, but has no nats-server: what it "runs" is what it was last rolled to. A
//! [`Script`] makes it fail, be slow, stay down, report drift, or answer through the tunnel. It listens on 127.0.0.1
//! and stops when it is dropped.

mod enrolled;
mod model;
mod service;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host_state::audit::RecordHash;
use host_state::document::{ContentHash, Profile};
use host_state::preflight::{Check, Preflight, Verdict};
use host_state::report::{MeshRow, Outcome};
use host_state::{Drift, Finding, SignedSection};
use identity::{
    Authority, Enrollment, HostKeys, HostName, HostNames, HostSecret, HostSeeds, LeafPem, Trust, mint_leaf,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::order::NewClaim;
use crate::server::{
    Acceptor, ClaimedTls, ListenerTls, Method, Port, ServiceError, UnclaimedTls, self_signed, serve_claimed,
    serve_unclaimed,
};
use enrolled::Enrolled;
use model::Model;
use service::Service;

/// Accepts for all fakes of the process, of which there may be a thousand.
static ACCEPTOR: LazyLock<Acceptor> =
    LazyLock::new(|| Acceptor::start().expect("there can be one thread more"));
/// How long a fake's leaf lives.
const LEAF_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Answers of the fake's nats-server: from subject and payload to replies. None means nobody listens.
pub type Answers = Arc<dyn Fn(&str, &[u8]) -> Vec<Vec<u8>> + Send + Sync>;

/// What a fake does besides behaving.
#[derive(Clone)]
pub struct Script {
    /// Calls that fail, each time.
    pub fail: BTreeMap<Method, ServiceError>,
    /// Calls fail from some call on; absent: none.
    pub fail_from: Option<FailFrom>,
    /// How a claim is refused when it is about to be kept; absent: it is kept.
    pub refuse_claim: Option<ServiceError>,
    /// How long every call takes.
    pub delay: Duration,
    /// A released server does not come up.
    pub stays_down: bool,
    /// How every roll ends instead of `Confirmed`.
    pub outcome: Option<Outcome>,
    /// What its checks say; one that passes, by default.
    pub preflight: Preflight,
    /// What the report says; a roll that ends well clears it.
    pub drift: Vec<Drift>,
    /// What the report says.
    pub findings: Vec<Finding>,
    /// Hashes of the audit log's records, oldest first.
    pub audit: Vec<RecordHash>,
    /// What the report says; absent: every neighbour is reached while a server runs.
    pub mesh: Option<MeshRow>,
    /// Answered instead of the claims in its ledger, as by a host that lies; absent: it does not.
    pub claims: Option<SignedSection>,
    /// Targets that a probe does not reach.
    pub unreachable: BTreeSet<String>,
    /// Pins of the keys of peers that it lets in, 64 lower-case hex digits each; none by default.
    pub peers: BTreeSet<String>,
    /// Each roll puts firewall rules on trial.
    pub trials: bool,
    /// The token has died.
    pub token_expired: bool,
    /// What the tunnel answers; nobody listens on anything by default.
    pub answers: Answers,
}

/// See [`Script::fail_from`].
#[derive(Debug, Clone)]
pub struct FailFrom {
    /// The call that is the first to fail: of this method,
    pub method: Method,
    /// after so many of it.
    pub after: usize,
    /// Whether calls of other methods fail from then on too, as of a host that is gone.
    pub everything: bool,
    /// How.
    pub failure: ServiceError,
}

impl FailFrom {
    /// How a call fails; `calls` ends with it.
    fn of(&self, calls: &[Method]) -> Option<ServiceError> {
        let Self { method, after, everything, failure } = self;
        let has_begun = calls.iter().filter(|call| *call == method).count() > *after;
        let is_meant = *everything || calls.last() == Some(method);
        (has_begun && is_meant).then(|| failure.clone())
    }
}

impl Default for Script {
    /// Behaves.
    fn default() -> Script {
        Script {
            fail: BTreeMap::new(),
            fail_from: None,
            refuse_claim: None,
            delay: Duration::ZERO,
            stays_down: false,
            outcome: None,
            preflight: Preflight {
                directory: "/data".to_owned(),
                profile: Profile::Production,
                checks: vec![Check {
                    name: "file_system".to_owned(),
                    value: "xfs".to_owned(),
                    threshold: "ext4 or xfs".to_owned(),
                    verdict: Verdict::Pass,
                    remedy: None,
                }],
            },
            drift: Vec::new(),
            findings: Vec::new(),
            audit: Vec::new(),
            mesh: None,
            claims: None,
            unreachable: BTreeSet::new(),
            peers: BTreeSet::new(),
            trials: false,
            token_expired: false,
            answers: Arc::new(|_, _| Vec::new()),
        }
    }
}

/// One running fake.
pub struct FakeAgent {
    address: SocketAddr,
    keys: HostKeys,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    _serving: JoinHandle<()>,
}

/// What its services share.
struct Shared {
    secret: HostSecret,
    script: Mutex<Script>,
    model: Mutex<Model>,
    enrollment: Option<Arc<Enrollment>>,
    claimed: watch::Sender<Option<Arc<Claimed>>>,
}

/// A claim and what it serves with.
struct Claimed {
    claim: NewClaim,
    tls: Arc<ListenerTls>,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys of a host by its name: the same each time, so only for tests.
pub fn host_secret(host: &str) -> HostSecret {
    let seed = |purpose: &str| {
        let hash = ContentHash::of(&format!("{host}/{purpose}"));
        let mut seed = Zeroizing::new([0_u8; 32]);
        seed.copy_from_slice(&hash.as_str().as_bytes()[..32]);
        seed
    };
    HostSecret::from_seeds(&HostSeeds {
        issuer: seed("issuer"),
        leaf: seed("leaf"),
        system_user: seed("system user"),
        probe_user: seed("probe user"),
    })
}

/// Names of a host on 127.0.0.1.
pub fn host_names(host: &str) -> HostNames {
    HostNames {
        host: host.parse().expect("tests name hosts well"),
        dns: BTreeSet::new(),
        ips: BTreeSet::from([std::net::Ipv4Addr::LOCALHOST.into()]),
    }
}

/// The claim id that [`FakeAgent::claimed`] gives a host.
pub fn claim_id(host: &str) -> String {
    ContentHash::of(host).as_str()[..32].to_owned()
}

impl FakeAgent {
    /// A host that `authority` has claimed.
    pub async fn claimed(authority: &Authority, host: &str) -> FakeAgent {
        FakeAgent::claimed_at(authority, host, OffsetDateTime::now_utc(), LEAF_LIFE).await
    }

    /// The same with a leaf minted at `now` for `life`, as of an agent that has missed its renewal.
    pub async fn claimed_at(
        authority: &Authority,
        host: &str,
        now: OffsetDateTime,
        life: Duration,
    ) -> FakeAgent {
        let secret = host_secret(host);
        let names = host_names(host);
        let year = Duration::from_secs(365 * 86_400);
        let issuer = authority.issuer(&secret.keys(), &names, now, year).expect("tests name hosts well");
        let leaf = mint_leaf(&secret, &issuer, &names, now, life).expect("the issuer is this host's");
        let claim = NewClaim {
            generation: 1,
            claim_id: claim_id(host),
            trust: authority.trust(),
            issuer_pem: issuer.as_str().to_owned(),
            names,
        };
        let claimed = Claimed { tls: claimed_tls(&secret, &leaf, &claim.trust), claim };
        start(secret, None, Some(Arc::new(claimed))).await
    }

    /// A bare host that was given `enrollment`; becomes claimed when it is.
    pub async fn unclaimed(enrollment: Enrollment) -> FakeAgent {
        let secret = host_secret(enrollment.host.as_str());
        start(secret, Some(Arc::new(enrollment)), None).await
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its public keys.
    pub fn host_keys(&self) -> &HostKeys {
        &self.keys
    }

    /// Changes what it does from the next call on.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script());
    }

    /// Every call that came so far, those that failed by the script included.
    pub fn calls(&self) -> Vec<Method> {
        self.shared.model().calls.clone()
    }

    /// Ends the lease, as its time would.
    pub fn end_lease(&self) {
        self.shared.model().lease = None;
    }

    /// Sections in its ledger.
    pub fn sections(&self) -> Vec<SignedSection> {
        self.shared.model().sections()
    }

    /// The claim; `None` while it has none.
    pub fn claim(&self) -> Option<NewClaim> {
        self.shared.claimed.borrow().as_ref().map(|claimed| claimed.claim.clone())
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn claimed_tls(secret: &HostSecret, leaf: &LeafPem, trust: &Trust) -> Arc<ListenerTls> {
    let tls = ClaimedTls {
        chain_pem: leaf.chain(),
        key: secret.leaf_key_der(),
        fleet_ca: trust.fleet_ca_bundle(),
        host_ca: trust.host_ca_bundle(),
        authority: trust.authority.clone(),
    };
    Arc::new(tls.build().expect("a leaf of our own fits its key"))
}

async fn start(
    secret: HostSecret,
    enrollment: Option<Arc<Enrollment>>,
    claimed: Option<Arc<Claimed>>,
) -> FakeAgent {
    let port =
        Port::bind((std::net::Ipv4Addr::LOCALHOST, 0).into(), &ACCEPTOR).expect("loopback has free ports");
    let address = port.local_addr().expect("a bound socket has an address");
    let (stop, stopped) = watch::channel(false);
    let keys = secret.keys();
    let shared = Arc::new(Shared {
        secret,
        script: Mutex::new(Script::default()),
        model: Mutex::new(Model::default()),
        enrollment,
        claimed: watch::Sender::new(claimed),
    });
    let serving = tokio::spawn(live(port, shared.clone(), stopped));
    FakeAgent { address, keys, shared, stop, _serving: serving }
}

/// Both lives of an agent, one after the other, on one port.
async fn live(port: Port, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let stop = |mut stopped: watch::Receiver<bool>| async move {
        // The sender goes away only with the fake itself.
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    };
    let mut claims = shared.claimed.subscribe();
    let is_claimed = claims.borrow().is_some();
    if let Some(enrollment) = shared.enrollment.as_ref().filter(|_| !is_claimed) {
        let tls = unclaimed_tls(&shared.secret, enrollment);
        let (_keep, tls) = watch::channel(tls);
        let service = Arc::new(Enrolled::new(shared.clone()));
        let claimed = async {
            tokio::select! {
                () = stop(stopped.clone()) => {}
                _ = claims.wait_for(Option::is_some) => {}
            }
        };
        if let Err(error) = serve_unclaimed(&port, tls, service, claimed).await {
            tracing::error!(error = %host_state::chain(&error), "the fake's port failed");
        }
    }
    let claimed = shared.claimed.borrow().clone();
    if let Some(claimed) = claimed.filter(|_| !*stopped.borrow()) {
        let (_keep, tls) = watch::channel(claimed.tls.clone());
        let service = Arc::new(Service::new(shared.clone(), claimed));
        if let Err(error) = serve_claimed(&port, tls, service, stop(stopped)).await {
            tracing::error!(error = %host_state::chain(&error), "the fake's port failed");
        }
    }
}

fn unclaimed_tls(secret: &HostSecret, enrollment: &Enrollment) -> Arc<ListenerTls> {
    let key = secret.leaf_key_der();
    let tls = UnclaimedTls {
        certificate: self_signed(&key).expect("a leaf key signs"),
        key,
        fleet_ca: enrollment.fleet_ca.as_str().to_owned(),
        authority: enrollment.authority.clone(),
    };
    Arc::new(tls.build().expect("a self-signed certificate fits its key"))
}

/// A host's name from text, for tests.
pub fn host_name(host: &str) -> HostName {
    host.parse().expect("tests name hosts well")
}
