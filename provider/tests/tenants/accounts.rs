//! `nats_account`.

use std::collections::BTreeMap;

use host_state::Drift;
use host_state::report::Outcome;
use nats_agent_api::server::Method;
use serde_json::json;
use tfplug::Value;
use tfplug::testing::Action;

use crate::jetstream::JetStream;
use crate::rig::{Rig, account, block, lonely, orders, tells, unprotected};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_nobody_there_creates_and_knows_the_key() {
    let plan = lonely().await.plan("nats_account", None, account("orders")).await.unwrap();
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.planned.attr("id").as_str(), Some("acme/orders"));
    assert!(plan.planned.attr("public_key").as_str().is_some_and(|key| key.starts_with('A')));
    assert!(plan.planned.is_wholly_known());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_on_every_host_and_reads_back_as_it_was_declared() {
    let rig = Rig::new().await;
    let declared = block(json!({
        "system": "acme/east", "name": "orders", "limits": {"connections": 0, "payload": "64KB"},
        "jetstream": {"max_storage": "1024MB", "max_streams": 10}, "deletion_protection": false,
    }));
    let made = rig.process().await.apply("nats_account", None, declared.clone()).await.unwrap();
    for agent in 0..3 {
        let (entry, claims) = rig.account(agent, "orders").unwrap();
        assert_eq!((rig.claims(agent).unwrap().0, entry.tombstone), (1, false));
        assert_eq!(claims.limits.connections, Some(0));
        assert_eq!(claims.limits.jetstream.unwrap().max_storage, Some(1 << 30));
        assert_eq!(claims.key.as_str(), made.state.attr("public_key").as_str().unwrap());
    }
    let next = rig.process().await;
    let (read, warnings) = next.read("nats_account", &made).await.unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(read.as_ref(), Some(&made));
    let imported = next.import("nats_account", "acme/orders").await.unwrap();
    let plan = next.plan("nats_account", Some(&imported), declared.clone()).await.unwrap();
    assert_eq!(plan.action, Action::NoOp, "{:#?}\n{:#?}", imported.state, plan.planned);

    let wider = declared.with("jetstream", block(json!({"max_storage": "2GB"})));
    let changed = next.apply("nats_account", read.as_ref(), wider).await.unwrap();
    assert_eq!(changed.state.attr("jetstream").attr("max_storage").as_str(), Some("2GB"));
    assert_eq!(rig.account(2, "orders").unwrap().1.limits.jetstream.unwrap().max_storage, Some(2 << 30));
    assert_eq!(rig.account(0, "orders").unwrap().1.limits.connections, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_keeps_state_and_only_the_claims_say_gone() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let made = process.apply("nats_account", None, unprotected(account("orders"))).await.unwrap();
    let (kept, warnings) = lonely().await.read("nats_account", &made).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&made));
    tells(
        &warnings,
        &["warning: No host of authority `acme` tells of its system", "Its state is kept as it was."],
    );

    rig.answer(JetStream::default().answers());
    process.destroy("nats_account", &made).await.unwrap();
    assert!((0..3).all(|agent| rig.account(agent, "orders").unwrap().0.tombstone));
    assert_eq!(rig.process().await.read("nats_account", &made).await.unwrap().0, None);

    let deleted_at = rig.account(0, "orders").unwrap().0.issued_at;
    let again = process.apply("nats_account", None, account("orders")).await.unwrap();
    assert_eq!(again.state.attr("public_key"), made.state.attr("public_key"));
    let (entry, _) = rig.account(1, "orders").unwrap();
    assert!(!entry.tombstone && entry.issued_at > deleted_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_streams_or_with_nobody_to_count_them_stays() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let made = process.apply("nats_account", None, unprotected(account("orders"))).await.unwrap();
    let silent = process.destroy("nats_account", &made).await.unwrap_err();
    tells(
        &silent.diagnostics,
        &["`acme/orders` is not known to be empty", "Whether it still has streams cannot be said"],
    );
    let server = JetStream::default();
    server.put(json!({"name": "ORDERS", "subjects": ["orders.>"]}));
    rig.answer(server.answers());
    let full = process.destroy("nats_account", &made).await.unwrap_err();
    tells(&full.diagnostics, &["It still has 1 streams", "their messages would be lost"]);
    assert_eq!(full.left.as_ref(), Some(&made));
    assert!(!rig.account(0, "orders").unwrap().0.tombstone);
}

#[tokio::test(flavor = "multi_thread")]
async fn protection_refuses_what_would_delete_the_account() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let made = orders(&process).await;
    let refused = process.destroy("nats_account", &made).await.unwrap_err();
    tells(&refused.diagnostics, &["`acme/orders` is protected from deletion (at deletion_protection)"]);
    let renamed = process.plan("nats_account", Some(&made), account("billing")).await.unwrap_err();
    tells(&renamed, &["`acme/orders` is protected from deletion"]);
    let elsewhere = account("orders").with("system", "other/east");
    let moved = process.plan("nats_account", Some(&made), elsewhere).await.unwrap_err();
    tells(&moved, &["An account stays with its authority (at system)"]);
    let gateway = account("orders").with("system", "acme/global");
    let plan = process.plan("nats_account", Some(&made), gateway).await.unwrap();
    assert_eq!(plan.action, Action::Update, "another system of the authority only gives order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_keeps_the_key_before_and_never_goes_back() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let mut made = orders(&process).await;
    for generation in 2..=3_u32 {
        let block = account("orders").with("generation", generation);
        made = process.apply("nats_account", Some(&made), block).await.unwrap();
        let (_, claims) = rig.account(0, "orders").unwrap();
        assert_eq!(claims.signing_keys.keys().copied().collect::<Vec<_>>(), [generation - 1, generation]);
    }
    let back =
        process.plan("nats_account", Some(&made), account("orders").with("generation", 2)).await.unwrap_err();
    tells(&back, &["Generations only count up (at generation): It was 3 and would be 2."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_of_one_host_is_planned_away_by_the_same_generation() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let made = orders(&process).await;
    let drift = |setting: &str| Drift {
        item: "claims".to_owned(),
        setting: Some(setting.to_owned()),
        desired: Some("known to the server".to_owned()),
        found: None,
    };
    rig.agents[1].script(|script| script.drift = vec![drift("orders"), drift("billing")]);
    let process = rig.process().await;
    let (read, _) = process.read("nats_account", &made).await.unwrap();
    let read = read.unwrap();
    let lines: Vec<&str> = read.state.attr("drift").elements().filter_map(Value::as_str).collect();
    assert_eq!(lines, ["east-2: claims `orders` is missing, should be `known to the server`"]);
    let plan = process.plan("nats_account", Some(&read), account("orders")).await.unwrap();
    assert_eq!((plan.action, plan.planned.attr("drift").elements().count()), (Action::Update, 0));
    let repaired = process.apply("nats_account", Some(&read), account("orders")).await.unwrap();
    assert_eq!(repaired.state, made.state);
    assert_eq!(rig.claims(1).unwrap().0, 1, "nothing changed, so nothing is signed anew");
    assert_eq!(rig.agents[1].calls().iter().filter(|call| **call == Method::Apply).count(), 3);
    let (read, _) = rig.process().await.read("nats_account", &repaired).await.unwrap();
    assert_eq!(read, Some(made));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_every_host_is_an_error_that_names_them() {
    let rig = Rig::new().await;
    for agent in &rig.agents {
        let reason = "the disk is full".to_owned();
        agent.script(|script| script.outcome = Some(Outcome::Refused { reason }));
    }
    let failed = rig.process().await.apply("nats_account", None, account("orders")).await.unwrap_err();
    assert_eq!(failed.left, None);
    tells(&failed.diagnostics, &["No host took the claims", "the disk is full"]);
    for agent in &rig.agents {
        agent.script(|script| script.outcome = None);
    }
    orders(&rig.process().await).await;
    let users: BTreeMap<_, _> = rig.claims(0).unwrap().1.accounts;
    assert_eq!(users.len(), 1, "what was taken in half-way is adopted");
}
