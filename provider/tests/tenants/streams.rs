//! `nats_stream` on a scripted server: what is gone, what only keeps silent, what is whose.

use std::collections::BTreeMap;

use nats_agent_api::server::{Method, ServiceError};
use serde_json::json;
use tfplug::Value;
use tfplug::testing::Action;

use crate::jetstream::{Fault, JetStream};
use crate::rig::{Rig, account, block, lonely, tells, unprotected};

fn stream() -> Value {
    block(json!({"account": "acme/orders", "name": "ORDERS", "subjects": ["orders.>"], "max_age": "1h"}))
}

async fn rig() -> (Rig, JetStream) {
    let (rig, server) = (Rig::new().await, JetStream::default());
    rig.answer(server.answers());
    (rig, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_nobody_there_creates_and_is_wholly_known() {
    let process = lonely().await;
    let plan = process.plan("nats_stream", None, stream()).await.unwrap();
    assert_eq!(plan.action, Action::Create);
    assert!(plan.planned.is_wholly_known());
    assert_eq!(plan.planned.attr("id").as_str(), Some("acme/orders/ORDERS"));
    assert_eq!(plan.planned.attr("duplicate_window").as_str(), Some("2m"));
    let short = process.plan("nats_stream", None, stream().with("max_age", "30s")).await.unwrap();
    assert_eq!(short.planned.attr("duplicate_window").as_str(), Some("30s"));
    let later = process.plan("nats_stream", None, stream().with("max_age", Value::unknown())).await.unwrap();
    assert!(!later.planned.attr("duplicate_window").is_known());
    let later = process.plan("nats_stream", None, stream().with("account", Value::unknown())).await.unwrap();
    assert!(!later.planned.attr("id").is_known());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_waits_for_servers_that_have_just_heard_of_the_account() {
    let (rig, server) = rig().await;
    server.set(Fault::Enabling);
    rig.process().await.apply("nats_stream", None, stream()).await.unwrap();
    assert_eq!(server.asked(), ["INFO", "INFO", "INFO", "INFO", "CREATE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_a_lost_leader_keep_state_and_not_found_is_gone() {
    let (rig, server) = rig().await;
    let made = rig.process().await.apply("nats_stream", None, stream()).await.unwrap();
    let (kept, warnings) = lonely().await.read("nats_stream", &made).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&made));
    tells(&warnings, &["warning: ", "Its state is kept as it was."]);
    for (fault, text) in [(Fault::Silent, "cannot be read"), (Fault::Leaderless, "cannot be read")] {
        server.set(fault);
        let (kept, warnings) = rig.process().await.read("nats_stream", &made).await.unwrap();
        assert_eq!(kept.as_ref(), Some(&made), "{fault:?}");
        tells(&warnings, &["warning: Stream `acme/orders/ORDERS`", text, "Its state is kept as it was."]);
    }
    server.set(Fault::Unlisted);
    let (kept, warnings) = rig.process().await.read("nats_stream", &made).await.unwrap();
    assert_eq!((kept.as_ref(), warnings.is_empty()), (Some(&made), true));
    server.set(Fault::None);
    server.remove("ORDERS");
    let (gone, _) = rig.process().await.read("nats_stream", &made).await.unwrap();
    assert_eq!(gone, None);
}

/// As after a destroy that was killed, when terraform's state knows nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_account_was_deleted_is_gone_and_one_that_is_only_kept_out_is_not() {
    let (rig, server) = rig().await;
    let process = rig.process().await;
    let account = process.apply("nats_account", None, unprotected(account("orders"))).await.unwrap();
    let made = process.apply("nats_stream", None, unprotected(stream())).await.unwrap();
    let keep_out = |is_out: bool| {
        let refusal = ServiceError::Denied("authorization violation".to_owned());
        let fail: BTreeMap<_, _> = is_out.then_some((Method::Tunnel, refusal)).into_iter().collect();
        rig.agents.iter().for_each(|agent| agent.script(|script| script.fail = fail.clone()));
    };
    keep_out(true);
    let (kept, _) = rig.process().await.read("nats_stream", &made).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&made));
    rig.process().await.destroy("nats_stream", &made).await.unwrap_err();

    keep_out(false);
    server.remove("ORDERS");
    rig.process().await.destroy("nats_account", &account).await.unwrap();
    keep_out(true);
    assert_eq!(rig.process().await.read("nats_stream", &made).await.unwrap().0, None);
    rig.process().await.destroy("nats_stream", &made).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_mark_is_adopted() {
    let (rig, server) = rig().await;
    server.put(json!({"name": "ORDERS", "subjects": ["orders.>"], "max_age": 3_600_000_000_000_u64,
                      "duplicate_window": 120_000_000_000_u64}));
    server.fill(5);
    let foreign = rig.process().await.apply("nats_stream", None, stream()).await.unwrap_err();
    assert_eq!(foreign.left, None);
    tells(
        &foreign.diagnostics,
        &[
            "`acme/orders/ORDERS` exists already (at name)",
            "It was not made by Terraform; it holds 5 messages",
            "terraform import nats_stream.<name> acme/orders/ORDERS",
        ],
    );
    assert!(!server.asked().contains(&"UPDATE".to_owned()));
    server.put(
        json!({"name": "ORDERS", "subjects": ["old"], "metadata": {"terraform.owner": "acme/orders/OTHER"}}),
    );
    let others = rig.process().await.apply("nats_stream", None, stream()).await.unwrap_err();
    tells(&others.diagnostics, &["It belongs to another configuration, as `acme/orders/OTHER`"]);
    server.put(json!({"name": "ORDERS", "subjects": ["old"], "consumer_limits": {"max_ack_pending": 3},
                      "metadata": {"terraform.owner": "acme/orders/ORDERS"}}));
    rig.process().await.apply("nats_stream", None, stream()).await.unwrap();
    let config = server.stream("ORDERS").unwrap();
    assert_eq!(
        (&config["subjects"], &config["consumer_limits"]),
        (&json!(["orders.>"]), &json!({"max_ack_pending": 3}))
    );
    assert!(!server.asked().contains(&"CREATE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_makes_something_else_is_an_error_and_is_adopted_later() {
    let (rig, server) = rig().await;
    server.set(Fault::Alters);
    let process = rig.process().await;
    let altered = process.apply("nats_stream", None, stream()).await.unwrap_err();
    assert_eq!(altered.left, None);
    tells(
        &altered.diagnostics,
        &[
            "Stream `acme/orders/ORDERS` is not what was asked for",
            "made something else of it: `max_msgs` is `7`, asked for `-1`.",
        ],
    );
    server.set(Fault::None);
    process.apply("nats_stream", None, stream()).await.unwrap();
    assert_eq!(server.stream("ORDERS").unwrap()["max_msgs"], json!(-1));
}

#[tokio::test(flavor = "multi_thread")]
async fn protection_refuses_destroy_losses_and_replacement_at_plan() {
    let (rig, server) = rig().await;
    let process = rig.process().await;
    let made = process.apply("nats_stream", None, stream()).await.unwrap();
    server.fill(10);
    let process = rig.process().await;
    let refused = process.destroy("nats_stream", &made).await.unwrap_err();
    tells(
        &refused.diagnostics,
        &["`acme/orders/ORDERS` is protected from deletion", "It holds 10 messages."],
    );
    for (change, value, text) in [
        ("max_messages", Value::from(4), "`max_messages` = 4 deletes 6 of 10 messages"),
        ("max_age", "30m".into(), "`max_age` = `30m` deletes those of 10 messages that are older"),
        (
            "storage",
            "memory".into(),
            "NATS cannot edit this in place: storage cannot change from `file` to `memory`",
        ),
        ("name", "OTHER".into(), "It would be deleted with its messages"),
        ("account", "acme/billing".into(), "`acme/billing/ORDERS` be made in its place"),
    ] {
        let problems =
            process.plan("nats_stream", Some(&made), stream().with(change, value)).await.unwrap_err();
        tells(&problems, &[text, "deletion_protection = false"]);
    }
    let looser = process.plan("nats_stream", Some(&made), stream().with("max_age", "2h")).await.unwrap();
    assert_eq!((looser.action, looser.diagnostics.is_empty()), (Action::Update, true));
    assert!(server.stream("ORDERS").is_some());

    let open = process.apply("nats_stream", Some(&made), unprotected(stream())).await.unwrap();
    assert_eq!(server.stream("ORDERS").unwrap()["metadata"]["terraform.deletion_protection"], json!("false"));
    let narrow = unprotected(stream()).with("max_messages", 4);
    let plan = process.plan("nats_stream", Some(&open), narrow).await.unwrap();
    tells(&plan.diagnostics, &["warning: The change deletes messages of `acme/orders/ORDERS`"]);
    let memory = unprotected(stream()).with("storage", "memory");
    let plan = process.plan("nats_stream", Some(&open), memory.clone()).await.unwrap();
    assert_eq!(plan.action, Action::Replace);
    tells(&plan.diagnostics, &["Its messages are deleted."]);
    let replaced = process.apply("nats_stream", Some(&open), memory).await.unwrap();
    assert_eq!(server.stream("ORDERS").unwrap()["storage"], json!("memory"));
    process.destroy("nats_stream", &replaced).await.unwrap();
    assert_eq!(server.stream("ORDERS"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_ends_is_opened_again() {
    let (mut rig, server) = rig().await;
    let process = rig.process().await;
    let made = process.apply("nats_stream", None, stream()).await.unwrap();
    // The first host carried the tunnel.
    drop(rig.agents.remove(0));
    let changed = process.apply("nats_stream", Some(&made), stream().with("description", "x")).await.unwrap();
    assert_eq!(changed.state.attr("description").as_str(), Some("x"));
    assert_eq!(server.stream("ORDERS").unwrap()["description"], json!("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_nothing_or_of_no_id_says_so() {
    let (rig, _) = rig().await;
    let process = rig.process().await;
    let nothing = process.import("nats_stream", "acme/orders/NOTHING").await.unwrap_err();
    tells(&nothing, &["non-existent"]);
    let wrong = process.import("nats_stream", "acme/orders/a.b").await.unwrap_err();
    tells(&wrong, &["Wrong import id", "it has the form `<authority>/<account>/<stream>`"]);
}
