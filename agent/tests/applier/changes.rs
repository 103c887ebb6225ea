//! What an apply does to a server: starts, reloads, restarts, or nothing.

use host_state::report::{Outcome, RunStatus};
use nats_agent::roles::Applier;
use nats_config::ByteSize;

use crate::rig::{Rig, until};

fn megabytes(count: u64) -> ByteSize {
    ByteSize::from_bytes(count << 20).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_host_is_staged_then_released_then_plans_nothing() {
    let mut rig = Rig::claimed().await;
    let held = rig.cluster(|section| section.release = None);
    let (outcome, report) = rig.stage(vec![held]).await;
    assert_eq!((outcome, report.run), (Outcome::Staged, RunStatus::Held));
    assert!(!rig.state().join("current").exists(), "staging switches nothing");
    assert!(!rig.store().exists(), "nor does it make a store");
    let port = std::net::SocketAddr::new(rig.address, 5222);
    assert!(std::net::TcpStream::connect(port).is_ok(), "a held host answers on its cluster port");

    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Held));

    let section = rig.cluster(|_| {});
    let plan = rig.applier.preview(vec![section.clone()]).await.unwrap();
    assert_eq!(plan.impact, host_state::plan::Impact::Start);
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Running), "{:#?}", report.findings);
    assert_eq!((report.drift.as_slice(), report.findings.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!(report.meta_lineage, Some("a".repeat(32)));
    assert_eq!(report.sections[&host_state::SectionKind::Cluster].confirmed, Some(2));
    assert!(rig.applier.preview(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_meta_leader_is_remembered_in_ledger_and_store() {
    // A cluster of one with a route to itself counts two and never elects, so this server stands alone.
    let rig = Rig::running(|section| section.config.cluster = None).await;
    until("the meta group has formed", async || rig.report().await.formed).await;
    until("the store says so", async || {
        let mark =
            std::fs::read_to_string(rig.store().join(host_state::layout::STORE_IDENTITY_FILE)).unwrap();
        mark.contains("\"formed\":true")
    })
    .await;
    assert_eq!(rig.report().await.drift, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reloadable_change_keeps_the_process_and_another_one_restarts_it() {
    let mut rig = Rig::running(|_| {}).await;
    let before = rig.report().await.server.unwrap();
    let section = rig.cluster(|section| section.config.limits.max_payload = Some(megabytes(2)));
    let (outcome, report) = rig.roll(vec![section]).await;
    let after = report.server.unwrap();
    assert_eq!((outcome, after.pid), (Outcome::Confirmed, before.pid));
    assert_ne!(after.digest, before.digest);

    let section = rig.cluster(|section| {
        section.config.limits.max_payload = Some(megabytes(3));
        section.config.limits.max_subscriptions = Some(1000);
    });
    let plan = rig.applier.preview(vec![section.clone()]).await.unwrap();
    assert_eq!(plan.impact, host_state::plan::Impact::Restart);
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!(outcome, Outcome::Confirmed);
    assert_ne!(report.server.unwrap().pid, before.pid);
    assert_eq!(report.drift, []);
    assert!(rig.applier.preview(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_section_again_is_a_success_that_does_nothing() {
    let mut rig = Rig::running(|_| {}).await;
    let before = (rig.report().await.server, rig.current_files());
    let section = rig.applier.sections().await.unwrap().remove(0);
    let (outcome, _) = rig.roll(vec![section]).await;
    assert_eq!(outcome, Outcome::Confirmed);
    assert_eq!((rig.report().await.server, rig.current_files()), before);
    rig.reopen(nats_agent::parts::effects::Effects::default()).await;
    until("the server is found again", async || {
        rig.report().await.server.map(|server| server.pid) == before.0.as_ref().map(|server| server.pid)
    })
    .await;
}
