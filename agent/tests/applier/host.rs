//! The applier of a host with systemd: nats-server is a unit that outlives it, and whatever somebody does to the unit is
//! seen by name and undone. The service manager is a scripted one that starts the real server.

use host_state::document::ClusterSection;
use host_state::layout;
use host_state::preflight::Verdict;
use host_state::report::{Outcome, Report, RunStatus};
use nats_agent::parts::effects::Effects;
use nats_agent::roles::Applier as _;
use nats_config::ByteSize;

use crate::rig::{Rig, until};

fn drift(report: &Report) -> Vec<String> {
    report.drift.iter().map(ToString::to_string).collect()
}

fn replace(rig: &Rig, from: &str, to: &str) {
    let path = rig.systemd().drop_in();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_a_unit_that_outlives_its_applier_and_is_changed_in_place() {
    let mut rig = Rig::running_on_host(|_| {}).await;
    let report = rig.report().await;
    assert_eq!((drift(&report), report.findings.as_slice()), (Vec::new(), [].as_slice()));
    let pid = rig.systemd().pid();
    let text = std::fs::read_to_string(rig.systemd().drop_in()).unwrap();
    let mark = rig.store().join(layout::STORE_IDENTITY_FILE);
    assert!(text.contains(&format!("AssertPathExists={}\n", mark.display())), "{text}");
    rig.systemd().asked();

    rig.reopen(Effects::default()).await;
    rig.applier.settled().await;
    let report = rig.report().await;
    assert_eq!((drift(&report), report.findings.as_slice()), (Vec::new(), [].as_slice()));
    let jobs: Vec<String> = rig.systemd().asked();
    assert!(!jobs.iter().any(|job| job.contains("nats-server.service")), "{jobs:?}");

    let section = rig.cluster(|section| {
        section.config.limits.max_payload = Some(ByteSize::from_bytes(2 << 20).unwrap());
    });
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, drift(&report)), (Outcome::Confirmed, Vec::new()));
    assert_eq!(rig.systemd().pid(), pid);
    let jobs = rig.systemd().asked();
    assert!(jobs.contains(&"reload nats-server.service".to_owned()), "{jobs:?}");

    let section = rig.cluster(|section| section.config.client.port = 4333);
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, drift(&report)), (Outcome::Confirmed, Vec::new()));
    assert_ne!(rig.systemd().pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_does_to_the_unit_is_named_and_the_next_apply_undoes_it() {
    let rig = Rig::running_on_host(|_| {}).await;
    let pid = rig.systemd().pid();
    let text = std::fs::read_to_string(rig.systemd().drop_in()).unwrap();
    type Change = fn(&Rig);
    let cases: [(Change, &str); 5] = [
        (
            |rig| replace(rig, "LimitNOFILE=800000", "LimitNOFILE=64"),
            "unit `LimitNOFILE` is `64`, should be `800000`",
        ),
        (
            |rig| std::fs::remove_file(rig.systemd().drop_in()).unwrap(),
            "unit `nats-server.service.d/50-nats-agent.conf` is missing, should be `the agent's drop-in`",
        ),
        (
            |rig| {
                let path = rig.systemd().drop_in();
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
            },
            "unit `nats-server.service.d/50-nats-agent.conf` is `mode 0666`, should be `mode 0644`",
        ),
        (|rig| rig.systemd().mask(), "unit `nats-server.service` is `masked`, should be `not masked`"),
        (|rig| rig.systemd().stop_by_hand(), "process is `stopped (exit status: 0)`, should be `running`"),
    ];
    for (change, expected) in cases {
        change(&rig);
        let found = drift(&rig.report().await);
        assert_eq!(found, [expected]);
        let (outcome, report) = rig.roll(Vec::new()).await;
        assert_eq!((outcome, drift(&report)), (Outcome::Confirmed, Vec::new()), "{expected}");
        assert_eq!(std::fs::read_to_string(rig.systemd().drop_in()).unwrap(), text);
        assert_eq!(rig.systemd().pid() == pid, !expected.starts_with("process"), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_systemd_starts_again_is_followed_and_one_with_other_settings_is_drift() {
    let rig = Rig::running_on_host(|_| {}).await;
    let pid = rig.systemd().pid().unwrap();
    rig.systemd().asked();
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    until("systemd's server is followed", async || {
        let report = rig.report().await;
        let runs = matches!(report.run, RunStatus::Running);
        runs && rig.systemd().pid().is_some_and(|now| now != pid) && report.drift.is_empty()
    })
    .await;
    let jobs = rig.systemd().asked();
    assert!(!jobs.contains(&"start nats-server.service".to_owned()), "{jobs:?}");

    replace(&rig, "LimitNOFILE=800000", "LimitNOFILE=64");
    nats_agent::parts::systemd::Systemd::reload(rig.systemd().as_ref()).await.unwrap();
    rig.systemd().restart_by_hand();
    until("the restart is seen", async || {
        drift(&rig.report().await).iter().any(|text| text.starts_with("process `binary` is `sha256 unknown`"))
    })
    .await;
    let by_hand = rig.systemd().pid();
    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, drift(&report)), (Outcome::Confirmed, Vec::new()));
    assert_ne!(rig.systemd().pid(), by_hand);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_systemd_fails_is_taken_back_and_tried_again_by_the_next_apply() {
    let mut rig = Rig::running_on_host(|_| {}).await;
    let pid = rig.systemd().pid();
    rig.systemd().fail(&["reload nats-server.service"]);
    let section = rig.cluster(|section| {
        section.config.limits.max_payload = Some(ByteSize::from_bytes(2 << 20).unwrap());
    });
    let (outcome, _) = rig.roll(vec![section]).await;
    let Outcome::RolledBack { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("`nats-server.service` did not reload (job result `failed`)"), "{reason}");
    assert_ne!(rig.systemd().pid(), pid, "it went back by a restart");
    rig.systemd().fail(&[]);
    let (outcome, report) = rig.roll(Vec::new()).await;
    assert_eq!((outcome, drift(&report)), (Outcome::Confirmed, Vec::new()));
}

/// Why a host with a running server refuses this change.
async fn refusal(failing: &[&str], edit: impl FnOnce(&mut ClusterSection)) -> String {
    let mut rig = Rig::running_on_host(|_| {}).await;
    rig.systemd().fail(failing);
    let section = rig.cluster(edit);
    match rig.roll(vec![section]).await {
        (Outcome::Refused { reason }, _) => reason,
        (other, _) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_the_units_and_says_what_the_server_says() {
    let reason = refusal(&[], |section| {
        section.config.extra.insert("no_such_setting".to_owned(), serde_json::json!(1));
    });
    let reason = reason.await;
    assert!(reason.contains("no_such_setting"), "{reason}");
    let reason = refusal(&[], |section| {
        let listen = format!("{}:8443", section.config.client.address);
        section.config.extra.insert("websocket".to_owned(), serde_json::json!({ "listen": listen }));
    });
    let reason = reason.await;
    assert!(reason.contains("does not start on the configuration"), "{reason}");
    let reason = refusal(&["start nats-agent-shadow.service"], |section| {
        section.config.limits.max_payload = Some(ByteSize::from_bytes(3 << 20).unwrap());
    });
    let reason = reason.await;
    assert!(reason.contains("`nats-agent-shadow.service` did not start (job result `failed`)"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_open_files_is_the_units() {
    let rig = Rig::running_on_host(|_| {}).await;
    let found = rig.applier.preflight().await.unwrap();
    let limit = found.checks.iter().find(|check| check.name == "open_files").unwrap();
    let told = (limit.verdict, limit.value.as_str());
    assert_eq!(told, (Verdict::Pass, "524288, hard 800000, of nats-server.service"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_systemd_is_a_finding_and_nothing_is_started() {
    let mut rig = Rig::running_on_host(|_| {}).await;
    rig.systemd().be_silent(true);
    let report = rig.report().await;
    assert_eq!(drift(&report), Vec::<String>::new());
    assert!(report.findings.iter().any(|finding| finding.item == "unit"), "{:#?}", report.findings);
    let section = rig.cluster(|section| section.config.client.port = 4333);
    let (outcome, _) = rig.roll(vec![section]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("systemd cannot be asked"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_drop_in_is_a_finding() {
    let rig = Rig::running_on_host(|_| {}).await;
    let other = rig.systemd().drop_in().with_file_name("60-mine.conf");
    std::fs::write(&other, "[Service]\nNice=5\n").unwrap();
    let report = rig.report().await;
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.problem.as_str()).collect();
    let expected = format!("`{}` changes `nats-server.service` and is not the agent's", other.display());
    assert_eq!((drift(&report), found), (Vec::new(), vec![expected.as_str()]));
}
