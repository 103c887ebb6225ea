//! Each rule of the reload table, tried on a running server: what we say a reload brings it brings, what we say needs a
//! restart it refuses or leaves, and a restart takes it; both ways.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use nats_config::{Change, ReloadRule, ServerConfig, reload_class, reload_rules, render};
use serde_json::{Map, Value, json};

use super::server::{Reloaded, Server};
use super::site::{Site, authority, authority_of, trust};

/// What came of trying every rule.
#[derive(Debug)]
pub struct Tried {
    /// How many changes were made, each both ways.
    pub changes: usize,
    /// How many rules there are.
    pub rules: usize,
    /// Rules, by their place in the model, that no change touched.
    pub untried: Vec<&'static str>,
    /// Where the server did something else than we say, a line each.
    pub wrong: Vec<String>,
}

/// Dotted paths in the model with their new values, all of one change together.
type Edits = Vec<(&'static str, Value)>;

/// Changes of a full member's model: dotted path and new value, all of one change together.
fn changes(site: &Site) -> Vec<Edits> {
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

/// Changes from another base than the full member, or to what our own rules refuse: the edits that make the base, then
/// those of the change.
fn changes_elsewhere(site: &Site) -> Vec<(Edits, Edits)> {
    let (address, other) = (site.address, authority_of(8, 1));
    let mut preload = trust().preload;
    preload.insert(other.system_account.to_string(), other.system_account_jwt.to_string());
    let operator = ("trust.operator_jwt", json!(other.operator_jwt.as_str()));
    let system = ("trust.system_account", json!(other.system_account.as_str()));
    vec![
        // What holds other settings comes and goes only by restart.
        (vec![("gateway", Value::Null)], vec![("cluster", Value::Null)]),
        (Vec::new(), vec![("gateway", Value::Null)]),
        (Vec::new(), vec![("jetstream", Value::Null)]),
        (Vec::new(), vec![("trust", Value::Null)]),
        // Servers always verify each other, so no configuration of ours says otherwise.
        (Vec::new(), vec![("cluster.tls.verify", json!(false))]),
        (Vec::new(), vec![("gateway.tls.verify", json!(false))]),
        (vec![("trust.preload", json!(preload))], vec![operator, system]),
        (Vec::new(), vec![("trust.resolver.dir", json!("resolver-2"))]),
        (Vec::new(), vec![("trust.resolver.allow_delete", json!(false))]),
        (Vec::new(), vec![("trust.resolver.interval", json!("1m"))]),
        (Vec::new(), vec![("trust.resolver.timeout", json!("1s"))]),
        (Vec::new(), vec![("trust.resolver.limit", json!(500))]),
        (Vec::new(), vec![("cluster.routes", json!([format!("{address}:5222"), format!("{address}:5233")]))]),
        (
            Vec::new(),
            vec![(
                "gateway.remotes",
                json!({ "east": [format!("{address}:7222")], "west": [format!("{address}:7233")] }),
            )],
        ),
        (Vec::new(), vec![("gateway.remotes", json!({ "east": [format!("{address}:7233")] }))]),
    ]
}

/// `model` with each change put in, which must be valid.
///
/// # Errors
/// When it is not.
pub fn changed(model: &Value, changes: &[(&'static str, Value)]) -> Result<ServerConfig> {
    let config = edited(model, changes)?;
    let problems = config.validate();
    ensure!(problems.is_ok(), "{changes:?} is not valid: {problems:?}");
    Ok(config)
}

fn edited(model: &Value, changes: &[(&'static str, Value)]) -> Result<ServerConfig> {
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
    serde_json::from_value(model).with_context(|| format!("{changes:?} is no configuration"))
}

/// Tries every rule of the table on real servers.
///
/// # Errors
/// When a server does not start, or does not say what came of a reload.
pub fn try_every_rule() -> Result<Tried> {
    let site = Site::new()?;
    let current = site.path().join("current");
    fs::copy(current.join("ca.pem"), current.join("ca-copy.pem")).context("copy the authority")?;
    let model = site.member_model();
    let base = changed(&model, &[])?;
    let mut touched = BTreeSet::new();
    let mut wrong = Vec::new();
    let (mut live, mut apart) = (Vec::new(), Vec::new());
    for change in changes(&site) {
        let new = changed(&model, &change)?;
        touched.extend(rules_between(&base, &new)?);
        match reload_class(&base, &new) {
            Change::Reload { deferrable, .. } if deferrable.is_empty() => live.push(new),
            Change::Restart { reload, .. } if reload.is_empty() => apart.push((base.clone(), new)),
            other => wrong.push(format!("{change:?} is no single change: {other:?}")),
        }
    }
    for (before, change) in changes_elsewhere(&site) {
        let (old, new) = (edited(&model, &before)?, edited(&model, &[before, change].concat())?);
        touched.extend(rules_between(&old, &new)?);
        apart.push((old, new));
    }
    try_live(&site, &base, &live, &mut wrong)?;
    for (old, new) in &apart {
        try_apart(&site, old, new, &mut wrong)?;
        try_apart(&site, new, old, &mut wrong)?;
    }
    let rules: Vec<ReloadRule> = reload_rules().collect();
    Ok(Tried {
        changes: live.len() + apart.len(),
        rules: rules.len(),
        untried: rules.iter().map(|rule| rule.model).filter(|model| !touched.contains(model)).collect(),
        wrong,
    })
}

/// The rules, by their place in the model, whose value differs; of what holds other settings those that come or go.
fn rules_between(old: &ServerConfig, new: &ServerConfig) -> Result<Vec<&'static str>> {
    let (old, new) = (serde_json::to_value(old)?, serde_json::to_value(new)?);
    let at = |value: &Value, path: &str| {
        path.split('.').try_fold(value, |at, key| at.get(key)).cloned().unwrap_or_default()
    };
    let holds = |rule: &ReloadRule| {
        let inside = |other: ReloadRule| {
            other.model.strip_prefix(rule.model).is_some_and(|rest| rest.starts_with('.'))
        };
        reload_rules().any(inside)
    };
    let differs = |rule: &ReloadRule| {
        let (left, right) = (at(&old, rule.model), at(&new, rule.model));
        left != right && (!holds(rule) || left.is_null() != right.is_null())
    };
    Ok(reload_rules().filter(differs).map(|rule| rule.model).collect())
}

/// What the server does on a reload to `new` against what we say, as a line for people; none when both agree.
/// Leaves the server with the file that it runs.
fn disagreement(server: &Server<'_>, old: &ServerConfig, new: &ServerConfig) -> Result<Option<String>> {
    let (before, expected) = (render(old).digest.to_string(), render(new).digest.to_string());
    let change = reload_class(old, new);
    let outcome = server.reload(&render(new).text)?;
    let runs = server.digest()?;
    Ok(match (&change, &outcome) {
        (Change::Reload { .. }, Reloaded::Yes(digest)) if *digest == expected => None,
        (Change::Restart { .. } | Change::Deferrable { .. }, Reloaded::No(_)) if runs == before => None,
        (Change::Restart { restart: settings, .. } | Change::Deferrable { settings }, Reloaded::Yes(_))
            if settings.iter().all(|setting| is_own_rule(setting)) =>
        {
            None
        }
        // Whole structs stand in the server's line: its start says enough.
        (_, Reloaded::No(line)) => Some(format!("{change:?}, but refused: {}", &line[..line.len().min(300)])),
        (_, Reloaded::Yes(digest)) => Some(format!("{change:?}, but reloaded to {digest}")),
    })
}

/// Whether we do not reload `setting` for reasons of our own, whatever the server says to it.
fn is_own_rule(setting: &str) -> bool {
    let below = |rule: &ReloadRule| {
        setting.strip_prefix(rule.setting).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    reload_rules().any(|rule| below(&rule) && rule.source.starts_with("own rule"))
}

/// Tries each change on one server that runs the base, and undoes it again.
fn try_live(site: &Site, base: &ServerConfig, news: &[ServerConfig], wrong: &mut Vec<String>) -> Result<()> {
    let rendered = render(base);
    let digest = rendered.digest.to_string();
    let start = || Server::start(site, &rendered.text, (site.address, 8222));
    let mut server = start()?;
    for new in news {
        wrong.extend(disagreement(&server, base, new)?);
        if server.digest()? != digest {
            wrong.extend(disagreement(&server, new, base)?);
        }
        // What only rises by reload, or went wrong, is undone by a restart.
        if server.digest()? != digest {
            drop(server);
            server = start()?;
        }
    }
    Ok(())
}

/// Tries a change on a server of its own: the start on `old` takes it, a reload to `new` does not.
fn try_apart(site: &Site, old: &ServerConfig, new: &ServerConfig, wrong: &mut Vec<String>) -> Result<()> {
    // Without a monitoring port nobody could say what came of the reload.
    let Some(monitor) = &old.monitor else { return Ok(()) };
    let rendered = render(old);
    let server = Server::start(site, &rendered.text, (monitor.address, monitor.port))?;
    let runs = server.digest()?;
    if runs != rendered.digest.to_string() {
        wrong.push(format!("started on {}, runs {runs}", rendered.digest));
    }
    wrong.extend(disagreement(&server, old, new)?);
    Ok(())
}
