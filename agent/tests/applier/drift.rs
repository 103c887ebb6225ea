//! What somebody did to a host by hand is seen, and undone where that was asked for or where it must be.

use host_state::document::OnDrift;
use host_state::layout;
use host_state::report::{Outcome, RunStatus};
use nats_agent::applier::rendition::RENDITIONS_KEPT;
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::Leaf;
use nats_agent::roles::Applier;
use nats_agent::testing::age_leaf;
use nats_config::ByteSize;

use crate::rig::{Rig, server_in, until};

fn kill(rig: &Rig) {
    let pid = i32::try_from(server_in(rig.state()).unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

/// Edits the configuration file in place, as a person with an editor would.
fn edit(rig: &Rig, setting: &str, value: serde_json::Value) {
    let path = rig.state().join(layout::CONFIG_PATH);
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[setting] = value;
    std::fs::write(&path, config.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_file_is_drift_by_name_and_the_next_apply_undoes_it() {
    let rig = Rig::running(|_| {}).await;
    let before = rig.current_files();
    edit(&rig, "max_payload", 12345.into());
    std::fs::write(rig.state().join(layout::KEY_PATH), "none of yours").unwrap();
    let drift: Vec<String> = rig.report().await.drift.iter().map(ToString::to_string).collect();
    assert!(drift.iter().any(|text| text.contains("`max_payload` is `12345`")), "{drift:#?}");
    assert!(drift.iter().any(|text| text.starts_with("key")), "{drift:#?}");
    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, report.drift.as_slice()), (Outcome::Confirmed, [].as_slice()));
    assert_eq!(rig.current_files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_never_goes_live_with_a_later_reload() {
    let mut rig = Rig::running(|_| {}).await;
    edit(&rig, "max_connections", 7.into());
    let section = rig.cluster(|section| {
        section.config.limits.max_payload = Some(ByteSize::from_bytes(2 << 20).unwrap());
    });
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, report.drift.as_slice()), (Outcome::Confirmed, [].as_slice()));
    let config = String::from_utf8(rig.current_files()[layout::CONFIG_FILE].clone()).unwrap();
    assert!(!config.contains("max_connections"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_stays_down_under_report_until_the_next_apply() {
    let rig = Rig::running(|_| {}).await;
    kill(&rig);
    until("the end is seen", async || rig.report().await.run == RunStatus::Stopped).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let report = rig.report().await;
    assert_eq!(server_in(rig.state()), None);
    assert!(report.drift.iter().any(|drift| drift.item == "process"), "{:#?}", report.drift);
    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back_under_repair() {
    let rig = Rig::running(|section| section.on_drift = OnDrift::Repair).await;
    let before = server_in(rig.state()).unwrap();
    kill(&rig);
    until("it runs again", async || {
        server_in(rig.state()).is_some_and(|pid| pid != before) && rig.digest().await.is_some()
    })
    .await;
    until("nothing is left to do", async || rig.report().await.drift.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_stops_the_server_and_a_start_brings_it_back() {
    let mut rig = Rig::running(|_| {}).await;
    rig.applier.shut_down().await;
    assert_eq!(server_in(rig.state()), None);
    rig.reopen(Effects::default()).await;
    until("it runs again", async || rig.digest().await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_renews_under_a_frozen_ledger_and_no_edit_goes_live_with_it() {
    let mut rig = Rig::running(|_| {}).await;
    let (pid, digest) = (server_in(rig.state()), rig.digest().await);
    let old = age_leaf(&rig.author.authority, rig.state());
    edit(&rig, "max_payload", 12345.into());
    std::fs::write(rig.state().join("ledger/cluster.json"), "{}").unwrap();
    rig.reopen(Effects::default()).await;
    until("the leaf is renewed", async || rig.report().await.certificates["leaf"].serial != old).await;
    let port = std::net::SocketAddr::new(rig.address, 5222);
    until("the server serves it", async || {
        let newest = Leaf::read(rig.state()).unwrap().unwrap().fingerprint();
        nats_agent::front::served_leaf::served_leaf(port, false).await.is_ok_and(|served| served == newest)
    })
    .await;
    assert_eq!((server_in(rig.state()), rig.digest().await), (pid, digest));
    let config = String::from_utf8(rig.current_files()[layout::CONFIG_FILE].clone()).unwrap();
    assert!(!config.contains("12345"), "{config}");
    let findings = rig.report().await.findings;
    assert!(findings.iter().any(|finding| finding.problem.contains("the edit was undone")), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.item == "ledger"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_asked_for_renews_at_once_and_a_row_of_renewals_fills_no_disk() {
    let rig = Rig::running(|_| {}).await;
    let renditions = || std::fs::read_dir(rig.state().join(layout::RENDITIONS)).unwrap().count();
    let pid = server_in(rig.state());
    for _ in 0..8 {
        let old = age_leaf(&rig.author.authority, rig.state());
        rig.applier.sweep_now();
        until("the leaf is renewed", async || rig.report().await.certificates["leaf"].serial != old).await;
    }
    until("nothing is left to do", async || rig.report().await.drift.is_empty()).await;
    assert_eq!((renditions(), server_in(rig.state())), (RENDITIONS_KEPT, pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_names_is_a_new_certificate_on_the_same_process() {
    let mut rig = Rig::running(|_| {}).await;
    let before = rig.report().await;
    let served = rig.applier.api_identity().borrow().clone().unwrap().chain_pem.clone();
    let tls = rig.author.tls_named(&rig.applier.host_keys(), "nats.acme.example");
    let section = rig.cluster(|section| section.tls = tls);
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, report.drift.as_slice()), (Outcome::Confirmed, [].as_slice()));
    assert_eq!(report.server.unwrap().pid, before.server.unwrap().pid);
    assert_ne!(report.certificates["leaf"].serial, before.certificates["leaf"].serial);
    assert_ne!(rig.applier.api_identity().borrow().clone().unwrap().chain_pem, served);
}
