//! Fronts and appliers that end and start again: what was asked goes on, what holds is told anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use host_state::DownloadUrl;
use host_state::observed::RunningObserved;
use host_state::report::{MeshRow, Outcome, RunStatus};
use nats_agent::border::RemoteView;
use nats_agent::roles::{Applier, ApplyMode, ApplyOrder, LeaseAction, LocalServer, MeshPost, ServerView};
use nats_agent::testing::{LEASE, caller};
use nats_config::{NatsDuration, Sha256Hex};
use tokio::sync::mpsc;

use crate::rig::{server_in, until};
use crate::scripted::{Scripted, authority};
use crate::world::{ApplierSide, World, connect};

/// How long what must happen soon may take.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_goes_on_when_its_front_is_killed_and_the_next_one_sees_it() {
    let mut world = World::new();
    let applier_side = world.applier().await;
    let first = world.front().await;
    world.claim(first.applier.as_ref()).await;
    let section = world.cluster(first.applier.as_ref(), |_| {});
    let (remote, lease) = (Arc::clone(&first.applier), world.author.lease(LEASE, LeaseAction::Acquire));
    assert!(remote.lease(lease, caller()).await.unwrap().granted);
    let change = tokio::spawn(async move {
        let order = ApplyOrder { sections: vec![section], mode: ApplyMode::Roll, lease_id: LEASE.to_owned() };
        remote.apply(order, caller(), mpsc::channel(64).0).await
    });
    until("the change has begun", async || server_in(&world.state()).is_some()).await;
    // As a killed process: nothing of it is left, and its port is free.
    change.abort();
    first.front.stop().await;
    drop(first.applier);

    let second = world.front().await;
    until("the change is confirmed", async || {
        let report = second.applier.observe().await.unwrap();
        report.run == RunStatus::Running
            && report.sections.values().all(|section| section.confirmed == Some(1))
            && !report.sections.is_empty()
    })
    .await;

    // The applier ends too; nats-server does not.
    let pid = server_in(&world.state()).unwrap();
    let lost = Arc::clone(&second.applier);
    applier_side.end().await;
    let reason = tokio::time::timeout(SOON, lost.lost()).await.unwrap();
    assert_eq!(reason, "the applier ends");
    let error = second.applier.observe().await.unwrap_err().to_string();
    assert!(error.contains("went away before it answered (the applier ends)"), "{error}");
    second.front.stop().await;
    drop((second.applier, lost));

    let again = world.applier().await;
    let third = world.front().await;
    let report = third.applier.observe().await.unwrap();
    assert_eq!(report.server.map(|server| server.pid), Some(pid), "adopted");
    let section = world.cluster(third.applier.as_ref(), |section| {
        section.config.lame_duck.duration = NatsDuration::from_secs(31);
    });
    let (_, outcome, report) = world.roll(third.applier.as_ref(), vec![section]).await.unwrap();
    assert_eq!(outcome, Outcome::Confirmed, "{report:#?}");
    third.front.stop().await;
    again.end().await;
}

/// A view that remembers what it was told to do.
#[derive(Default)]
struct Told {
    ports: Mutex<Vec<Vec<SocketAddr>>>,
    posts: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl ServerView for Told {
    async fn running(&self, _monitor: SocketAddr) -> RunningObserved {
        RunningObserved::Stopped
    }

    async fn healthz(&self, _monitor: SocketAddr, query: &str) -> Result<(), String> {
        Err(format!("asked {query}"))
    }

    async fn known_accounts(&self, server: &LocalServer) -> Result<BTreeSet<String>, String> {
        Err(server.user_key.public_text())
    }

    async fn account_jwts(
        &self,
        _server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        Ok(accounts.iter().map(|account| (account.clone(), BTreeSet::new())).collect())
    }

    async fn push_claim(&self, _server: &LocalServer, jwt: &str) -> Result<(), String> {
        Err(jwt.to_owned())
    }

    async fn download(&self, url: &DownloadUrl, sha256: &Sha256Hex) -> Result<(), String> {
        Err(format!("{url} {}", sha256.as_str()))
    }

    async fn served_leaf(&self, address: SocketAddr, after_info: bool) -> Result<String, String> {
        Ok(format!("{address} {after_info}"))
    }

    async fn hold_ports(&self, ports: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>> {
        self.ports.lock().unwrap().push(ports.to_vec());
        ports.iter().map(|port| (*port, Ok(()))).collect()
    }

    async fn answer_probes(&self, post: Option<MeshPost>) {
        self.posts.lock().unwrap().push(post.map(|post| post.host));
    }

    async fn mesh_row(&self) -> Option<MeshRow> {
        Some(MeshRow { probed: 3, ..MeshRow::default() })
    }
}

fn server(host: &Scripted) -> LocalServer {
    LocalServer {
        client: "127.0.0.1:4222".parse().unwrap(),
        address: "127.0.0.1".parse().unwrap(),
        host_ca_pem: authority(1).trust().host_ca_bundle(),
        user_jwt: "x.y.z".to_owned(),
        user_key: Arc::new(host.secret.system_user().clone()),
    }
}

async fn scripted_side(sockets: &std::path::Path) -> (Arc<Scripted>, ApplierSide) {
    let host = Scripted::new(31);
    let side = ApplierSide::open(sockets, Arc::clone(&host) as Arc<dyn Applier>, Arc::default()).await;
    (host, side)
}

#[tokio::test]
async fn the_applier_looks_through_its_newest_front_which_is_told_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = scripted_side(folder.path()).await;
    let view: &RemoteView = &side.view;
    let port: SocketAddr = "127.0.0.1:5222".parse().unwrap();
    let post = MeshPost {
        host: "east-1".to_owned(),
        others: BTreeSet::from(["east-2".to_owned()]),
        system: server(&host),
        probe: server(&host),
    };
    // Nobody is there to be told; whoever comes is.
    view.answer_probes(Some(post)).await;
    let held = async { view.hold_ports(&[port]).await };
    let first = Arc::new(Told::default());
    let connected = connect(folder.path(), Arc::clone(&first) as Arc<dyn ServerView>);
    let (held, first_front) = tokio::join!(held, connected);
    assert_eq!(held, [(port, Ok(()))].into());
    until("the post is told", async || {
        first.posts.lock().unwrap().last() == Some(&Some("east-1".to_owned()))
    })
    .await;

    assert_eq!(view.running(port).await, RunningObserved::Stopped);
    assert_eq!(view.healthz(port, "js-meta-only=true").await, Err("asked js-meta-only=true".to_owned()));
    let known = host.secret.system_user().public_text();
    assert_eq!(view.known_accounts(&server(&host)).await, Err(known));
    let accounts = view.account_jwts(&server(&host), &["A".to_owned()]).await.unwrap();
    assert_eq!(accounts, [("A".to_owned(), BTreeSet::new())].into());
    assert_eq!(view.push_claim(&server(&host), "a.b.c").await, Err("a.b.c".to_owned()));
    assert_eq!(view.served_leaf(port, true).await, Ok("127.0.0.1:5222 true".to_owned()));
    assert_eq!(view.mesh_row().await.unwrap().probed, 3);

    let second = Arc::new(Told::default());
    let _second_front = connect(folder.path(), Arc::clone(&second) as Arc<dyn ServerView>).await;
    let reason = tokio::time::timeout(SOON, first_front.lost()).await.unwrap();
    assert_eq!(reason, "another front took its place");
    until("the ports are told", async || *second.ports.lock().unwrap() == [vec![port]]).await;
    until("the post is told", async || *second.posts.lock().unwrap() == [Some("east-1".to_owned())]).await;
    view.hold_ports(&[]).await;
    assert_eq!(*second.ports.lock().unwrap(), [vec![port], Vec::new()]);
    side.end().await;
}

#[tokio::test]
async fn what_nobody_looks_at_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = scripted_side(folder.path()).await;
    let view: &RemoteView = &side.view;
    let port: SocketAddr = "127.0.0.1:8222".parse().unwrap();
    let begin = std::time::Instant::now();
    let away = "the agent's front has been away for 10 s: is `nats-agent front` running?".to_owned();
    assert_eq!(view.running(port).await, RunningObserved::Silent { reason: away.clone() });
    let waited = begin.elapsed();
    assert!((SOON - Duration::from_secs(1)..SOON + Duration::from_secs(5)).contains(&waited), "{waited:?}");
    // It was waited for once; now each answers at once.
    assert_eq!(view.healthz(port, "").await, Err(away.clone()));
    assert_eq!(view.known_accounts(&server(&host)).await, Err(away.clone()));
    assert_eq!(view.account_jwts(&server(&host), &[]).await, Err(away.clone()));
    assert_eq!(view.push_claim(&server(&host), "").await, Err(away.clone()));
    assert_eq!(view.served_leaf(port, false).await, Err(away.clone()));
    assert_eq!(view.hold_ports(&[port]).await, [(port, Err(away))].into());
    assert!(view.mesh_row().await.is_none());
    view.answer_probes(None).await;
    assert!(begin.elapsed() - waited < Duration::from_secs(5));
    side.end().await;
}

#[tokio::test]
async fn a_front_is_told_of_every_change_of_claim_and_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = scripted_side(folder.path()).await;
    let front = connect(folder.path(), Arc::new(Told::default())).await;
    assert!(front.api_identity().borrow().is_none());
    assert_eq!(front.leaf_key().as_str(), host.leaf_key().as_str());
    let mut states = front.claim_state();
    host.open_door(&authority(1), "east-1", 1_900_000_000);
    tokio::time::timeout(SOON, states.changed()).await.unwrap().unwrap();
    host.claimed_by(&authority(1), "east-1", "127.0.0.1");
    let claimed = async {
        while !matches!(*states.borrow_and_update(), nats_agent::roles::ClaimState::Claimed(_)) {
            states.changed().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, claimed).await.unwrap();
    let identity = front.api_identity().borrow().clone().unwrap();
    let given = host.identity.borrow().clone().unwrap();
    assert_eq!((&identity.chain_pem, identity.key.as_str()), (&given.chain_pem, given.key.as_str()));
    side.end().await;
}

#[tokio::test]
async fn without_an_applier_a_front_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applier.sock");
    let view = Arc::new(Told::default());
    let error = nats_agent::border::RemoteApplier::connect(&path, view, Duration::ZERO).await.unwrap_err();
    let text = format!(
        "no applier answers at `{}` within 0 s; is `nats-agent applier` running?: No such file or directory (os error 2)",
        path.display()
    );
    assert_eq!(host_state::chain(&error), text);
}
