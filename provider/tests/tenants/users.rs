//! `nats_user`: many writers of one account.

use std::collections::BTreeMap;

use nats_agent_api::server::{Method, ServiceError};
use serde_json::json;
use tfplug::Value;
use tfplug::testing::{Action, Harness};

use crate::jetstream::JetStream;
use crate::rig::{Rig, account, block, lonely, orders, tells, unprotected};

fn user(name: &str) -> Value {
    block(json!({"account": "acme/orders", "name": name, "publish": {"allow": [format!("{name}.>")]}}))
}

async fn make(process: &Harness, names: &[&str]) {
    let one = |name: &str| {
        let (process, block) = (process.clone(), user(name));
        async move { process.apply("nats_user", None, block).await.unwrap() }
    };
    futures_util::future::join_all(names.iter().map(|name| one(name))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_at_once_end_in_one_or_two_generations() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    orders(&process).await;
    let names = ["a", "b", "c", "d", "e"];
    make(&process, &names).await;
    assert_eq!(rig.users(), vec![names.map(str::to_owned).to_vec(); 3]);
    let generation = rig.claims(0).unwrap().0;
    assert!((2..=3).contains(&generation), "{generation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_race_and_nobody_is_lost() {
    let rig = Rig::new().await;
    let (first, second) = (rig.process().await, rig.process().await);
    orders(&first).await;
    tokio::join!(make(&first, &["a", "b", "c"]), make(&second, &["x", "y", "z"]));
    let all = ["a", "b", "c", "x", "y", "z"].map(str::to_owned).to_vec();
    assert_eq!(rig.users(), vec![all; 3]);
    let refused = rig.agents[0].calls().iter().filter(|call| **call == Method::Apply).count();
    assert!(refused >= 4, "both pushed to the arbiter");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_who_reached_different_hosts_are_joined_by_the_next() {
    let rig = Rig::new().await;
    orders(&rig.process().await).await;
    let silence = |agents: &[usize]| {
        for (number, agent) in rig.agents.iter().enumerate() {
            let failure = ServiceError::Failed("the host is cut off".to_owned());
            let calls = [Method::Claims, Method::Apply].map(|method| (method, failure.clone()));
            let fail: BTreeMap<_, _> = if agents.contains(&number) { calls.into() } else { BTreeMap::new() };
            agent.script(|script| script.fail = fail);
        }
    };
    silence(&[0, 1]);
    make(&rig.process().await, &["left"]).await;
    silence(&[2]);
    make(&rig.process().await, &["right"]).await;
    silence(&[]);
    assert_eq!((rig.claims(0).unwrap().0, rig.claims(2).unwrap().0), (2, 2));
    assert_ne!(rig.claims(0), rig.claims(2));
    // Another account, so that both sides' entries have to be carried over. The same account on both sides is the
    // later writer's, as on the servers.
    let process = rig.process().await;
    process.apply("nats_account", None, account("billing")).await.unwrap();
    assert_eq!(rig.claims(0), rig.claims(1));
    assert_eq!(rig.claims(0), rig.claims(2));
    assert_eq!(rig.claims(0).unwrap().0, 4);
    assert!(rig.account(2, "billing").is_some() && rig.account(2, "orders").is_some());
    make(&process, &["left", "right"]).await;
    assert_eq!(rig.users(), vec![vec!["left".to_owned(), "right".to_owned()]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_holds_nobody_up() {
    let mut rig = Rig::new().await;
    orders(&rig.process().await).await;
    drop(rig.agents.remove(0));
    let process = rig.process().await;
    make(&process, &["a"]).await;
    assert_eq!(rig.users(), vec![vec!["a".to_owned()]; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_narrowed_rotated_imported_and_deleted() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    orders(&process).await;
    let made = process.apply("nats_user", None, user("service")).await.unwrap();
    assert_eq!(made.state.attr("id").as_str(), Some("acme/orders/service"));
    let imported = rig.process().await.import("nats_user", "acme/orders/service").await.unwrap();
    let plan = process.plan("nats_user", Some(&imported), user("service")).await.unwrap();
    assert_eq!(plan.action, Action::NoOp, "{:#?}", plan.planned);

    let narrow = block(json!({
        "account": "acme/orders", "name": "service", "generation": 2,
        "publish": {"allow": ["orders.new"], "deny": ["orders.old"]},
        "allow_responses": {"max_messages": -1, "expires": "60s"}, "limits": {"subscriptions": 3},
    }));
    let changed = process.apply("nats_user", Some(&made), narrow.clone()).await.unwrap();
    let (_, claims) = rig.account(2, "orders").unwrap();
    let scope = &claims.scopes[&"service".parse().unwrap()];
    assert_eq!((scope.generation, scope.template.max_subscriptions), (2, Some(3)));
    assert!(scope.template.publish.deny.contains("orders.old"));
    let (read, _) = rig.process().await.read("nats_user", &changed).await.unwrap();
    assert_eq!(read, Some(changed.clone()));
    let back = process.plan("nats_user", Some(&changed), narrow.with("generation", 1)).await.unwrap_err();
    tells(&back, &["Generations only count up (at generation)"]);

    let (kept, warnings) = lonely().await.read("nats_user", &changed).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&changed));
    tells(&warnings, &["Its state is kept as it was."]);
    process.destroy("nats_user", &changed).await.unwrap();
    assert_eq!(rig.users(), vec![Vec::<String>::new(); 3]);
    assert_eq!(rig.process().await.read("nats_user", &changed).await.unwrap().0, None);
    process.destroy("nats_user", &changed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_account_says_so_and_spoils_no_other() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    let made = process.apply("nats_account", None, unprotected(account("orders"))).await.unwrap();
    let lost = user("a").with("account", "acme/nowhere");
    let (lost, _) = tokio::join!(process.apply("nats_user", None, lost), make(&process, &["b"]));
    let lost = lost.unwrap_err();
    assert_eq!(lost.left, None);
    tells(&lost.diagnostics, &["Account `acme/nowhere` does not exist (at account)"]);
    assert_eq!(rig.users(), vec![vec!["b".to_owned()]; 3]);
    rig.answer(JetStream::default().answers());
    process.destroy("nats_account", &made).await.unwrap();
    let late = process.apply("nats_user", None, user("c")).await.unwrap_err();
    tells(&late.diagnostics, &["Account `acme/orders` does not exist"]);
}
