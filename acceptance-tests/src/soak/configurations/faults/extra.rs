//! Faults of the further settings: the names that attributes own under every name that the server knows, those that
//! nobody may set, and values that the server would read as something else.

use nats_config::{owned_settings, refused_settings};
use serde_json::{Map, Value, json};

/// One fault in `extra`.
#[derive(Clone, Debug)]
pub(super) struct ExtraFault {
    /// The setting, under the server's own names.
    pub(super) setting: String,
    /// What it is set to.
    pub(super) value: Value,
}

/// What people have written into the top level, or into JetStream, because it reads as if it belonged there; the
/// server refuses it, or means something else by it. All must be among the names that are refused.
const MISTAKEN: &[(&str, &str)] = &[
    ("listen", r#""10.10.151.212:5222""#),
    ("routes", r#"["nats-route://10.10.151.211:5222"]"#),
    ("server_name", r#""east-1""#),
    ("cluster.name", r#""east""#),
    ("gateway.name", r#""west""#),
    ("gateway.reject_unknown", "true"),
    ("gateway.gateways", r#"[{ "name": "east", "url": "nats://10.0.0.1:7222" }]"#),
    ("jetstream.max_memory", r#""16GB""#),
    ("jetstream.max_storage", r#""200GB""#),
    ("jetstream.max_mem", r#""16GB""#),
    ("jetstream.max_file_store", r#""200GB""#),
    ("jetstream.max_file", r#""200G""#),
    ("jetstream.max_streams", "1000"),
    ("jetstream.max_consumers", "10000"),
    ("jetstream.store_dir", r#""/data/jetstream""#),
    ("http_port", "8222"),
    ("http", r#""0.0.0.0:8222""#),
    ("https_port", "8222"),
    ("authorization", r#"{ "users": [{ "user": "a", "password": "b" }] }"#),
    ("authorization", r#"{ "users": [{ "user": 1, "password": 2 }] }"#),
    ("accounts", r#"{ "A": { "users": [{ "user": "a" }] }, "B": { "users": [{ "user": "a" }] } }"#),
    ("accounts", r#"{ "A": { "jetstream": { "max_storage": 1 } } }"#),
    ("cluster.authorization", r#"{ "users": [{ "user": "a", "password": "b" }] }"#),
    ("tls.timeout", "2"),
    ("tls.verify", "false"),
    ("cluster.tls.insecure", "true"),
    ("jetstream.reserved_mem", "1024"),
    ("jetstream.reserved_store", "1024"),
    ("lame_duck_duration", r#""10s""#),
    ("ping_interval", "20"),
    ("max_payload", r#""2MB""#),
    ("max_pending", "1024"),
    ("resolver", r#"{ "type": "full" }"#),
    ("resolver", r#""MEMORY""#),
    ("system_account", r#""SYS""#),
    ("operator", r#""/etc/nats/operator.jwt""#),
    ("cluster.accounts", r#"["A"]"#),
    ("include", r#""accounts.conf""#),
];

/// Values that the server reads as something else, or not at all, in settings that are otherwise free.
const MISREAD: &[(&str, &str)] = &[
    ("connect_error_reports", "null"),
    ("connect_error_reports", "18446744073709551615"),
    ("connect_error_reports", "1e30"),
    ("server_metadata", r#"{ "a": null }"#),
    ("server_metadata", r#"{ "a\"b": "c" }"#),
    ("server_metadata", r#"{ "a\\b": "c" }"#),
    ("server_metadata", r#"{ "a\nb": "c" }"#),
    ("server_metadata", "{ \"a\": \"\\u0001\" }"),
    ("server_metadata", "{ \"a\": [\"\\u0008\"] }"),
    ("cluster", "true"),
    ("cluster", r#"{ "pool_size": null }"#),
    ("Cluster", r#"{ "pool_size": 3 }"#),
    ("TLS", r#"{ "handshake_first": true }"#),
    ("jetstream", "false"),
    ("JetStream", r#"{ "strict": false }"#),
    ("websocket", r#"{ "listen": "10.0.0.1:8080", "tls": { "cert_file": "/etc/x.pem" } }"#),
    ("leafnodes", r#"{ "listen": "10.0.0.1:7422", "tls": { "key_file": "../x.pem" } }"#),
];

/// How many of [`MISTAKEN`] and [`MISREAD`] there are: each must be put in.
pub(super) fn mistakes() -> usize {
    MISTAKEN.len() + MISREAD.len()
}

/// All of them; the mistaken and misread ones first.
pub(super) fn all() -> Vec<ExtraFault> {
    let literal = |(setting, json): &(&str, &str)| {
        let value = serde_json::from_str(json).unwrap_or_else(|_| Value::from(*json));
        ExtraFault { setting: (*setting).to_owned(), value }
    };
    let named = |setting: String| ExtraFault { setting, value: json!(1) };
    let upper = |setting: String| {
        // Sections in upper case are refused as such; their settings count as well.
        let (section, key) =
            setting.rsplit_once('.').map_or(("", setting.as_str()), |(section, key)| (section, key));
        let key = key.to_uppercase();
        if section.is_empty() { key } else { format!("{section}.{key}") }
    };
    let names = || owned_settings().chain(refused_settings().map(str::to_owned));
    let mut faults: Vec<ExtraFault> = MISTAKEN.iter().chain(MISREAD).map(literal).collect();
    faults.extend(names().map(named));
    faults.extend(names().map(upper).map(named));
    faults
}

/// Puts a fault into a model; the path that must be named, or the first part of it.
pub(super) fn put(model: &mut Value, fault: &ExtraFault) -> Option<String> {
    let mut at = model.get_mut("extra")?;
    let mut keys: Vec<&str> = fault.setting.split('.').collect();
    let last = keys.pop()?;
    for key in keys {
        let map = at.as_object_mut()?;
        at = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    }
    at.as_object_mut()?.insert(last.to_owned(), fault.value.clone());
    Some(format!("extra.{}", fault.setting))
}
