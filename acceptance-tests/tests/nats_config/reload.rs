//! Each reload rule, tried on a running server, both ways.

use std::{collections::BTreeSet, fs};

use nats_config::{Change, ServerConfig, reload_class, reload_rules, render, split};
use serde_json::{Map, Value, json};

use crate::{
    server::{Reloaded, Server},
    site::{Site, authority, trust},
};

/// Changes of a full member's model: dotted path and new value, all of one change together.
fn changes(site: &Site) -> Vec<Vec<(&'static str, Value)>> {
    let address = site.address;
    let other_address = site.other_address();
    let one = |path: &'static str, value: Value| vec![(path, value)];
    let other = |listener: &'static str| {
        let (cert, key) = match listener {
            "client" => ("client.tls.cert_file", "client.tls.key_file"),
            "cluster" => ("cluster.tls.cert_file", "cluster.tls.key_file"),
            _ => ("gateway.tls.cert_file", "gateway.tls.key_file"),
        };
        vec![(cert, json!("current/other.pem")), (key, json!("current/other-key.pem"))]
    };
    let pin = json!(["cd".repeat(32)]);
    let probe = authority(1);
    let mut preload = trust().preload;
    preload.insert(probe.probe_account.as_str().to_owned(), probe.probe_account_jwt.as_str().to_owned());
    vec![
        one("server_name", json!("east-2")),
        one("client.address", json!(other_address)),
        one("client.port", json!(4223)),
        one("client.advertise", json!("nats.acme.example:4222")),
        one("client.advertise", Value::Null),
        other("client"),
        one("client.tls.ca_file", json!("current/ca-copy.pem")),
        one("client.tls.verify", json!(true)),
        one("client.tls.timeout", json!("4s")),
        vec![("client.tls.pinned_certs", pin.clone()), ("client.tls.verify", json!(true))],
        one("monitor.port", json!(8223)),
        one("monitor", Value::Null),
        vec![("cluster.name", json!("west")), ("gateway.remotes", json!({}))],
        one("cluster.address", json!(other_address)),
        one("cluster.port", json!(5223)),
        one("cluster.advertise", json!(format!("{address}:5999"))),
        one("cluster.advertise", Value::Null),
        one("cluster.no_advertise", json!(false)),
        other("cluster"),
        one("cluster.tls.ca_file", json!("current/ca-copy.pem")),
        one("cluster.tls.timeout", json!("4s")),
        one("cluster.tls.pinned_certs", pin.clone()),
        one("cluster.tls.pinned_certs", json!([])),
        one("gateway.address", json!(other_address)),
        one("gateway.port", json!(7223)),
        one("gateway.advertise", json!(format!("{address}:7999"))),
        one("gateway.reject_unknown", json!(false)),
        other("gateway"),
        one("gateway.tls.ca_file", json!("current/ca-copy.pem")),
        one("gateway.tls.timeout", json!("4s")),
        one("gateway.tls.pinned_certs", pin),
        one("jetstream.store_dir", json!(site.path().join("store-2"))),
        one("jetstream.max_memory", json!(1 << 27)),
        one("jetstream.max_storage", json!(1_u64 << 31)),
        one("jetstream.unique_tag", Value::Null),
        one("jetstream.unique_tag", json!("a")),
        one("jetstream.sync", json!({ "every": "2m" })),
        one("jetstream.domain", json!("spoke")),
        one("jetstream.limits.max_ack_pending", json!(10000)),
        one("jetstream.limits.max_ack_pending", Value::Null),
        one("jetstream.limits.max_ha_assets", json!(1000)),
        one("jetstream.limits.max_ha_assets", Value::Null),
        one("jetstream.limits.max_request_batch", json!(500)),
        one("jetstream.limits.duplicate_window", json!("1m")),
        one("jetstream.limits.duplicate_window", Value::Null),
        one("trust.operator_jwt", json!(authority(2).operator_jwt.as_str())),
        one("trust.preload", json!(preload)),
        one("limits.max_payload", json!(1 << 19)),
        one("limits.max_payload", Value::Null),
        one("limits.max_connections", json!(5000)),
        one("limits.max_connections", Value::Null),
        one("limits.max_pending", json!(1 << 25)),
        one("limits.max_control_line", json!(8192)),
        one("limits.max_control_line", Value::Null),
        one("limits.max_subscriptions", json!(500)),
        one("limits.ping_interval", json!("30s")),
        one("limits.ping_interval", Value::Null),
        one("limits.ping_max", json!(5)),
        one("limits.write_deadline", json!("6s")),
        one("limits.write_deadline", Value::Null),
        one("logging.debug", json!(true)),
        one("logging.trace", json!(true)),
        one("logging.utc", json!(false)),
        one("logging.log_file", json!("log/b.log")),
        one("logging.rotate_at", json!(1 << 29)),
        one("logging.rotated_files", json!(6)),
        one("tags", json!(["az:b", "disk:ssd"])),
        one("lame_duck.duration", json!("3m")),
        one("lame_duck.grace_period", json!("11s")),
        one("pid_file", json!("other.pid")),
        one("pid_file", Value::Null),
        one("extra.server_metadata", json!({ "owner": "orders" })),
        one("extra.connect_error_reports", json!(100)),
        one("extra.max_traced_msg_len", json!(64)),
        one("extra.no_fast_producer_stall", json!(true)),
        one("extra.logtime", json!(false)),
        one("extra.cluster", json!({ "pool_size": 5 })),
        one("extra.cluster", json!({ "compression": "s2_fast" })),
        one("extra.cluster", json!({ "ping_interval": "30s" })),
        one("extra.cluster", json!({ "connect_retries": 5 })),
        one("extra.jetstream", json!({ "meta_compact": 100 })),
        one("extra.jetstream", json!({ "meta_compact_size": 65536 })),
        one("extra.jetstream", json!({ "limits": { "batch": { "max_inflight_total": 100 } } })),
        one("extra.tls", json!({ "handshake_first": true })),
        // Settings that no rule knows need a restart.
        one("extra.jetstream", json!({ "request_queue_limit": 5000 })),
        one("extra.jetstream", json!({ "strict": false })),
        one("extra.prof_port", json!(6060)),
        one("extra.websocket", json!({ "listen": format!("{address}:8080"), "no_tls": true })),
    ]
}

/// `model` with each change put in.
fn changed(model: &Value, changes: &[(&'static str, Value)]) -> ServerConfig {
    let mut model = model.clone();
    for (path, value) in changes {
        let mut at = &mut model;
        for key in path.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[key];
        }
        *at = value.clone();
    }
    let config: ServerConfig = serde_json::from_value(model).unwrap();
    assert_eq!(config.validate(), Ok(()), "{changes:?}");
    config
}

/// What the server does on a reload to `new` against what we say, as a line for people; none when both agree.
/// Leaves the server with the file that it runs.
fn disagreement(server: &Server<'_>, old: &ServerConfig, new: &ServerConfig) -> Option<String> {
    let expected = render(new).digest.to_string();
    let change = reload_class(old, new);
    let outcome = server.reload(&render(new).text);
    match (&change, &outcome) {
        (Change::Reload { .. }, Reloaded::Yes(digest)) if *digest == expected => None,
        (Change::Restart { .. }, Reloaded::No(_)) => None,
        // Whole structs stand in the server's line: its start says enough.
        (_, Reloaded::No(line)) => Some(format!("{change:?}, but refused: {}", &line[..line.len().min(300)])),
        (_, Reloaded::Yes(digest)) => Some(format!("{change:?}, but reloaded to {digest}")),
    }
}

/// Tries each change on a server that runs the base, and undoes it again. The server always runs the base before
/// a change, by reload where it can and by restart where it must.
fn try_from_base(site: &Site, base: &ServerConfig, news: &[ServerConfig], wrong: &mut Vec<String>) {
    let rendered = render(base);
    let start = || Server::start(site, &rendered.text, (site.address, 8222));
    let mut server = start();
    for new in news {
        wrong.extend(disagreement(&server, base, new));
        if server.digest() == rendered.digest.to_string() {
            assert!(matches!(server.reload(&rendered.text), Reloaded::Yes(_)), "the base is refused");
            continue;
        }
        wrong.extend(disagreement(&server, new, base));
        if server.digest() != rendered.digest.to_string() {
            drop(server);
            server = start();
        }
    }
}

/// Tries the way back to the base on a server that was started on each changed configuration.
fn try_to_base(site: &Site, base: &ServerConfig, news: &[ServerConfig], wrong: &mut Vec<String>) {
    for new in news {
        // Without a monitoring port nobody could say what came of the reload.
        let Some(monitor) = &new.monitor else { continue };
        let server = Server::start(site, &render(new).text, (monitor.address, monitor.port));
        wrong.extend(disagreement(&server, new, base));
    }
}

#[test]
fn the_server_reloads_what_we_say_it_reloads_and_refuses_the_rest() {
    let site = Site::new();
    let authority = fs::read_to_string(site.path().join("current/ca.pem")).unwrap();
    site.write("current/ca-copy.pem", &authority);
    let model = site.member_model();
    let base = changed(&model, &[]);
    let mut tried = BTreeSet::new();
    let (mut reloads, mut restarts) = (Vec::new(), Vec::new());
    for change in changes(&site) {
        let new = changed(&model, &change);
        match reload_class(&base, &new) {
            Change::Reload { settings, deferrable } if deferrable.is_empty() => {
                tried.extend(settings);
                reloads.push(new);
            }
            Change::Restart { restart, reload, deferrable: _ } if reload.is_empty() => {
                tried.extend(restart);
                restarts.push(new);
            }
            other => panic!("{change:?} is {other:?}"),
        }
    }
    let mut wrong = Vec::new();
    try_from_base(&site, &base, &reloads, &mut wrong);
    try_from_base(&site, &base, &restarts, &mut wrong);
    try_to_base(&site, &base, &restarts, &mut wrong);
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
    let untried: Vec<_> = reload_rules()
        .filter(|rule| rule.source.contains("tried") && !tried.contains(rule.setting))
        .map(|rule| rule.setting)
        .collect();
    assert!(untried.is_empty(), "rules that say they were tried and are not: {untried:?}");
}

#[test]
fn a_mixed_change_is_refused_whole_and_its_split_is_not() {
    let site = Site::new();
    let model = site.member_model();
    let base = changed(&model, &[]);
    let mixed = [("tags", json!(["az:a", "disk:ssd"])), ("jetstream.domain", json!("spoke"))];
    let new = changed(&model, &mixed);
    let server = Server::start(&site, &render(&base).text, (site.address, 8222));
    let Reloaded::No(line) = server.reload(&render(&new).text) else { panic!("a mixed change was reloaded") };
    assert!(line.contains("config reload not supported"), "{line}");
    assert_eq!(server.digest(), render(&base).digest.to_string());
    let between = render(&split(&base, &new).unwrap());
    assert_eq!(server.reload(&between.text), Reloaded::Yes(between.digest.to_string()));
    assert_eq!(server.get("/varz").unwrap()["tags"], json!(["az:a", "disk:ssd"]));
}

/// Why the file keeps the running list: the server refuses a reload of it.
#[test]
fn a_changed_gateway_list_blocks_every_reload() {
    let site = Site::new();
    let model = site.member_model();
    let base = changed(&model, &[]);
    let urls = json!({ "east": [format!("{}:7222", site.address), format!("{}:7233", site.address)] });
    let new = changed(&model, &[("gateway.remotes", urls), ("tags", json!(["az:b"]))]);
    assert!(matches!(reload_class(&base, &new), Change::Reload { deferrable, .. } if deferrable.len() == 1));
    let server = Server::start(&site, &render(&base).text, (site.address, 8222));
    assert!(matches!(server.reload(&render(&new).text), Reloaded::No(_)));
    let between = render(&split(&base, &new).unwrap());
    assert_eq!(server.reload(&between.text), Reloaded::Yes(between.digest.to_string()));
}

/// The server says yes and moves to the other directory, where it has only the preloaded accounts. So we restart
/// for these settings, and nobody must take its yes for proof.
#[test]
fn the_server_takes_resolver_settings_that_we_restart_for() {
    let site = Site::new();
    let model = site.member_model();
    let base = changed(&model, &[]);
    let server = Server::start(&site, &render(&base).text, (site.address, 8222));
    for (path, value) in [
        ("trust.resolver.dir", json!("resolver-2")),
        ("trust.resolver.allow_delete", json!(false)),
        ("trust.resolver.interval", json!("1m")),
        ("trust.resolver.timeout", json!("1s")),
        ("trust.resolver.limit", json!(500)),
    ] {
        let new = changed(&model, &[(path, value)]);
        assert!(matches!(reload_class(&base, &new), Change::Restart { .. }), "{path}");
        let rendered = render(&new);
        assert_eq!(server.reload(&rendered.text), Reloaded::Yes(rendered.digest.to_string()), "{path}");
    }
    let system_account = format!("{}.jwt", authority(1).system_account.as_str());
    assert!(site.path().join("resolver-2").join(system_account).exists());
}

#[test]
fn a_preloaded_account_arrives_by_reload() {
    let site = Site::new();
    let model = site.member_model();
    let base = changed(&model, &[]);
    let probe = authority(1);
    let mut preload = trust().preload;
    preload.insert(probe.probe_account.as_str().to_owned(), probe.probe_account_jwt.as_str().to_owned());
    let new = render(&changed(&model, &[("trust.preload", json!(preload))]));
    let server = Server::start(&site, &render(&base).text, (site.address, 8222));
    let file = site.path().join("resolver").join(format!("{}.jwt", probe.probe_account.as_str()));
    assert!(!file.exists());
    assert_eq!(server.reload(&new.text), Reloaded::Yes(new.digest.to_string()));
    assert_eq!(fs::read_to_string(file).unwrap(), probe.probe_account_jwt.as_str());
}
