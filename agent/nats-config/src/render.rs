//! The text that nats-server reads: JSON under NATS's own names, keys sorted, sizes as integer bytes.
//!
//! nats-server reads JSON as its configuration language, so nothing here quotes or escapes by hand. Must not
//! decide anything: what is wrong with a configuration is `validate`'s to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde_json::{Map, Value, json};

use crate::{
    ClientListener, ClusterListener, ClusterName, ConfigDigest, FullResolver, GatewayListener, HostPort,
    JetStream, JetStreamLimits, LameDuck, ListenerTls, Logging, MonitorListener, OperatorTrust, ServerConfig,
    ServerLimits, SyncInterval, digest::digest_of_value,
};

/// A configuration as nats-server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The file's content: JSON, indented, keys sorted, with a line feed at the end. The same configuration
    /// always gives the same bytes.
    pub text: String,
    /// What `/varz` and `nats-server -t` show for it.
    pub digest: ConfigDigest,
}

/// The text and digest of a configuration.
///
/// Total: a configuration that [`ServerConfig::validate`] refuses renders too, with declared fields winning over
/// [`ServerConfig::extra`], but a server may refuse it or show another digest.
#[must_use]
pub fn render(config: &ServerConfig) -> Rendered {
    rendered(settings(config))
}

/// Text and digest of settings under NATS's own names.
pub(crate) fn rendered(settings: Map<String, Value>) -> Rendered {
    let value = sorted(Value::Object(settings));
    let digest = digest_of_value(&value);
    Rendered { text: format!("{value:#}\n"), digest }
}

/// The configuration under NATS's own names, as parsed JSON; keys in no particular order.
pub(crate) fn settings(config: &ServerConfig) -> Map<String, Value> {
    let ServerConfig {
        server_name,
        client,
        monitor,
        cluster,
        gateway,
        jetstream,
        trust,
        limits,
        logging,
        tags,
        lame_duck,
        pid_file,
        extra,
    } = config;
    let mut map = Map::new();
    put(&mut map, "server_name", server_name.as_str());
    put_client(&mut map, client);
    if let Some(MonitorListener { address, port }) = monitor {
        put(&mut map, "http", listen(*address, *port));
    }
    if let Some(cluster) = cluster {
        put(&mut map, "cluster", cluster_settings(cluster));
    }
    if let Some(gateway) = gateway {
        // Without a cluster there is no name to give; `validate` refuses that.
        let name = cluster.as_ref().map(|cluster| &cluster.name);
        put(&mut map, "gateway", gateway_settings(gateway, name));
    }
    if let Some(jetstream) = jetstream {
        put(&mut map, "jetstream", jetstream_settings(jetstream));
    }
    if let Some(trust) = trust {
        put_trust(&mut map, trust);
    }
    put_limits(&mut map, limits);
    put_logging(&mut map, logging);
    if !tags.is_empty() {
        put(&mut map, "server_tags", json!(tags));
    }
    let LameDuck { duration, grace_period } = lame_duck;
    put(&mut map, "lame_duck_duration", duration.to_string());
    put(&mut map, "lame_duck_grace_period", grace_period.to_string());
    put_some(&mut map, "pid_file", pid_file.clone());
    merge_absent(&mut map, extra);
    map
}

fn put(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.insert(key.to_owned(), value.into());
}

fn put_some(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(map, key, value);
    }
}

/// Adds from `extra` what `map` does not have, descending where both have an object.
fn merge_absent(map: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (key, value) in extra {
        match (map.get_mut(key), value) {
            (None, value) => put(map, key, value.clone()),
            (Some(Value::Object(inner)), Value::Object(extra)) => merge_absent(inner, extra),
            (Some(_), _) => {}
        }
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            // serde_json's map may keep insertion order: another crate of the workspace can switch that on.
            let entries: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// `address:port`, IPv6 in brackets.
fn listen(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn put_client(map: &mut Map<String, Value>, client: &ClientListener) {
    let ClientListener { address, port, advertise, tls } = client;
    put(map, "listen", listen(*address, *port));
    put_some(map, "client_advertise", advertise.as_ref().map(HostPort::to_string));
    put(map, "tls", tls_settings(tls));
}

fn tls_settings(tls: &ListenerTls) -> Map<String, Value> {
    let ListenerTls { cert_file, key_file, ca_file, verify, timeout, pinned_certs } = tls;
    let mut map = Map::new();
    put(&mut map, "cert_file", cert_file.as_str());
    put(&mut map, "key_file", key_file.as_str());
    put(&mut map, "ca_file", ca_file.as_str());
    put(&mut map, "verify", *verify);
    put(&mut map, "timeout", timeout.to_string());
    if !pinned_certs.is_empty() {
        put(&mut map, "pinned_certs", json!(pinned_certs));
    }
    map
}

fn urls(scheme: &str, addresses: &BTreeSet<HostPort>) -> Vec<Value> {
    addresses.iter().map(|address| Value::from(format!("{scheme}://{address}"))).collect()
}

fn cluster_settings(cluster: &ClusterListener) -> Map<String, Value> {
    let ClusterListener { name, address, port, advertise, no_advertise, routes, tls } = cluster;
    let mut map = Map::new();
    put(&mut map, "name", name.as_str());
    put(&mut map, "listen", listen(*address, *port));
    put_some(&mut map, "advertise", advertise.as_ref().map(HostPort::to_string));
    put(&mut map, "no_advertise", *no_advertise);
    put(&mut map, "routes", urls("nats-route", routes));
    put(&mut map, "tls", tls_settings(tls));
    map
}

fn gateway_settings(gateway: &GatewayListener, name: Option<&ClusterName>) -> Map<String, Value> {
    let GatewayListener { address, port, advertise, reject_unknown, remotes, tls } = gateway;
    let mut map = Map::new();
    put_some(&mut map, "name", name.map(ClusterName::as_str));
    put(&mut map, "listen", listen(*address, *port));
    put_some(&mut map, "advertise", advertise.as_ref().map(HostPort::to_string));
    put(&mut map, "reject_unknown_cluster", *reject_unknown);
    let remote = |(name, addresses): (&ClusterName, &BTreeSet<HostPort>)| json!({ "name": name.as_str(), "urls": urls("nats", addresses) });
    put(&mut map, "gateways", remotes.iter().map(remote).collect::<Vec<_>>());
    put(&mut map, "tls", tls_settings(tls));
    map
}

fn jetstream_settings(jetstream: &JetStream) -> Map<String, Value> {
    let JetStream { store_dir, max_memory, max_storage, unique_tag, sync, domain, limits } = jetstream;
    let mut map = Map::new();
    put(&mut map, "store_dir", store_dir.as_str());
    put(&mut map, "max_memory_store", max_memory.bytes());
    put(&mut map, "max_file_store", max_storage.bytes());
    put_some(&mut map, "unique_tag", unique_tag.clone());
    let sync = match sync {
        SyncInterval::Always => "always".to_owned(),
        SyncInterval::Every(interval) => interval.to_string(),
    };
    put(&mut map, "sync_interval", sync);
    put_some(&mut map, "domain", domain.clone());
    let JetStreamLimits { max_ack_pending, max_ha_assets, max_request_batch, duplicate_window } = limits;
    let mut limits = Map::new();
    put_some(&mut limits, "max_ack_pending", *max_ack_pending);
    put_some(&mut limits, "max_ha_assets", *max_ha_assets);
    put_some(&mut limits, "max_request_batch", *max_request_batch);
    put_some(&mut limits, "duplicate_window", duplicate_window.map(|window| window.to_string()));
    if !limits.is_empty() {
        put(&mut map, "limits", limits);
    }
    map
}

fn put_trust(map: &mut Map<String, Value>, trust: &OperatorTrust) {
    let OperatorTrust { operator_jwt, system_account, resolver, preload } = trust;
    let FullResolver { dir, allow_delete, interval, timeout, limit } = resolver;
    put(map, "operator", operator_jwt.as_str());
    put(map, "system_account", system_account.as_str());
    let resolver = json!({
        "type": "full",
        "dir": dir,
        "allow_delete": allow_delete,
        "interval": interval.to_string(),
        "timeout": timeout.to_string(),
        "limit": limit,
    });
    put(map, "resolver", resolver);
    put(map, "resolver_preload", json!(preload));
}

fn put_limits(map: &mut Map<String, Value>, limits: &ServerLimits) {
    let ServerLimits {
        max_payload,
        max_connections,
        max_pending,
        max_control_line,
        max_subscriptions,
        ping_interval,
        ping_max,
        write_deadline,
    } = limits;
    put_some(map, "max_payload", max_payload.map(u64::from));
    put_some(map, "max_connections", *max_connections);
    put_some(map, "max_pending", max_pending.map(u64::from));
    put_some(map, "max_control_line", max_control_line.map(u64::from));
    put_some(map, "max_subscriptions", *max_subscriptions);
    put_some(map, "ping_interval", ping_interval.map(|pause| pause.to_string()));
    put_some(map, "ping_max", *ping_max);
    put_some(map, "write_deadline", write_deadline.map(|deadline| deadline.to_string()));
}

fn put_logging(map: &mut Map<String, Value>, logging: &Logging) {
    let Logging { debug, trace, utc, log_file, rotate_at, rotated_files } = logging;
    put(map, "debug", *debug);
    put(map, "trace", *trace);
    put(map, "logtime_utc", *utc);
    put_some(map, "log_file", log_file.clone());
    put_some(map, "logfile_size_limit", rotate_at.map(u64::from));
    put_some(map, "logfile_max_num", *rotated_files);
}
