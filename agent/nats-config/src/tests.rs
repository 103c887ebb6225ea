//! What must hold for every configuration, over generated ones.

mod change;
mod differing;
mod parsing;
mod trial;

use proptest::{option::of, prelude::*};
use serde_json::Value;

use crate::{
    ServerConfig, ShadowPlan, arbitrary, digest_of_text, reload_class, render, setting_differences, shadow,
    split,
};

/// Valid configurations, half of them in operator mode.
fn configs() -> impl Strategy<Value = ServerConfig> {
    arbitrary::server_config(of(arbitrary::unsigned_trust()).boxed())
}

/// The same JSON with every object's keys in the opposite order, and all on one line.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys
                .iter()
                .rev()
                .map(|key| format!("{}:{}", Value::from(key.as_str()), reversed(&map[*key])))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn generated_configurations_are_valid(config in configs()) {
        prop_assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn the_model_survives_json(config in configs()) {
        let text = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<ServerConfig>(&text).unwrap(), config);
    }

    #[test]
    fn rendering_is_json_with_sorted_keys_and_its_own_digest(config in configs()) {
        let rendered = render(&config);
        let value: Value = serde_json::from_str(&rendered.text).unwrap();
        prop_assert_eq!(&digest_of_text(&rendered.text).unwrap(), &rendered.digest);
        prop_assert_eq!(format!("{value:#}\n"), rendered.text);
        prop_assert_eq!(&value["server_name"], config.server_name.as_str());
        prop_assert!(setting_differences(&value, &value).is_empty());
    }

    #[test]
    fn the_digest_does_not_know_the_order_of_keys(config in configs()) {
        let rendered = render(&config);
        let value: Value = serde_json::from_str(&rendered.text).unwrap();
        prop_assert_eq!(digest_of_text(&reversed(&value)).unwrap(), rendered.digest);
    }

    #[test]
    fn two_configurations_share_a_digest_only_when_no_setting_differs(left in configs(), right in configs()) {
        let (left, right) = (render(&left), render(&right));
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let differences = setting_differences(&parse(&left.text), &parse(&right.text));
        prop_assert_eq!(differences.is_empty(), left.digest == right.digest);
    }

    #[test]
    fn a_control_character_in_an_extra_setting_is_refused(mut config in configs(), character in "[\u{0}-\u{8}]") {
        config.extra.insert("server_metadata".to_owned(), serde_json::json!({ "note": character }));
        let problems = config.validate().unwrap_err();
        prop_assert_eq!(&problems[0].path, "extra.server_metadata.note");
    }

    #[test]
    fn whatever_the_extra_settings_hold_nothing_panics_and_the_model_wins(
        config in configs(),
        keys in proptest::collection::vec("cluster|tls|jetstream|gateway|leafnodes|websocket|listen|Listen|server_metadata|[a-z]{0,4}", 0..4),
        value in differing::json_value(),
    ) {
        let mut odd = config.clone();
        odd.extra.extend(keys.iter().map(|key| (key.clone(), value.clone())));
        let declared: Value = serde_json::from_str(&render(&ServerConfig { extra: serde_json::Map::new(), ..config.clone() }).text).unwrap();
        let rendered: Value = serde_json::from_str(&render(&odd).text).unwrap();
        for (key, value) in declared.as_object().unwrap().iter().filter(|(_, value)| !value.is_object()) {
            prop_assert_eq!(&rendered[key], value);
        }
        // An answer of either kind is fine; that there is one is the point.
        let _ = (odd.validate(), shadow(&odd, &ShadowPlan { directory: "/run/trial".to_owned() }));
        let _ = (reload_class(&config, &odd), split(&config, &odd));
    }
}
