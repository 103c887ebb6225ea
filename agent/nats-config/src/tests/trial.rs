//! Nothing of the original survives in a trial.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{ServerConfig, ShadowPlan, digest_of_text, shadow};

use super::configs;

const DIRECTORY: &str = "/run/trial";

fn trial(config: &ServerConfig) -> Value {
    let rendered = shadow(config, &ShadowPlan { directory: DIRECTORY.to_owned() });
    assert_eq!(digest_of_text(&rendered.text).unwrap(), rendered.digest);
    serde_json::from_str(&rendered.text).unwrap()
}

/// Every text in `value` with the path that leads to it, keys included.
fn texts(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => into.push((path.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(path, item, into)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            let path = format!("{path}.{key}");
            into.push((path.clone(), key.clone()));
            texts(&path, item, into);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Addresses, names and places of the original, read from the model's own JSON and not through the code under test.
fn traces(config: &ServerConfig) -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>) {
    let model = serde_json::to_value(config).unwrap();
    let mut addresses = BTreeSet::new();
    for listener in ["client", "monitor", "cluster", "gateway"] {
        let one = &model[listener];
        if let (Some(address), Some(port)) = (one["address"].as_str(), one["port"].as_u64()) {
            let shown = if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            };
            addresses.insert(shown);
        }
        addresses.extend(one["advertise"].as_str().map(str::to_owned));
        addresses.extend(
            one["routes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
        );
    }
    let mut names = BTreeSet::from([config.server_name.to_string()]);
    names.extend(model["cluster"]["name"].as_str().map(str::to_owned));
    for (name, urls) in model["gateway"]["remotes"].as_object().into_iter().flatten() {
        names.insert(name.clone());
        addresses.extend(urls.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned));
    }
    let places = [
        &model["jetstream"]["store_dir"],
        &model["trust"]["resolver"]["dir"],
        &model["logging"]["log_file"],
        &model["pid_file"],
    ];
    (addresses, names, places.iter().filter_map(|place| place.as_str()).map(str::to_owned).collect())
}

/// `config` with names that no other setting has by chance.
fn named(config: &ServerConfig) -> ServerConfig {
    let named = |name: &str| format!("name-of-{name}");
    let mut model = serde_json::to_value(config).unwrap();
    model["server_name"] = named(config.server_name.as_str()).into();
    if let Some(name) = model.pointer_mut("/cluster/name") {
        *name = named(name.as_str().unwrap()).into();
    }
    if let Some(Value::Object(remotes)) = model.pointer_mut("/gateway/remotes") {
        *remotes = std::mem::take(remotes).into_iter().map(|(name, urls)| (named(&name), urls)).collect();
    }
    serde_json::from_value(model).unwrap()
}

proptest! {
    #[test]
    fn no_address_name_or_directory_survives(config in configs(), hidden in any::<bool>()) {
        let mut config = named(&config);
        let (addresses, names, places) = traces(&config);
        if hidden {
            // Extra settings are the way by which an original could slip through.
            let listen = addresses.iter().next().unwrap();
            config.extra.insert("leafnodes".to_owned(), json!({
                "listen": listen, "remotes": [{ "url": format!("nats://{listen}") }], "no_advertise": true,
            }));
            config.extra.insert("server_metadata".to_owned(), json!({
                "name": names.iter().next(), "urls": addresses.iter().map(|one| format!("see {one}")).collect::<Vec<_>>(),
                "places": places, "kept": "yes",
            }));
        }
        let trial = trial(&config);
        let mut found = Vec::new();
        texts("", &trial, &mut found);
        for (path, text) in found {
            prop_assert!(!addresses.iter().any(|one| text.contains(one.as_str())), "{path} is {text}");
            let is_file = path.contains("tls.") || path.starts_with(".resolver_preload") || path.ends_with(&format!(".{text}"));
            prop_assert!(is_file || !names.contains(&text), "{path} is {text}");
            prop_assert!(!places.contains(&text) || path.ends_with(&format!(".{text}")), "{path} is {text}");
        }
        if hidden {
            prop_assert_eq!(&trial["leafnodes"], &json!({ "listen": "127.0.0.1:-1", "no_advertise": true }));
            prop_assert_eq!(&trial["server_metadata"]["kept"], "yes");
        }
    }

    #[test]
    fn every_listener_is_on_loopback_and_every_dialled_address_too(config in configs()) {
        let trial = trial(&config);
        let mut found = Vec::new();
        texts("", &trial, &mut found);
        for (path, text) in found.iter().filter(|(path, text)| !path.ends_with(&format!(".{text}"))) {
            if path.ends_with(".listen") || path == ".http" {
                prop_assert_eq!(text, "127.0.0.1:-1");
            }
            if path.ends_with(".routes") || path.ends_with(".urls") {
                prop_assert!(text.contains("://127.0.0.1:"), "{} is {}", path, text);
            }
            if path.ends_with(".store_dir") || path.ends_with(".dir") {
                prop_assert!(text.starts_with("/run/trial/"), "{} is {}", path, text);
            }
        }
        prop_assert_eq!(&trial["tls"], &serde_json::from_str::<Value>(&crate::render(&config).text).unwrap()["tls"]);
    }
}
