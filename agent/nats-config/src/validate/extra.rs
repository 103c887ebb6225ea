//! Rules of the further settings: none that the model owns, none that belong elsewhere, and only values that the
//! server reads as they are meant.

use serde_json::{Map, Value};

use crate::{
    ServerConfig,
    difference::shown,
    digest::{is_readable, is_readable_key},
};

use super::{Problems, paths};

/// Keys that the model renders, each with the other names that the server takes for the same setting.
/// Source: nats-server 2.15.1 server/opts.go, each name tried with `-t`.
const OWNED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "server_name",
            "listen",
            "port",
            "host",
            "net",
            "client_advertise",
            "http",
            "http_port",
            "monitor_port",
            "https",
            "https_port",
            "operator",
            "operators",
            "root",
            "roots",
            "trusted",
            "trusted_keys",
            "system_account",
            "system",
            "resolver",
            "account_resolver",
            "resolver_preload",
            "max_payload",
            "max_connections",
            "max_conn",
            "max_pending",
            "max_control_line",
            "max_subscriptions",
            "max_subs",
            "ping_interval",
            "ping_max",
            "write_deadline",
            "debug",
            "trace",
            "logtime_utc",
            "log_file",
            "logfile",
            "logfile_size_limit",
            "log_size_limit",
            "logfile_max_num",
            "log_max_num",
            "server_tags",
            "lame_duck_duration",
            "lame_duck_grace_period",
            "pid_file",
            "pidfile",
            "ports_file_dir",
        ],
    ),
    ("tls", TLS),
    (
        "cluster",
        &[
            "name",
            "listen",
            "host",
            "net",
            "port",
            "advertise",
            "cluster_advertise",
            "no_advertise",
            "routes",
        ],
    ),
    ("cluster.tls", TLS),
    (
        "gateway",
        &[
            "name",
            "listen",
            "host",
            "net",
            "port",
            "advertise",
            "reject_unknown",
            "reject_unknown_cluster",
            "gateways",
        ],
    ),
    ("gateway.tls", TLS),
    (
        "jetstream",
        &[
            "store_dir",
            "storedir",
            "store",
            "max_memory_store",
            "max_mem_store",
            "max_mem",
            "max_file_store",
            "max_file",
            "unique_tag",
            "sync_interval",
            "sync",
            "domain",
            "enabled",
            "enable",
        ],
    ),
    ("jetstream.limits", &["max_ack_pending", "max_ha_assets", "max_request_batch", "duplicate_window"]),
];

const TLS: &[&str] = &["cert_file", "key_file", "ca_file", "verify", "timeout", "pinned_certs", "certs"];

/// Settings of any TLS block that name files.
const CERTIFICATE_FILES: [&str; 3] = ["cert_file", "key_file", "ca_file"];

/// Settings that nobody may set here, with the reason and what to do instead.
const REFUSED: &[(&str, &str, &str)] = &[
    ("accounts", "accounts live outside the server configuration", "declare `nats_account`"),
    ("authorization", "users live outside the server configuration", "declare `nats_user`"),
    ("no_auth_user", "nobody connects without credentials", "leave it out"),
    ("default_sentinel", "nobody connects without credentials", "leave it out"),
    (
        "cluster.accounts",
        "pinned accounts break the traffic of the whole cluster when they come by reload, and health checks do \
         not see it",
        "leave it out",
    ),
    ("cluster.authorization", "routes are authenticated by certificates", "leave it out"),
    ("gateway.authorization", "gateways are authenticated by certificates", "leave it out"),
    (
        "routes",
        "nats-server knows routes in `cluster` only, and they are derived from the nodes",
        "leave it out",
    ),
    ("store_dir", "nats-server knows it in `jetstream` only", "use the attribute `jetstream.store_dir`"),
    ("reject_unknown", "nats-server knows it in `gateway` only", "use `reject_unknown` of `nats_gateway`"),
    (
        "jetstream.max_memory",
        "nats-server knows it in accounts only",
        "use the attribute `jetstream.max_memory`",
    ),
    (
        "jetstream.max_storage",
        "nats-server knows no such setting",
        "use the attribute `jetstream.max_storage`",
    ),
    (
        "jetstream.max_streams",
        "nats-server bounds streams for each account, not for a server",
        "use `jetstream` of `nats_account`",
    ),
    (
        "jetstream.max_consumers",
        "nats-server bounds consumers for each account, not for a server",
        "use `jetstream` of `nats_account`",
    ),
    ("jetstream.reserved_mem", "is something that nats-server tells, not a setting", "leave it out"),
    ("jetstream.reserved_store", "is something that nats-server tells, not a setting", "leave it out"),
    ("jetstream.reserved_memory", "is something that nats-server tells, not a setting", "leave it out"),
    ("jetstream.reserved_storage", "is something that nats-server tells, not a setting", "leave it out"),
    ("jetstream.key", "an encryption key is a secret and would be in state and on disk", "leave it out"),
    ("jetstream.ek", "an encryption key is a secret and would be in state and on disk", "leave it out"),
    ("jetstream.encryption_key", "an encryption key is a secret and would be in state", "leave it out"),
    ("jetstream.prev_key", "an encryption key is a secret and would be in state and on disk", "leave it out"),
    ("jetstream.prev_ek", "an encryption key is a secret and would be in state and on disk", "leave it out"),
    ("jetstream.prev_encryption_key", "an encryption key is a secret", "leave it out"),
    ("tls.insecure", "certificates are always checked", "leave it out"),
    ("cluster.tls.insecure", "certificates are always checked", "leave it out"),
    ("gateway.tls.insecure", "certificates are always checked", "leave it out"),
    ("allow_non_tls", "there is no insecure mode", "leave it out"),
    ("include", "other files are not part of the signed configuration", "write the settings themselves"),
];

/// The server's names for the listener of leaf nodes.
const LEAF_NODES: [&str; 2] = ["leafnodes", "leaf"];

/// Sections of the model: extra settings may be added inside, but the section itself is ours.
const SECTIONS: &[&str] =
    &["tls", "cluster", "cluster.tls", "gateway", "gateway.tls", "jetstream", "jetstream.limits"];

/// Every setting that [`ServerConfig::extra`] may not hold because the model owns it, as dotted paths under all of
/// the server's names for it, lower case; their use in upper case is refused too.
pub fn owned_settings() -> impl Iterator<Item = String> {
    OWNED.iter().flat_map(|(section, keys)| {
        keys.iter().map(
            move |key| {
                if section.is_empty() { (*key).to_owned() } else { format!("{section}.{key}") }
            },
        )
    })
}

/// Every setting that [`ServerConfig::extra`] may not hold for another reason than an attribute of its own, as
/// [`owned_settings`] tells them.
pub fn refused_settings() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().map(|(setting, _, _)| *setting)
}

pub(super) fn check(config: &ServerConfig, problems: &mut Problems) {
    check_section("", &config.extra, config, problems);
    // Source: nats-server 2.15.1 server/leafnode.go (`validateLeafNode`); `-t` passes it, the start is refused.
    if config.gateway.is_some() && config.trust.is_none() {
        for key in config.extra.keys().filter(|key| LEAF_NODES.contains(&key.to_lowercase().as_str())) {
            let problem = "leaf nodes beside a gateway need a system account, and there is no operator mode";
            problems.add(&format!("extra.{key}"), "(present)", problem, "give `trust`, or leave it out");
        }
    }
}

fn check_section(
    section: &str,
    settings: &Map<String, Value>,
    config: &ServerConfig,
    problems: &mut Problems,
) {
    let owned = OWNED.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
    for (key, value) in settings {
        let lower = key.to_lowercase();
        let name = if section.is_empty() { lower.clone() } else { format!("{section}.{lower}") };
        let path =
            format!("extra.{}", if section.is_empty() { key.clone() } else { format!("{section}.{key}") });
        let refused = REFUSED.iter().find(|(refused, _, _)| *refused == name);
        if let Some((_, problem, remedy)) = refused {
            // The value is not shown: it may be a secret.
            problems.add(&path, "(hidden)", problem, remedy);
        } else if owned.contains(&lower.as_str()) {
            let remedy = "leave it out here and use the attribute of its own";
            problems.add(&path, shown(&name, value), "has an attribute of its own", remedy);
        } else if SECTIONS.contains(&name.as_str()) {
            check_known_section(&path, &name, key, value, config, problems);
        } else {
            check_value(&path, value, problems);
        }
        check_key(&path, key, problems);
    }
}

fn check_known_section(
    path: &str,
    name: &str,
    key: &str,
    value: &Value,
    config: &ServerConfig,
    problems: &mut Problems,
) {
    let top = name.split('.').next().unwrap_or(name);
    let is_there = match top {
        "cluster" => config.cluster.is_some(),
        "gateway" => config.gateway.is_some(),
        "jetstream" => config.jetstream.is_some(),
        _ => true,
    };
    if key != key.to_lowercase() {
        problems.add(path, key, "would be a second section of the same name", "write it in lower case");
    } else if !is_there {
        let problem = format!("adds to `{top}`, which this server does not have");
        problems.add(path, shown(name, value), &problem, "leave it out");
    } else if let Value::Object(inner) = value {
        check_section(name, inner, config, problems);
    } else {
        problems.add(path, shown(name, value), "is no object", "give an object of settings");
    }
}

/// Values that the server would read as something else, or not at all.
fn check_value(path: &str, value: &Value, problems: &mut Problems) {
    match value {
        Value::Null => problems.add(path, "null", "the server reads it as the text `null`", "leave it out"),
        Value::Number(number) if !is_readable(number) => {
            let problem = "is no signed 64-bit integer nor a decimal without exponent";
            problems.add(path, number, problem, "give a smaller number, or a text");
        }
        Value::String(text) => check_text(path, text, problems),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_value(&format!("{path}[{index}]"), item, problems);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let path = format!("{path}.{key}");
                check_key(&path, key, problems);
                check_value(&path, item, problems);
                // Listeners that the model does not know have certificates too.
                if let (true, Value::String(file)) = (CERTIFICATE_FILES.contains(&key.as_str()), item) {
                    paths::check_relative(&path, file, problems);
                }
            }
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON writes other control characters as `\u0001`, which the server's reader refuses.
/// Source: nats-server 2.15.1 conf/lex.go, tried: only `\xXX`, `\t`, `\n`, `\r`, `\"`, `\\`.
fn check_text(path: &str, text: &str, problems: &mut Problems) {
    if text.chars().any(|one| one < ' ' && !"\t\n\r".contains(one)) {
        problems.add(
            path,
            format!("{text:?}"),
            "holds a control character that the server refuses",
            "remove it",
        );
    }
}

fn check_key(path: &str, key: &str, problems: &mut Problems) {
    if !is_readable_key(key) {
        let problem =
            "the key holds a quote, backslash or control character, which the server reads otherwise";
        problems.add(path, format!("{key:?}"), problem, "use other characters in keys");
    }
}
