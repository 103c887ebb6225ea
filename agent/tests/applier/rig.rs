//! One host: a claimed applier in a temporary state directory, an authority that signs for it, a loopback address
//! of its own, and documents that ask for a cluster of one server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use host_state::document::{
    AgentUsers, BinarySource, ClaimsSection, ClusterSection, ContentHash, FirewallIntent, HostTls, OnDrift,
    Profile, Release, SECTION_DOMAIN, ServerBinary, StoreIdentity, StoreSpec, canonical,
};
use host_state::observed::RunningObserved;
use host_state::report::{ApplyEvent, Outcome, Report};
use host_state::{SectionHeader, SectionKind, SignedSection, layout};
use identity::{Authority, Generations, HostNames, Role, RootKey, Trust};
use nats_agent::applier::{LocalApplier, OpenError, claim};
use nats_agent::front::{Network, monitor};
use nats_agent::parts::effects::Effects;
use nats_agent::roles::{
    AgentSettings, Applier, ApplierError, ApplyMode, ApplyOrder, Caller, ClaimState, LeaseAction, LeaseOrder,
    NewClaim,
};
use nats_config::{
    ByteSize, ClientListener, ClusterListener, FullResolver, HostPort, JetStream, JetStreamLimits, LameDuck,
    ListenerTls, Logging, MonitorListener, NatsDuration, OperatorTrust, ServerConfig, ServerLimits,
    SyncInterval,
};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::mpsc;

pub(crate) const HOST: &str = "east-1";
const VERSION: &str = "2.15.1";
const HOUR: Duration = Duration::from_secs(3600);
const LEASE: &str = "11111111111111111111111111111111";

/// The pinned nats-server: the one that `cargo xtask tools` puts under the target folder.
pub(crate) fn binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let binary = target.join(format!("tools/nats-server-{VERSION}/nats-server"));
    assert!(
        binary.is_file(),
        "no nats-server {VERSION} at `{}`: `cargo xtask tools` fetches it",
        binary.display()
    );
    binary.canonicalize().unwrap()
}

/// An address that no other test of this or another process listens on.
fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = (100 + (process >> 8 & 0x7f) as u8, (process & 0xff) as u8);
    Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub(crate) struct Rig {
    directory: tempfile::TempDir,
    state: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) authority: Authority,
    pub(crate) applier: Arc<LocalApplier>,
    pub(crate) claim_id: String,
    heads: BTreeMap<SectionKind, SectionHeader>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A server belongs to this rig alone when it works in its directory.
        if let Some(pid) = server_in(self.state()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The process that works in `state_dir`.
pub(crate) fn server_in(state_dir: &Path) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let cwd = std::fs::read_link(entry.path().join("cwd")).ok()?;
        (cwd == state_dir && pid != std::process::id()).then_some(pid)
    })
}

pub(crate) fn authority() -> Authority {
    let root = RootKey::from_bytes(std::array::from_fn(|i| 7 + i as u8)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

fn names(address: IpAddr) -> HostNames {
    HostNames { host: HOST.parse().unwrap(), dns: BTreeSet::new(), ips: BTreeSet::from([address]) }
}

impl Rig {
    /// A claimed host with nothing staged.
    pub(crate) async fn claimed() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let (address, authority) = (address(), authority());
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        claim::offer(&Effects::default(), &state, &authority.enrollment(HOST.parse().unwrap(), 1).to_text())
            .unwrap();
        let applier = open(&state, address, Effects::default()).await;
        let claim_id = "c".repeat(32);
        let rig = Rig { directory, state, address, authority, applier, claim_id, heads: BTreeMap::new() };
        assert!(matches!(*rig.applier.claim_state().borrow(), ClaimState::Open(_)));
        rig.applier.bind(rig.claim(&rig.claim_id)).await.unwrap();
        rig
    }

    /// A host that runs the plain document.
    pub(crate) async fn running(edit: impl FnOnce(&mut ClusterSection)) -> Rig {
        let mut rig = Rig::claimed().await;
        let section = rig.cluster(edit);
        let (outcome, report) = rig.roll(vec![section]).await;
        assert_eq!(outcome, Outcome::Confirmed, "{report:#?}");
        rig
    }

    pub(crate) fn claim(&self, claim_id: &str) -> NewClaim {
        let (keys, names) = (self.applier.host_keys(), names(self.address));
        let issuer = self.authority.issuer(&keys, &names, OffsetDateTime::now_utc(), 24 * HOUR).unwrap();
        NewClaim {
            generation: 1,
            claim_id: claim_id.to_owned(),
            trust: self.authority.trust(),
            issuer_pem: issuer.as_str().to_owned(),
            names,
        }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// As a crash of the agent, and its start: memory is lost, the server lives.
    pub(crate) async fn reopen(&mut self, effects: Effects) {
        let state = self.state.clone();
        // The old one has to go first: it holds the directory.
        let nobody = tempfile::tempdir().unwrap();
        let old =
            std::mem::replace(&mut self.applier, open(nobody.path(), self.address, Effects::default()).await);
        drop(old);
        self.applier = open(&state, self.address, effects).await;
    }

    /// The next `cluster` section: a cluster of one, released, as `edit` changes it.
    pub(crate) fn cluster(&mut self, edit: impl FnOnce(&mut ClusterSection)) -> SignedSection {
        let mut section = self.plain_section();
        edit(&mut section);
        self.sign(SectionKind::Cluster, "nats_cluster/east", &section)
    }

    pub(crate) fn claims(&mut self, section: &ClaimsSection) -> SignedSection {
        self.sign(SectionKind::Claims, "nats_authority/acme", section)
    }

    /// Signs `body` as the generation after the last one that was signed here.
    pub(crate) fn sign<T: Serialize>(
        &mut self,
        section: SectionKind,
        owner: &str,
        body: &T,
    ) -> SignedSection {
        let head = self.heads.get(&section);
        let body = canonical(body);
        let is_bound = section != SectionKind::Claims;
        let header = SectionHeader {
            authority: self.authority.trust().operator.to_string(),
            section,
            owner: owner.to_owned(),
            host: is_bound.then(|| HOST.to_owned()),
            claim_id: is_bound.then(|| self.claim_id.clone()),
            generation: head.map_or(1, |head| head.generation + 1),
            parent: head.map(|head| head.content.clone()),
            content: ContentHash::of(&body),
            document_key: 1,
            writer: "test".to_owned(),
        };
        self.heads.insert(section, header.clone());
        self.signed(header, body)
    }

    pub(crate) fn signed(&self, header: SectionHeader, body: String) -> SignedSection {
        let signature = self.authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
        SignedSection { header, body, signature: BASE64.encode(&signature) }
    }

    pub(crate) fn plain_section(&self) -> ClusterSection {
        let (trust, keys, now) =
            (self.authority.trust(), self.applier.host_keys(), OffsetDateTime::now_utc());
        let names = names(self.address);
        // Whole days ago, so that one test signs one issuer.
        let since = now.replace_time(time::Time::MIDNIGHT);
        let issuer = self.authority.issuer(&keys, &names, since, 48 * HOUR).unwrap();
        let host = HOST.parse().unwrap();
        let expires = now + 24 * HOUR;
        let directory = self.store().display().to_string();
        ClusterSection {
            cluster: "east".to_owned(),
            host: HOST.to_owned(),
            profile: Profile::Development,
            trust: serde_json::to_value(&trust).unwrap(),
            server: ServerBinary { version: VERSION.to_owned(), source: BinarySource::Agent },
            config: self.config(&trust, &directory),
            gateway: None,
            tls: HostTls {
                issuer: issuer.as_str().to_owned(),
                host_ca: trust.host_ca_bundle(),
                fleet_ca: trust.fleet_ca_bundle(),
                dns_names: BTreeSet::from([HOST.to_owned()]),
                addresses: BTreeSet::from([self.address]),
            },
            users: AgentUsers {
                system_jwt: self
                    .authority
                    .system_user_jwt(&host, &keys.system_user, now, expires)
                    .to_string(),
                probe_jwt: self.authority.probe_user_jwt(&host, &keys.probe_user, now, expires).to_string(),
            },
            store: StoreSpec {
                directory,
                mode: 0o700,
                identity: StoreIdentity {
                    authority: trust.operator.to_string(),
                    cluster: "east".to_owned(),
                    server_name: HOST.to_owned(),
                    system_account: trust.system_account.to_string(),
                },
            },
            peers: BTreeMap::new(),
            firewall: FirewallIntent { clients: Vec::new(), metrics: Vec::new() },
            on_drift: OnDrift::Report,
            release: Some(Release {
                meta_lineage: "a".repeat(32),
                members: BTreeSet::from([HOST.to_owned()]),
            }),
            declared: serde_json::Value::Null,
        }
    }

    fn config(&self, trust: &Trust, store_dir: &str) -> ServerConfig {
        let tls = |verify| ListenerTls {
            cert_file: layout::CERT_PATH.to_owned(),
            key_file: layout::KEY_PATH.to_owned(),
            ca_file: layout::CA_PATH.to_owned(),
            verify,
            timeout: NatsDuration::from_secs(5),
            pinned_certs: BTreeSet::new(),
        };
        let preload = [
            (&trust.system_account, &trust.system_account_jwt),
            (&trust.probe_account, &trust.probe_account_jwt),
        ];
        ServerConfig {
            server_name: HOST.parse().unwrap(),
            client: ClientListener { address: self.address, port: 4222, advertise: None, tls: tls(false) },
            monitor: Some(MonitorListener { address: self.address, port: 8222 }),
            cluster: Some(ClusterListener {
                name: "east".parse().unwrap(),
                address: self.address,
                port: 5222,
                advertise: None,
                no_advertise: false,
                routes: BTreeSet::from([HostPort::new(self.address, 5222).unwrap()]),
                tls: tls(true),
            }),
            gateway: None,
            jetstream: Some(JetStream {
                store_dir: store_dir.to_owned(),
                max_memory: ByteSize::from_bytes(64 << 20).unwrap(),
                max_storage: ByteSize::from_bytes(256 << 20).unwrap(),
                unique_tag: None,
                sync: SyncInterval::Always,
                domain: None,
                limits: JetStreamLimits::default(),
            }),
            trust: Some(OperatorTrust {
                operator_jwt: trust.operator_jwt.to_string(),
                system_account: trust.system_account.to_string(),
                resolver: FullResolver {
                    dir: layout::RESOLVER.to_owned(),
                    allow_delete: true,
                    interval: NatsDuration::from_secs(120),
                    timeout: NatsDuration::from_secs(2),
                    limit: 1000,
                },
                preload: preload.into_iter().map(|(key, jwt)| (key.to_string(), jwt.to_string())).collect(),
            }),
            limits: ServerLimits::default(),
            logging: Logging { log_file: Some(layout::LOG_FILE.to_owned()), ..Logging::default() },
            tags: BTreeSet::new(),
            lame_duck: LameDuck {
                duration: NatsDuration::from_secs(30),
                grace_period: NatsDuration::from_secs(2),
            },
            pid_file: Some(layout::PID_FILE.to_owned()),
            extra: serde_json::Map::new(),
        }
    }

    pub(crate) async fn lease(&self, lease_id: &str, action: LeaseAction) -> bool {
        let signed = canonical(&[lease_id, "test"]);
        let signature = self.authority.document_key().sign("nats-agent/lease/v1", signed.as_bytes());
        let order = LeaseOrder {
            lease_id: lease_id.to_owned(),
            holder: "test".to_owned(),
            action,
            ttl_ms: 60_000,
            signature: BASE64.encode(&signature),
        };
        self.applier.lease(order, caller()).await.unwrap().granted
    }

    pub(crate) async fn roll(&self, sections: Vec<SignedSection>) -> (Outcome, Report) {
        self.apply(sections, ApplyMode::Roll).await.unwrap()
    }

    pub(crate) async fn stage(&self, sections: Vec<SignedSection>) -> (Outcome, Report) {
        self.apply(sections, ApplyMode::Stage).await.unwrap()
    }

    pub(crate) async fn apply(
        &self,
        sections: Vec<SignedSection>,
        mode: ApplyMode,
    ) -> Result<(Outcome, Report), ApplierError> {
        assert!(self.lease(LEASE, LeaseAction::Acquire).await);
        let (sender, mut events) = mpsc::channel(64);
        let order = ApplyOrder { sections, mode, lease_id: LEASE.to_owned() };
        self.applier.apply(order, caller(), sender).await?;
        while let Some(event) = events.recv().await {
            if let ApplyEvent::Finished { outcome, report } = event {
                return Ok((outcome, *report));
            }
        }
        panic!("an apply ends with `Finished`");
    }

    pub(crate) async fn report(&self) -> Report {
        self.applier.observe().await.unwrap()
    }

    pub(crate) fn monitor(&self) -> SocketAddr {
        SocketAddr::new(self.address, 8222)
    }

    pub(crate) async fn digest(&self) -> Option<String> {
        match monitor::running(self.monitor()).await {
            RunningObserved::Answered { digest, .. } => Some(digest),
            RunningObserved::Stopped | RunningObserved::Silent { .. } => None,
        }
    }

    /// Every managed file, the links as where they point.
    pub(crate) fn current_files(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(self.state().join(layout::CURRENT)) else {
            return BTreeMap::new();
        };
        let read = |entry: std::fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap())
        };
        entries.map(|entry| read(entry.unwrap())).collect()
    }
}

pub(crate) fn caller() -> Caller {
    Caller { role: Role::Operator, serial: "01".to_owned() }
}

/// Opens the applier; one that was just dropped may hold the directory a moment longer.
async fn open(state: &Path, address: IpAddr, effects: Effects) -> Arc<LocalApplier> {
    let settings = AgentSettings {
        state_dir: state.to_owned(),
        listen: SocketAddr::new(address, 8442),
        nats_server: Some(binary()),
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let view = Arc::new(Network::new(&settings));
        match LocalApplier::open_with(settings.clone(), view, effects.clone()) {
            Ok(applier) => return applier,
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{}", host_state::chain(&error)),
        }
    }
}

/// Waits for a level, with a deadline.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
