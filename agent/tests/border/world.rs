//! One host whose front and applier each have their own end of a socket, and can each go and come again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_state::SignedSection;
use host_state::document::ClusterSection;
use host_state::report::{ApplyEvent, Outcome, Report};
use nats_agent::applier::{LocalApplier, OpenError, claim};
use nats_agent::border::{self, FrontUser, RemoteApplier, RemoteView};
use nats_agent::front::{Front, Network};
use nats_agent::parts::effects::Effects;
use nats_agent::roles::{
    AgentSettings, Applier, ApplierError, ApplyMode, ApplyOrder, LeaseAction, ServerView,
};
use nats_agent::testing::{Author, LEASE, caller};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rig;

/// The applier's process, as far as one is needed.
pub(crate) struct ApplierSide {
    pub(crate) applier: Arc<dyn Applier>,
    pub(crate) view: Arc<RemoteView>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl ApplierSide {
    /// Opens the border before `applier` in the directory `sockets`.
    pub(crate) async fn open(
        sockets: &Path,
        applier: Arc<dyn Applier>,
        view: Arc<RemoteView>,
    ) -> ApplierSide {
        let socket = border::open(sockets, FrontUser::Own).await.unwrap();
        let stop = CancellationToken::new();
        let (served, seen) = (Arc::clone(&applier), Arc::clone(&view));
        let serving = tokio::spawn(border::serve(socket, FrontUser::Own, served, seen, stop.clone()));
        ApplierSide { applier, view, stop, serving }
    }

    /// As the end of its process: nobody answers any more, a running nats-server goes on.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

/// The front's process.
pub(crate) struct FrontSide {
    pub(crate) applier: Arc<RemoteApplier>,
    pub(crate) front: Front,
}

pub(crate) async fn connect(sockets: &Path, view: Arc<dyn ServerView>) -> Arc<RemoteApplier> {
    RemoteApplier::connect(&sockets.join(border::SOCKET_NAME), view, Duration::from_secs(10)).await.unwrap()
}

/// A host.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) address: IpAddr,
    pub(crate) author: Author,
}

impl Drop for World {
    fn drop(&mut self) {
        // A server belongs to this host alone when it works in its directory.
        if let Some(pid) = rig::server_in(&self.state()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl World {
    /// An unclaimed host with an enrolment.
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let author = Author::new(rig::address(), folder.path().join("store"));
        let world = World { address: author.address, author, folder };
        std::fs::create_dir(world.state()).unwrap();
        std::fs::create_dir(world.sockets()).unwrap();
        claim::offer(&Effects::default(), &world.state(), &world.author.enrollment()).unwrap();
        world
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.address, 8442)
    }

    fn settings(&self) -> AgentSettings {
        let settings = AgentSettings::of_process(self.state(), self.listen(), Some(rig::binary()));
        AgentSettings { sockets: self.sockets(), ..settings }
    }

    /// The applier starts; the one before may hold the directory a moment longer.
    pub(crate) async fn applier(&self) -> ApplierSide {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let view = Arc::new(RemoteView::default());
            match LocalApplier::open(self.settings(), Arc::clone(&view) as Arc<dyn ServerView>) {
                Ok(applier) => return ApplierSide::open(&self.sockets(), applier, view).await,
                Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{}", host_state::chain(&error)),
            }
        }
    }

    /// The front starts.
    pub(crate) async fn front(&self) -> FrontSide {
        let settings = self.settings();
        let applier = connect(&self.sockets(), Arc::new(Network::new(settings.downloads.clone()))).await;
        let front =
            Front::start(settings.listen, &settings.sockets, Arc::clone(&applier) as Arc<dyn Applier>)
                .await
                .unwrap();
        FrontSide { applier, front }
    }

    /// Claims the host, as its authority does.
    pub(crate) async fn claim(&self, applier: &dyn Applier) {
        applier.bind(self.author.claim(&applier.host_keys(), &self.author.claim_id)).await.unwrap();
    }

    /// The next `cluster` section: a cluster of one, released, as `edit` changes it.
    pub(crate) fn cluster(
        &mut self,
        applier: &dyn Applier,
        edit: impl FnOnce(&mut ClusterSection),
    ) -> SignedSection {
        self.author.cluster(&applier.host_keys(), edit)
    }

    pub(crate) async fn roll(
        &self,
        applier: &dyn Applier,
        sections: Vec<SignedSection>,
    ) -> Result<(Vec<String>, Outcome, Report), ApplierError> {
        let lease = applier.lease(self.author.lease(LEASE, LeaseAction::Acquire), caller()).await?;
        assert!(lease.granted, "{lease:?}");
        let (sender, mut events) = mpsc::channel(64);
        let order = ApplyOrder { sections, mode: ApplyMode::Roll, lease_id: LEASE.to_owned() };
        applier.apply(order, caller(), sender).await?;
        let mut steps = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                ApplyEvent::Started { step } => steps.push(step),
                ApplyEvent::Done { .. } => {}
                ApplyEvent::Finished { outcome, report } => return Ok((steps, outcome, *report)),
            }
        }
        panic!("an apply ends with `Finished`");
    }
}
