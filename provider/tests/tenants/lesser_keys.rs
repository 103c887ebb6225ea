//! What a provider does with a reader's credentials and with an account's key.

use serde_json::json;
use terraform_provider_nats::provider::NatsProvider;
use tfplug::Value;
use tfplug::testing::{Action, Harness};

use crate::jetstream::JetStream;
use crate::rig::{ROOT, Rig, account, block, orders, process_with, tells};

fn stream(account: &str) -> Value {
    block(json!({"account": format!("acme/{account}"), "name": "S", "subjects": ["s.>"]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_plans_what_is_there_as_unchanged_and_applies_nothing() {
    let rig = Rig::new().await;
    let root = rig.process().await;
    let made = orders(&root).await;
    let ephemeral = block(json!({"system": "acme/east", "expires": "1h"}));
    let pem = root.open("nats_reader_credentials", ephemeral.clone()).await.unwrap().result;
    let pem = pem.attr("reader_credentials").as_str().unwrap().to_owned();
    let reader = process_with(&rig.addresses, "reader_credentials", &pem).await;

    let (kept, _) = reader.read("nats_account", &made).await.unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept.state, made.state);
    let same = reader.plan("nats_account", Some(&kept), account("orders")).await.unwrap();
    assert_eq!(same.action, Action::NoOp);
    let before = rig.claims(0);
    let limited = account("orders").with("limits", Value::object([("connections", 5.into())]));
    let planned = reader.plan("nats_account", Some(&kept), limited.clone()).await.unwrap();
    assert_eq!(planned.action, Action::Update);
    let refused = reader.apply("nats_account", Some(&kept), limited).await.unwrap_err();
    tells(
        &refused.diagnostics,
        &["`reader_credentials` change nothing", "`root_key`", "Nothing was changed"],
    );
    let refused = reader.destroy("nats_account", &kept).await.unwrap_err();
    assert!(refused.diagnostics.has_errors());
    assert_eq!(rig.claims(0), before);
    let opened = reader.open("nats_reader_credentials", ephemeral).await.unwrap();
    assert!(opened.result.attr("reader_credentials").is_null());
    tells(&opened.diagnostics, &["was not opened"]);
    assert!(!format!("{refused:?}").contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_key_plans_streams_of_its_account_and_nothing_else() {
    let (rig, server) = (Rig::new().await, JetStream::default());
    rig.answer(server.answers());
    let root = rig.process().await;
    orders(&root).await;
    let user = block(json!({"account": "acme/orders", "name": "service"}));
    root.apply("nats_user", None, user).await.unwrap();
    let ephemeral = block(json!({"account": "acme/orders"}));
    let key = root.open("nats_account_key", ephemeral).await.unwrap().result;
    let key = key.attr("account_key").as_str().unwrap().to_owned();
    let team = process_with(&rig.addresses, "account_key", &key).await;

    team.apply("nats_stream", None, stream("orders")).await.unwrap();
    assert!(server.stream("S").is_some());
    let words = ["`account_key` is for account `acme/orders` only", "`root_key`"];
    let foreign = team.plan("nats_stream", None, stream("billing")).await.unwrap_err();
    tells(&foreign, &words);
    tells(&team.plan("nats_account", None, account("billing")).await.unwrap_err(), &words);
    let credentials = block(json!({"account": "acme/orders", "user": "service"}));
    let minted = team.open("nats_user_credentials", credentials.clone()).await.unwrap().result;
    let (_, claims) = rig.account(0, "orders").unwrap();
    let payload = minted.attr("jwt").as_str().unwrap().split('.').nth(1).unwrap();
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["iss"].as_str(), Some(claims.scopes[&"service".parse().unwrap()].key.as_str()));
    let other = team.open("nats_user_credentials", credentials.with("user", "other")).await.unwrap_err();
    tells(&other, &["`account_key` does not know user `acme/orders/other`"]);
}

#[tokio::test]
async fn exactly_one_key_is_taken_and_no_message_shows_it() {
    let harness = Harness::new(NatsProvider::without_environment()).await.unwrap();
    let two = Value::object([("root_key", ROOT.into()), ("account_key", "nats-account-key-v1.x".into())]);
    let problems = harness.configure(two).await.unwrap_err();
    tells(&problems, &["More than one key is given", "`root_key`, `account_key`"]);
    for (attribute, what) in [
        ("root_key", "The root key cannot be used"),
        ("account_key", "The account key cannot be used"),
        ("reader_credentials", "The reader's credentials cannot be used"),
    ] {
        let harness = Harness::new(NatsProvider::without_environment()).await.unwrap();
        let problems =
            harness.configure(Value::object([(attribute, "S3cretText".into())])).await.unwrap_err();
        tells(&problems, &[what, attribute]);
        assert!(!problems.to_string().contains("S3cretText"), "{problems}");
    }
}
