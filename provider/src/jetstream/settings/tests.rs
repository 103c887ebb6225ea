//! Settings into the server's JSON and back.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn orders() -> StreamSettings {
    StreamSettings::from_json(&object(json!({
        "name": "ORDERS", "subjects": ["orders.>"], "num_replicas": 3, "max_bytes": 1024, "max_msgs": -1,
        "duplicate_window": 120_000_000_000_u64, "metadata": {"team": "shop", "_nats.ver": "2.15.1"},
    })))
    .unwrap()
}

#[test]
fn reads_the_servers_defaults_and_leaves_its_own_metadata_out() {
    let settings = orders();
    assert_eq!((settings.storage.as_str(), settings.retention.as_str()), ("file", "limits"));
    assert_eq!(settings.max_messages, None);
    assert_eq!(settings.max_bytes.map(ByteSize::bytes), Some(1024));
    assert_eq!(settings.metadata, BTreeMap::from([("team".to_owned(), "shop".to_owned())]));
}

#[test]
fn an_update_keeps_what_it_does_not_know() {
    let mut config = object(json!({
        "name": "ORDERS", "consumer_limits": {"max_ack_pending": 7}, "future": true,
        "metadata": {"_nats.ver": "2.15.1", "gone": "x"}, "placement": {"cluster": "west"},
    }));
    orders().write_into(&mut config, "acme/orders/ORDERS", false);
    assert_eq!(config["consumer_limits"], json!({"max_ack_pending": 7}));
    assert_eq!(config["future"], json!(true));
    assert!(!config.contains_key("placement"));
    assert_eq!(
        config["metadata"],
        json!({"_nats.ver": "2.15.1", "team": "shop", "terraform.owner": "acme/orders/ORDERS",
               "terraform.deletion_protection": "false"})
    );
    assert_eq!(owner(&config).as_deref(), Some("acme/orders/ORDERS"));
    assert!(!is_protected(&config));
}

#[test]
fn a_setting_of_another_type_is_named() {
    let error = StreamSettings::from_json(&object(json!({"name": "A", "max_bytes": "much"}))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server's answer holds `max_bytes` = `\"much\"`, which is no whole number"
    );
}

#[test]
fn the_duplicate_window_is_never_longer_than_messages_live() {
    let mut settings = orders();
    assert_eq!(settings.default_duplicate_window().unwrap().to_string(), "2m");
    settings.max_age = Some("30s".parse().unwrap());
    assert_eq!(settings.default_duplicate_window().unwrap().to_string(), "30s");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        max_messages in proptest::option::of(1u64..1 << 40),
        replicas in 1u64..=5,
        subjects in proptest::collection::btree_set("[a-z]{1,8}(\\.[a-z*]{1,5}){0,3}", 0..5),
        cluster in proptest::option::of("[a-z]{1,8}"),
        deny_delete: bool,
        metadata in proptest::collection::btree_map("[a-z]{1,5}", ".{0,8}", 0..3),
    ) {
        let declared = StreamSettings {
            max_messages, replicas, subjects, placement_cluster: cluster, deny_delete, metadata, ..orders()
        };
        let read = StreamSettings::from_json(&declared.to_json("o", true)).unwrap();
        prop_assert_eq!(read, declared);
    }

    #[test]
    fn no_answer_panics(text in "[\\{\\}\\[\\]\":,a-z0-9 ]{0,200}") {
        if let Ok(Value::Object(config)) = serde_json::from_str(&text) {
            let _ = StreamSettings::from_json(&config);
        }
    }
}
