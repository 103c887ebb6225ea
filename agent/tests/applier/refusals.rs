//! A refused change changes nothing.

use host_state::document::{ContentHash, Profile};
use host_state::preflight::Verdict;
use host_state::report::Outcome;
use host_state::{SectionKind, SignedSection};
use nats_agent::roles::{Applier, ApplierError, ApplyMode, ApplyOrder, LeaseAction};
use nats_agent::testing::{HOST, LEASE, caller};
use tokio::sync::mpsc;

use crate::rig::{Rig, server_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_the_server_refuses_changes_nothing() {
    let mut rig = Rig::running(|_| {}).await;
    let before = (rig.report().await.sections, rig.current_files(), rig.digest().await);
    let bad = rig.cluster(|section| {
        section.config.extra.insert("no_such_setting".to_owned(), serde_json::json!(1));
    });
    let (outcome, report) = rig.roll(vec![bad]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("no_such_setting"), "{reason}");
    assert_eq!((report.sections, rig.current_files(), rig.digest().await), before);
    assert_eq!(report.drift, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_only_the_start_refuses_is_found_by_the_trial_boot() {
    let mut rig = Rig::claimed().await;
    // `nats-server -t` accepts a websocket port without TLS; the server does not start with one.
    let bad = rig.cluster(|section| {
        let listen = format!("{}:8443", section.config.client.address);
        section.config.extra.insert("websocket".to_owned(), serde_json::json!({ "listen": listen }));
    });
    let (outcome, _) = rig.roll(vec![bad]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("does not start on the configuration"), "{reason}");
    assert_eq!(server_in(rig.state()), None);
    assert!(!rig.store().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_foreign_and_stale_sections_are_refused_with_reason() {
    let mut rig = Rig::claimed().await;
    let good = rig.cluster(|_| {});
    let mut forged = good.clone();
    forged.header.generation = 7;
    let foreign = {
        let mut header = good.header.clone();
        header.host = Some("west-1".to_owned());
        rig.signed(header, good.body.clone())
    };
    let tampered = SignedSection { body: good.body.replace("east", "west"), ..good.clone() };
    for (section, reason) in [
        (forged, "is not signed by authority `acme`"),
        (foreign, "is for host `west-1`, this host is `east-1`"),
        (tampered, "content hash"),
    ] {
        let error = rig.apply(vec![section], ApplyMode::Stage).await.unwrap_err();
        assert!(
            matches!(error, ApplierError::InvalidDocument(_)) && error.to_string().contains(reason),
            "{error}"
        );
    }
    assert_eq!(rig.applier.sections().await.unwrap(), []);
    rig.stage(vec![good.clone()]).await;
    let fork = {
        let mut header = good.header.clone();
        header.generation = 2;
        header.parent = Some(ContentHash::of("another"));
        rig.signed(header, good.body.clone())
    };
    let error = rig.apply(vec![fork], ApplyMode::Stage).await.unwrap_err();
    assert!(matches!(error, ApplierError::Conflict(_)), "{error}");
    assert!(error.to_string().contains("which test wrote meanwhile"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_of_a_document_are_told_at_once() {
    let mut rig = Rig::claimed().await;
    let bad = rig.cluster(|section| {
        section.store.identity.cluster = "west".to_owned();
        section.config.client.tls.key_file = "/etc/shadow".to_owned();
        section.config.pid_file = Some("/etc/cron.d/x".to_owned());
    });
    let error = rig.apply(vec![bad], ApplyMode::Stage).await.unwrap_err().to_string();
    for part in [
        "`store.identity.cluster` is `west`",
        "`key_file` of the client port is `/etc/shadow`",
        "`pid_file` is",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_somebody_else_is_not_started_on() {
    let mut rig = Rig::claimed().await;
    let mut mark = serde_json::json!({
        "store": "b".repeat(32),
        "identity": rig.plain_section().store.identity,
        "meta_lineage": null,
        "formed": false,
    });
    mark["identity"]["server_name"] = "east-2".into();
    let data = rig.store().join("jetstream/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(rig.store().join(host_state::layout::STORE_IDENTITY_FILE), mark.to_string()).unwrap();
    let section = rig.cluster(|_| {});
    let (outcome, _) = rig.roll(vec![section]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("east-2"), "{reason}");
    assert_eq!(server_in(rig.state()), None);
    assert!(data.is_dir());
    assert_eq!(rig.applier.sections().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_formed_host_is_released_into_no_other_meta_group() {
    let mut rig = Rig::running(|section| section.config.cluster = None).await;
    crate::rig::until("the meta group has formed", async || rig.report().await.formed).await;
    let other = rig.cluster(|section| {
        if let Some(release) = &mut section.release {
            release.meta_lineage = "b".repeat(32);
        }
    });
    let error = rig.apply(vec![other], ApplyMode::Roll).await.unwrap_err().to_string();
    assert!(error.contains("formed systems are never merged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lease_nobody_rolls() {
    let mut rig = Rig::claimed().await;
    let section = rig.cluster(|_| {});
    let (sender, _events) = mpsc::channel(8);
    let order = ApplyOrder { sections: vec![section], mode: ApplyMode::Roll, lease_id: "2".repeat(32) };
    let error = rig.applier.apply(order.clone(), caller(), sender.clone()).await.unwrap_err();
    assert!(matches!(error, ApplierError::Leased(_)), "{error}");
    assert!(rig.lease(&"3".repeat(32), LeaseAction::Acquire).await);
    let error = rig.applier.apply(order, caller(), sender).await.unwrap_err();
    assert_eq!(error.to_string(), "test holds the lease of this host");
    assert_eq!(rig.applier.sections().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_ledger_freezes_changes_and_says_so() {
    let mut rig = Rig::running(|_| {}).await;
    let path = rig.state().join("ledger/cluster.json");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let section = rig.cluster(|_| {});
    // Who may have the lease cannot be said either.
    let error = rig.apply(vec![section.clone()], ApplyMode::Roll).await.unwrap_err();
    assert!(matches!(error, ApplierError::Frozen(_)), "{error}");
    let order = ApplyOrder { sections: vec![section], mode: ApplyMode::Roll, lease_id: LEASE.to_owned() };
    let error = rig.applier.apply(order, caller(), mpsc::channel(64).0).await.unwrap_err();
    assert!(matches!(error, ApplierError::Frozen(_)), "{error}");
    let report = rig.report().await;
    assert!(report.findings.iter().any(|finding| finding.item == "ledger"), "{:#?}", report.findings);
    assert!(report.server.is_some(), "the server goes on");
    rig.reopen(nats_agent::parts::effects::Effects::default()).await;
    assert_eq!(std::fs::read(&path).unwrap(), &bytes[..bytes.len() / 2], "nothing repairs it by guessing");
    assert!(rig.digest().await.is_some());
    assert!(!rig.report().await.sections.contains_key(&SectionKind::Cluster));
    assert_eq!(rig.report().await.claim.unwrap().host, HOST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_fit_for_production_is_refused_and_says_why() {
    let mut rig = Rig::claimed().await;
    let asked = rig.applier.preflight().await.unwrap_err().to_string();
    assert!(asked.contains("no cluster section yet"), "{asked}");
    // Where the scratch directory lies is no disk of its own.
    let bare = rig.cluster(|section| section.profile = Profile::Production);
    let (outcome, _) = rig.stage(vec![bare]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("lies on the root file system"), "{reason}");
    // More than any disk has.
    let huge = rig.cluster(|section| {
        (section.profile, section.store.on_root) = (Profile::Production, true);
        section.config.jetstream.as_mut().unwrap().max_storage = "4EiB".parse().unwrap();
    });
    let (outcome, _) = rig.stage(vec![huge]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    for part in [
        "not fit for production: ",
        "`capacity` is 4194304 TiB",
        "allowed is `max_storage` at most",
        "set `max_storage = \"",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(!rig.store().exists() && rig.applier.sections().await.unwrap().is_empty());
    // A host that joins alone is rolled without a stage.
    let bare = rig.cluster(|section| section.profile = Profile::Production);
    let (outcome, _) = rig.roll(vec![bare]).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("lies on the root file system"), "{reason}");
    assert!(!rig.store().exists() && rig.applier.sections().await.unwrap().is_empty());
    // The same under `development` is taken, and the checks of it are there to be read.
    let section = rig.cluster(|_| {});
    assert_eq!(rig.stage(vec![section]).await.0, Outcome::Staged);
    let found = rig.applier.preflight().await.unwrap();
    assert_eq!((found.profile, found.verdict()), (Profile::Development, Verdict::Warn));
    let latency = found.checks.iter().find(|check| check.name == "fsync_latency").unwrap();
    assert_eq!(latency.value, "unknown: no probe was run yet");
}
