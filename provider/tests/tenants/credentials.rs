//! `nats_user_credentials`.

use serde_json::json;

use crate::rig::{ROOT, Rig, block, orders, tells};

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_minted_for_a_user_that_exists_and_end() {
    let rig = Rig::new().await;
    let process = rig.process().await;
    orders(&process).await;
    let wanted = block(json!({"account": "acme/orders", "user": "service", "expires": "30m"}));
    let unknown = process.open("nats_user_credentials", wanted.clone()).await.unwrap_err();
    tells(&unknown, &["User `acme/orders/service` does not exist (at user)"]);
    let user = block(json!({"account": "acme/orders", "name": "service"}));
    process.apply("nats_user", None, user).await.unwrap();

    let first = process.open("nats_user_credentials", wanted.clone()).await.unwrap().result;
    let second = process.open("nats_user_credentials", wanted.clone()).await.unwrap().result;
    let text = first.attr("credentials").as_str().unwrap();
    assert!(
        text.contains("-----BEGIN NATS USER JWT-----") && text.contains("-----BEGIN USER NKEY SEED-----")
    );
    assert!(text.contains(first.attr("jwt").as_str().unwrap()));
    assert_ne!(first.attr("user_public_key"), second.attr("user_public_key"));
    let payload = first.attr("jwt").as_str().unwrap().split('.').nth(1).unwrap();
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["sub"].as_str(), first.attr("user_public_key").as_str());
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 1800);
    let (_, account) = rig.account(0, "orders").unwrap();
    let scope = &account.scopes[&"service".parse().unwrap()];
    assert_eq!(claims["iss"].as_str(), Some(scope.key.as_str()), "only the scope's key signs");

    let key = first.attr("user_public_key").as_str().unwrap();
    let brought =
        block(json!({"account": "acme/orders", "user": "service", "public_key": key, "expires": "never"}));
    let brought = process.open("nats_user_credentials", brought).await.unwrap().result;
    assert!(brought.attr("credentials").is_null() && brought.attr("jwt").as_str().is_some());
    assert!(!format!("{:?}", rig.claims(0)).contains(ROOT));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_attribute_is_told_at_its_place() {
    let rig = Rig::new().await;
    let wrong = block(json!({"account": "orders", "user": "a b", "expires": "0s", "public_key": "SUXYZ"}));
    let problems = rig.process().await.open("nats_user_credentials", wrong).await.unwrap_err();
    tells(&problems, &["(at account)", "(at user)", "No life at all (at expires)", "(at public_key)"]);
    assert!(!problems.to_string().contains("SUXYZ"), "what could be a seed is not repeated: {problems}");
}
