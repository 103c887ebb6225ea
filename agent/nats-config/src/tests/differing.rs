//! What a person reads about a file that is not as it should be.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{ServerConfig, render, setting_differences};

use super::configs;

/// `setting: desired -> found`, one a line, `-` for absent.
fn told(desired: &Value, found: &Value) -> Vec<String> {
    let side = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
    setting_differences(desired, found)
        .into_iter()
        .map(|one| format!("{}: {} -> {}", one.setting, side(one.desired), side(one.found)))
        .collect()
}

#[test]
fn each_setting_is_told_by_its_path() {
    let desired = json!({
        "max_payload": 1048576, "debug": false, "server_tags": ["az:a"],
        "jetstream": { "max_file_store": 1, "store_dir": "/data" }, "gateway": { "name": "east" },
    });
    let found = json!({
        "max_payload": 2097152, "debug": "false", "server_tags": ["az:a", "x"],
        "jetstream": { "max_file_store": 2, "store_dir": "/data", "domain": "hub" }, "websocket": {},
    });
    assert_eq!(
        told(&desired, &found),
        [
            "debug: false -> false",
            "gateway.name: east -> -",
            "jetstream.domain: - -> hub",
            "jetstream.max_file_store: 1 -> 2",
            "max_payload: 1048576 -> 2097152",
            r#"server_tags: ["az:a"] -> ["az:a","x"]"#,
            "websocket: - -> {}",
        ]
    );
}

#[test]
fn a_value_of_another_kind_is_told_whole() {
    assert_eq!(
        told(&json!({ "jetstream": { "a": 1 } }), &json!({ "jetstream": true })),
        [r#"jetstream: {"a":1} -> true"#]
    );
    assert_eq!(told(&json!({}), &json!([])), ["(whole file): {} -> []"]);
}

#[test]
fn a_secret_that_somebody_wrote_into_the_file_is_not_told() {
    let found = json!({
        "authorization": { "user": "admin", "password": "s3cret", "token": "s3cret" },
        "accounts": { "A": { "users": [{ "user": "u", "password": "s3cret" }] } },
        "jetstream": { "key": "s3cret", "EK": "s3cret" },
        "leafnodes": { "remotes": [{ "url": "nats-leaf://u:s3cret@hub:7422" }] },
        "cluster": { "routes": ["nats-route://u:s3cret@a:1"], "authorization": { "Pass": "s3cret" } },
        "server_metadata": { "note": "-----BEGIN PRIVATE KEY-----s3cret" },
    });
    let told = told(&json!({}), &found);
    assert!(!told.concat().contains("s3cret"), "{told:#?}");
    assert_eq!(told.iter().filter(|line| line.ends_with("- -> (hidden)")).count(), 9, "{told:#?}");
    assert!(told.contains(&"authorization.user: - -> admin".to_owned()), "{told:#?}");
}

#[test]
fn a_long_text_is_told_by_its_start_and_sum() {
    let told = told(&json!({ "operator": "e".repeat(97) }), &json!({ "operator": "e".repeat(96) }));
    let start = "e".repeat(24);
    let sum = &crate::Sha256Hex::of("e".repeat(97).as_bytes()).as_str()[..12].to_owned();
    assert_eq!(told, [format!("operator: {start}... (97 characters, sha256 {sum}) -> {}", "e".repeat(96))]);
}

/// Any JSON, a few levels deep.
pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z.]{0,4}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn differences_are_empty_only_for_equal_values_and_turn_round(left in json_value(), right in json_value()) {
        let forth = setting_differences(&left, &right);
        prop_assert_eq!(forth.is_empty(), left == right);
        let back: Vec<_> = setting_differences(&right, &left)
            .into_iter()
            .map(|one| crate::SettingDifference { setting: one.setting, desired: one.found, found: one.desired })
            .collect();
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn one_edited_setting_is_the_only_difference(config in configs()) {
        let parse = |config: &ServerConfig| serde_json::from_str::<Value>(&render(config).text).unwrap();
        let desired = parse(&config);
        let mut found = desired.clone();
        found["lame_duck_duration"] = json!("31m");
        prop_assert_eq!(told(&desired, &found), [format!("lame_duck_duration: {} -> 31m", config.lame_duck.duration)]);
    }
}
