//! The trial boot's configuration: the same settings with every address, directory and name replaced.
//!
//! A trial proves that the server parses the configuration, keeps its own start rules and loads the certificates.
//! It must never meet the running system: a candidate with its real routes joins the live cluster under the
//! server's own Raft identity and takes replicas onto an empty store. Source: nats-server 2.15.1, tried.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    HostPort, Rendered, ServerConfig,
    digest::Sha256Hex,
    render::{rendered, settings},
};

/// Where every listener of a trial binds.
const TRIAL_ADDRESS: &str = "127.0.0.1";
/// A port that the system chooses. Source: nats-server 2.15.1 server/const.go (`RANDOM_PORT`).
const RANDOM_PORT: &str = "127.0.0.1:-1";

/// What a trial boot may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPlan {
    /// Absolute path of an empty directory that belongs to this trial alone. The store, the resolver and the file
    /// of chosen ports (`nats-server_<pid>.ports`, JSON) go there; no directory of the original survives.
    pub directory: String,
}

/// The configuration of a trial boot of `config`.
///
/// Every listener binds to loopback on a port that the system chooses, and the chosen ports are written to a file
/// `*.ports` in the plan's directory. Routes and gateways lead to a loopback port on which nobody answers, the
/// server and cluster are named after the trial, logs go to standard error. TLS files, limits and operator stay
/// as they are, so that loading them is proven. The trial reaches "Server is ready" and `/healthz?js-server-only=true`;
/// it never becomes healthy as a cluster member and must not be asked to.
///
/// Extra settings that could lead outside lose the parts that do: remotes of leaf nodes, profiling ports, and
/// each value that mentions an address, directory or name of the original.
#[must_use]
pub fn shadow(config: &ServerConfig, plan: &ShadowPlan) -> Rendered {
    let ShadowPlan { directory } = plan;
    let traces = Traces::of(config);
    let nowhere = traces.unused_address();
    let name = trial_name(config);
    // Extra settings are merged here one by one, after their own check.
    let mut without_extra = config.clone();
    let extra = std::mem::take(&mut without_extra.extra);
    let mut map = settings(&without_extra);

    put(&mut map, "server_name", json!(name));
    put(&mut map, "listen", json!(RANDOM_PORT));
    put(&mut map, "ports_file_dir", json!(directory));
    for key in ["client_advertise", "log_file", "logfile_size_limit", "logfile_max_num", "pid_file"] {
        map.remove(key);
    }
    if map.contains_key("http") {
        put(&mut map, "http", json!(RANDOM_PORT));
    }
    if let Some(Value::Object(cluster)) = map.get_mut("cluster") {
        cluster.remove("advertise");
        put(cluster, "name", json!(name));
        put(cluster, "listen", json!(RANDOM_PORT));
        put(cluster, "routes", json!([format!("nats-route://{nowhere}")]));
    }
    if let Some(Value::Object(gateway)) = map.get_mut("gateway") {
        gateway.remove("advertise");
        put(gateway, "name", json!(name));
        put(gateway, "listen", json!(RANDOM_PORT));
        put(gateway, "gateways", json!([{ "name": name, "urls": [format!("nats://{nowhere}")] }]));
    }
    if let Some(Value::Object(jetstream)) = map.get_mut("jetstream") {
        put(jetstream, "store_dir", json!(format!("{directory}/store")));
        if jetstream.get("domain").and_then(Value::as_str).is_some_and(|domain| traces.is_in(domain)) {
            put(jetstream, "domain", json!(name));
        }
    }
    if let Some(Value::Object(resolver)) = map.get_mut("resolver") {
        put(resolver, "dir", json!(format!("{directory}/resolver")));
    }
    if let Some(tags) = map.remove("server_tags").and_then(|tags| traces.without(tags)) {
        put(&mut map, "server_tags", tags);
    }
    add_extra(&mut map, extra, &traces);
    rendered(map)
}

/// A name that is not the original's and the same for each trial of a server.
fn trial_name(config: &ServerConfig) -> String {
    let sum = Sha256Hex::of(config.server_name.as_str().as_bytes());
    format!("trial-{}", &sum.as_str()[..16])
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// Adds the extra settings that cannot lead outside.
fn add_extra(map: &mut Map<String, Value>, extra: Map<String, Value>, traces: &Traces) {
    for (key, value) in extra {
        match (key.to_lowercase().as_str(), value) {
            ("prof_port", _) => {}
            ("leafnodes" | "leaf" | "websocket" | "ws" | "mqtt", Value::Object(listener)) => {
                if let Some(Value::Object(kept)) = traces.without(Value::Object(trial_listener(listener))) {
                    put(map, &key, Value::Object(kept));
                }
            }
            (_, value) => {
                if let Some(value) = traces.without(value) {
                    merge(map, key, value);
                }
            }
        }
    }
}

/// Adds one setting, descending into sections that the model renders too.
fn merge(map: &mut Map<String, Value>, key: String, value: Value) {
    match (map.get_mut(&key), value) {
        (None, value) => {
            map.insert(key, value);
        }
        (Some(Value::Object(inner)), Value::Object(extra)) => {
            extra.into_iter().for_each(|(key, value)| merge(inner, key, value));
        }
        (Some(_), _) => {}
    }
}

/// A listener block of leaf nodes, websocket or MQTT that binds to a port which the system chooses.
fn trial_listener(listener: Map<String, Value>) -> Map<String, Value> {
    const LEADS_OUTSIDE: [&str; 9] = [
        "listen",
        "host",
        "net",
        "port",
        "advertise",
        "remotes",
        "allowed_origins",
        "allowed_origin",
        "origins",
    ];
    let had_port = listener.keys().any(|key| ["listen", "port"].contains(&key.to_lowercase().as_str()));
    let mut kept: Map<String, Value> = listener
        .into_iter()
        .filter(|(key, _)| !LEADS_OUTSIDE.contains(&key.to_lowercase().as_str()))
        .collect();
    if had_port {
        put(&mut kept, "listen", json!(RANDOM_PORT));
    }
    kept
}

/// Everything by which the original could be reached or mistaken for.
struct Traces {
    /// `host:port` of each listener, route, gateway and advertised address.
    addresses: BTreeSet<String>,
    /// Names of the server, its cluster and the other clusters.
    names: BTreeSet<String>,
    /// Directories and files that the original writes.
    places: BTreeSet<String>,
}

impl Traces {
    fn of(config: &ServerConfig) -> Self {
        let ServerConfig {
            server_name,
            client,
            monitor,
            cluster,
            gateway,
            jetstream,
            trust,
            limits: _,
            logging,
            tags: _,
            lame_duck: _,
            pid_file,
            extra: _,
        } = config;
        let mut addresses = BTreeSet::new();
        let mut names = BTreeSet::from([server_name.to_string()]);
        let mut dial = |address: &HostPort| addresses.insert(address.to_string());
        let listeners = [Some((client.address, client.port))]
            .into_iter()
            .chain([monitor.as_ref().map(|one| (one.address, one.port))])
            .chain([cluster.as_ref().map(|one| (one.address, one.port))])
            .chain([gateway.as_ref().map(|one| (one.address, one.port))]);
        listeners.flatten().for_each(|(address, port)| {
            // A port of 0 cannot be dialled and so leaves no trace.
            let _ = HostPort::new(address, port).map(|address| dial(&address));
        });
        client.advertise.iter().for_each(|address| _ = dial(address));
        if let Some(cluster) = cluster {
            names.insert(cluster.name.to_string());
            cluster.advertise.iter().chain(&cluster.routes).for_each(|address| _ = dial(address));
        }
        if let Some(gateway) = gateway {
            names.extend(gateway.remotes.keys().map(ToString::to_string));
            let remotes = gateway.remotes.values().flatten();
            gateway.advertise.iter().chain(remotes).for_each(|address| _ = dial(address));
        }
        let mut places = BTreeSet::new();
        places.extend(jetstream.iter().map(|one| one.store_dir.clone()));
        places.extend(trust.iter().map(|one| one.resolver.dir.clone()));
        places.extend(logging.log_file.clone());
        places.extend(pid_file.clone());
        Self { addresses, names, places }
    }

    /// A loopback address of the lowest port that the original does not know; nobody answers there.
    fn unused_address(&self) -> String {
        (1..=u16::MAX)
            .map(|port| format!("{TRIAL_ADDRESS}:{port}"))
            .find(|address| !self.addresses.contains(address))
            // Only when the original names all of them; then none of its servers can be there either.
            .unwrap_or_else(|| format!("{TRIAL_ADDRESS}:0"))
    }

    fn is_in(&self, text: &str) -> bool {
        self.names.contains(text)
            || self.addresses.iter().any(|address| text.contains(address.as_str()))
            || self.places.iter().any(|place| text.contains(place.as_str()))
    }

    /// `value` without the parts that hold a trace; none when nothing is left of it.
    fn without(&self, value: Value) -> Option<Value> {
        match value {
            Value::String(text) => (!self.is_in(&text)).then_some(Value::String(text)),
            Value::Array(items) => {
                let kept: Vec<Value> = items.into_iter().filter_map(|item| self.without(item)).collect();
                Some(Value::Array(kept))
            }
            Value::Object(map) => {
                let kept = map
                    .into_iter()
                    .filter(|(key, _)| !self.is_in(key))
                    .filter_map(|(key, value)| Some((key, self.without(value)?)))
                    .collect();
                Some(Value::Object(kept))
            }
            other => Some(other),
        }
    }
}
