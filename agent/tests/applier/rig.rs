//! One host: a claimed applier in a temporary state directory, an authority that signs for it, a loopback address
//! of its own, and documents that ask for a cluster of one server.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use host_state::document::{ClaimsSection, ClusterSection};
use host_state::observed::RunningObserved;
use host_state::report::{ApplyEvent, Outcome, Report};
use host_state::{SectionHeader, SectionKind, SignedSection, layout};
use nats_agent::applier::{LocalApplier, OpenError, claim};
use nats_agent::front::{Network, monitor};
use nats_agent::parts::effects::Effects;
use nats_agent::roles::{
    AgentSettings, Applier, ApplierError, ApplyMode, ApplyOrder, ClaimState, LeaseAction, NewClaim, Place,
    ServiceUser,
};
use nats_agent::testing::{Author, LEASE, VERSION, caller};
use tokio::sync::mpsc;

use self::systemd::FakeSystemd;

#[path = "systemd.rs"]
mod systemd;

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
pub(crate) fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = (100 + (process >> 8 & 0x7f) as u8, (process & 0xff) as u8);
    Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub(crate) struct Rig {
    directory: tempfile::TempDir,
    state: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) author: Author,
    pub(crate) applier: Arc<LocalApplier>,
    systemd: Option<Arc<FakeSystemd>>,
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

impl Rig {
    /// A claimed host with nothing staged.
    pub(crate) async fn claimed() -> Rig {
        Rig::claimed_in(|_| Effects::default(), |_| None).await
    }

    /// The same, with the effects that `effects` makes for its state directory.
    pub(crate) async fn claimed_with(effects: impl FnOnce(&Path) -> Effects) -> Rig {
        Rig::claimed_in(effects, |_| None).await
    }

    async fn claimed_in(
        effects: impl FnOnce(&Path) -> Effects,
        systemd: impl FnOnce(&Path) -> Option<Arc<FakeSystemd>>,
    ) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let author = Author::new(address(), directory.path().join("store"));
        let address = author.address;
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        claim::offer(&Effects::default(), &state, &author.enrollment()).unwrap();
        let systemd = systemd(directory.path());
        let applier = open(&state, address, effects(&state), systemd.as_ref()).await;
        let rig = Rig { directory, state, address, author, applier, systemd };
        assert!(matches!(*rig.applier.claim_state().borrow(), ClaimState::Open(_)));
        rig.applier.bind(rig.claim(&rig.author.claim_id)).await.unwrap();
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

    /// As [`Rig::running`], on a host whose service manager is scripted.
    pub(crate) async fn running_on_host(edit: impl FnOnce(&mut ClusterSection)) -> Rig {
        let systemd = |root: &Path| Some(FakeSystemd::new(root.join("state"), root.join("units")));
        let mut rig = Rig::claimed_in(|_| Effects::default(), systemd).await;
        let section = rig.cluster(edit);
        let (outcome, report) = rig.roll(vec![section]).await;
        assert_eq!(outcome, Outcome::Confirmed, "{report:#?}");
        rig
    }

    /// The service manager of a host that has one.
    pub(crate) fn systemd(&self) -> &Arc<FakeSystemd> {
        self.systemd.as_ref().unwrap()
    }

    pub(crate) fn claim(&self, claim_id: &str) -> NewClaim {
        self.author.claim(&self.applier.host_keys(), claim_id)
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
        let old = std::mem::replace(
            &mut self.applier,
            open(nobody.path(), self.address, Effects::default(), None).await,
        );
        drop(old);
        self.applier = open(&state, self.address, effects, self.systemd.as_ref()).await;
    }

    /// The next `cluster` section: a cluster of one, released, as `edit` changes it.
    pub(crate) fn cluster(&mut self, edit: impl FnOnce(&mut ClusterSection)) -> SignedSection {
        let keys = self.applier.host_keys();
        self.author.cluster(&keys, edit)
    }

    pub(crate) fn claims(&mut self, section: &ClaimsSection) -> SignedSection {
        self.author.sign(SectionKind::Claims, "nats_authority/acme", section)
    }

    pub(crate) fn signed(&self, header: SectionHeader, body: String) -> SignedSection {
        self.author.signed(header, body)
    }

    pub(crate) fn plain_section(&self) -> ClusterSection {
        self.author.plain_section(&self.applier.host_keys())
    }

    pub(crate) async fn lease(&self, lease_id: &str, action: LeaseAction) -> bool {
        self.applier.lease(self.author.lease(lease_id, action), caller()).await.unwrap().granted
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
        let lease = self.applier.lease(self.author.lease(LEASE, LeaseAction::Acquire), caller()).await?;
        assert!(lease.granted);
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

/// Opens the applier; one that was just dropped may hold the directory a moment longer.
async fn open(
    state: &Path,
    address: IpAddr,
    effects: Effects,
    systemd: Option<&Arc<FakeSystemd>>,
) -> Arc<LocalApplier> {
    let mut settings =
        AgentSettings::of_process(state.to_owned(), SocketAddr::new(address, 8442), Some(binary()));
    if systemd.is_some() {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        settings.place = Place::Host(ServiceUser { uid, gid });
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let view = Arc::new(Network::new(settings.downloads.clone()));
        match LocalApplier::open_on(
            settings.clone(),
            view,
            effects.clone(),
            systemd.map(FakeSystemd::machine),
        ) {
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
