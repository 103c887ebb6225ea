//! An applier that keeps what it is told in memory, and an authority to tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use host_state::document::Profile;
use host_state::preflight::Preflight;
use host_state::report::{ApplyEvent, Outcome, Report, RunStatus};
use host_state::{Plan, SignedSection};
use identity::{
    Authority, CertificatePem, ClientIdentity, Generations, HostKeys, HostNames, HostSecret, HostSeeds, Role,
    RootKey, mint_leaf,
};
use nats_agent::front::Front;
use nats_agent::roles::{
    ApiIdentity, Applier, ApplierError, ApplyOrder, Caller, ClaimState, Claimed, LeaseAnswer, LeaseOrder,
    LocalServer, NewClaim, OpenDoor, PrivateKeyPem, TrialWish,
};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, watch};
use zeroize::Zeroizing;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// An authority whose root key is `seed`.
pub(crate) fn authority(seed: u8) -> Authority {
    let root = RootKey::from_bytes(std::array::from_fn(|i| seed.wrapping_add(i as u8))).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

pub(crate) fn caller(authority: &Authority, role: &Role) -> ClientIdentity {
    let seed = Zeroizing::new([9; 32]);
    authority.client_certificate(role, &seed, OffsetDateTime::now_utc(), HOUR).unwrap()
}

pub(crate) struct Scripted {
    pub(crate) secret: HostSecret,
    pub(crate) state: watch::Sender<ClaimState>,
    pub(crate) identity: watch::Sender<Option<Arc<ApiIdentity>>>,
    pub(crate) sections: Mutex<Vec<SignedSection>>,
    pub(crate) taken: Mutex<Vec<SignedSection>>,
    pub(crate) orders: Mutex<Vec<(ApplyOrder, Caller)>>,
    /// An apply ends only when it gets one of these.
    pub(crate) may_end: Semaphore,
    pub(crate) drift: Mutex<Vec<host_state::Drift>>,
    /// How often it was looked at.
    pub(crate) sweeps: AtomicUsize,
    /// How its nats-server is reached, when there is one.
    pub(crate) login: Mutex<Option<LocalServer>>,
    /// Why its loop is not well; absent while it is.
    pub(crate) stuck: Mutex<Option<String>>,
}

impl Scripted {
    /// A host with keys of its own, its door closed.
    pub(crate) fn new(seed: u8) -> Arc<Scripted> {
        let key = |n: u8| Zeroizing::new([seed.wrapping_mul(4).wrapping_add(n); 32]);
        let seeds = HostSeeds { issuer: key(1), leaf: key(2), system_user: key(3), probe_user: key(4) };
        Arc::new(Scripted {
            secret: HostSecret::from_seeds(&seeds),
            state: watch::Sender::new(ClaimState::Closed),
            identity: watch::Sender::new(None),
            sections: Mutex::default(),
            taken: Mutex::default(),
            orders: Mutex::default(),
            may_end: Semaphore::new(0),
            drift: Mutex::default(),
            sweeps: AtomicUsize::new(0),
            login: Mutex::default(),
            stuck: Mutex::default(),
        })
    }

    pub(crate) fn open_door(&self, authority: &Authority, host: &str, expires_at: i64) {
        let enrollment = Arc::new(authority.enrollment(host.parse().unwrap(), 1));
        self.state.send_replace(ClaimState::Open(OpenDoor { enrollment, expires_at }));
    }

    pub(crate) fn names(host: &str, address: &str) -> HostNames {
        HostNames { host: host.parse().unwrap(), dns: [].into(), ips: [address.parse().unwrap()].into() }
    }

    /// As if `authority` had claimed it.
    pub(crate) fn claimed_by(&self, authority: &Authority, host: &str, address: &str) {
        let names = Scripted::names(host, address);
        let issuer =
            authority.issuer(&self.secret.keys(), &names, OffsetDateTime::now_utc(), 24 * HOUR).unwrap();
        self.keep(authority.trust(), &issuer, &names, "0123456789abcdef0123456789abcdef");
    }

    fn keep(&self, trust: identity::Trust, issuer: &CertificatePem, names: &HostNames, claim_id: &str) {
        self.renew(issuer, names, HOUR);
        let claimed = Claimed {
            host: names.host.to_string(),
            generation: 1,
            claim_id: claim_id.to_owned(),
            trust,
            host_keys: self.secret.keys(),
        };
        self.state.send_replace(ClaimState::Claimed(Arc::new(claimed)));
    }

    /// A new leaf; of another validity it is another one, even within the same second.
    pub(crate) fn renew(&self, issuer: &CertificatePem, names: &HostNames, validity: Duration) {
        let leaf = mint_leaf(&self.secret, issuer, names, OffsetDateTime::now_utc(), validity).unwrap();
        let chain_pem = format!("{}{}", leaf.leaf.as_str(), issuer.as_str());
        self.identity.send_replace(Some(Arc::new(ApiIdentity { chain_pem, key: self.leaf_key() })));
    }

    pub(crate) async fn serve(self: &Arc<Self>, listen: &str, state_dir: &std::path::Path) -> Front {
        let applier = Arc::clone(self) as Arc<dyn Applier>;
        Front::start(listen.parse().unwrap(), state_dir, applier).await.unwrap()
    }

    fn report(&self) -> Report {
        Report {
            agent_version: "0.0.0".to_owned(),
            claim: None,
            sections: BTreeMap::new(),
            rendition: None,
            run: RunStatus::Empty,
            meta_lineage: None,
            formed: false,
            server: None,
            drift: self.drift.lock().unwrap().clone(),
            findings: Vec::new(),
            mesh: None,
            certificates: BTreeMap::new(),
            audit: None,
            firewall: None,
            observed_at: 1_700_000_000,
        }
    }
}

#[async_trait]
impl Applier for Scripted {
    fn claim_state(&self) -> watch::Receiver<ClaimState> {
        self.state.subscribe()
    }

    fn api_identity(&self) -> watch::Receiver<Option<Arc<ApiIdentity>>> {
        self.identity.subscribe()
    }

    fn host_keys(&self) -> HostKeys {
        self.secret.keys()
    }

    fn leaf_key(&self) -> PrivateKeyPem {
        PrivateKeyPem::new(self.secret.leaf_key_pem())
    }

    async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError> {
        let NewClaim { generation: _, claim_id, trust, issuer_pem, names } = claim;
        let issuer: CertificatePem = issuer_pem
            .parse()
            .map_err(|_| ApplierError::InvalidDocument("the issuer is no certificate".to_owned()))?;
        self.keep(trust, &issuer, &names, &claim_id);
        Ok(())
    }

    async fn observe(&self) -> Result<Report, ApplierError> {
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        // As long as a real sweep takes at the least.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(self.report())
    }

    async fn audit_hash(&self, _seq: u64) -> Result<Option<host_state::audit::RecordHash>, ApplierError> {
        Ok(None)
    }

    async fn sections(&self) -> Result<Vec<SignedSection>, ApplierError> {
        Ok(self.sections.lock().unwrap().clone())
    }

    async fn pins(&self) -> Result<BTreeSet<String>, ApplierError> {
        let pinned = nats_agent::applier::pins::pinned(&self.sections.lock().unwrap());
        pinned.map_err(|error| ApplierError::Failed(host_state::chain(&error)))
    }

    async fn system_login(&self) -> Result<LocalServer, ApplierError> {
        self.login.lock().unwrap().clone().ok_or_else(|| ApplierError::Failed("no server here".to_owned()))
    }

    async fn preflight(&self) -> Result<Preflight, ApplierError> {
        Ok(Preflight { directory: "/data".to_owned(), profile: Profile::Development, checks: Vec::new() })
    }

    async fn preview(&self, _sections: Vec<SignedSection>) -> Result<Plan, ApplierError> {
        Err(ApplierError::InvalidDocument("its signature is wrong".to_owned()))
    }

    async fn apply(
        &self,
        order: ApplyOrder,
        caller: Caller,
        events: mpsc::Sender<ApplyEvent>,
    ) -> Result<(), ApplierError> {
        self.orders.lock().unwrap().push((order, caller));
        let _gone = events.send(ApplyEvent::Started { step: "wait".to_owned() }).await;
        self.may_end.acquire().await.unwrap().forget();
        let finished = ApplyEvent::Finished { outcome: Outcome::Confirmed, report: Box::new(self.report()) };
        let _gone = events.send(finished).await;
        self.orders.lock().unwrap().clear();
        Ok(())
    }

    async fn lease(&self, order: LeaseOrder, _caller: Caller) -> Result<LeaseAnswer, ApplierError> {
        Ok(LeaseAnswer { granted: true, holder: order.holder, remaining_ms: order.ttl_ms })
    }

    async fn confirm(&self, wish: TrialWish, _caller: Caller) -> Result<(), ApplierError> {
        Err(ApplierError::Conflict(format!("no change is on trial, so not `{}` either", wish.trial_id)))
    }

    async fn cancel(&self, wish: TrialWish, caller: Caller) -> Result<(), ApplierError> {
        self.confirm(wish, caller).await
    }

    async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        self.taken.lock().unwrap().push(section);
        Ok(true)
    }

    async fn beat(&self) -> Result<(), ApplierError> {
        let stuck = self.stuck.lock().unwrap().clone();
        stuck.map_or(Ok(()), |reason| Err(ApplierError::Failed(reason)))
    }

    async fn shut_down(&self) {}
}
