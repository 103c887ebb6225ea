//! A `nats_cluster` block into a [`Cluster`], all problems at once. Works with unknowns in it.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{BinarySource, FirewallIntent, OnDrift, Profile, ServerBinary};
use host_state::{DownloadUrl, layout};
use identity::HostName;
use ipnet::IpNet;
use nats_config::{LameDuck, Logging, NatsDuration, ServerLimits, Sha256Hex, SyncInterval};
use tfplug::{Diagnostic, Path, Value};

use super::schema::DECLARED;
use super::server_config;
use crate::resources::reading::{Reading, json_of};
use crate::resources::trust::{MAX_GENERATION, TrustRef, read_trust};
use crate::topology::{Cluster, JetStreamSpec, Node, Ports, Rollout};

/// nats-server that is run when nothing is said: the one every rule here was tried with.
const SERVER_VERSION: &str = "2.15.1";
/// Source: nats-server 2.15.1 server/const.go (`DEFAULT_LAME_DUCK_DURATION`).
const LAME_DUCK_DURATION: NatsDuration = NatsDuration::from_secs(120);
/// Source: nats-server 2.15.1 server/const.go (`DEFAULT_LAME_DUCK_GRACE_PERIOD`).
const LAME_DUCK_GRACE_PERIOD: NatsDuration = NatsDuration::from_secs(10);
/// How long everything must be well between two servers when nothing is said.
const SETTLE: NatsDuration = NatsDuration::from_secs(10);

/// A block that was read.
#[derive(Debug)]
pub(super) struct Declared {
    /// Whose cluster; `None` while something of it is unknown.
    pub(super) trust: Option<TrustRef>,
    /// The cluster; `None` while something in the block is unknown or wrong.
    pub(super) cluster: Option<Cluster>,
}

/// Reads a block; what is wrong or unknown is in `reading`.
pub(super) fn read(block: &Value, reading: &mut Reading) -> Declared {
    let trust = read_trust(block.attr("authority"), &Path::root("authority"), reading);
    // The rules of the cluster do not wait for the authority's keys.
    let mut own = Reading::new();
    let cluster = read_cluster(block, &mut own);
    let cluster = if own.is_whole() { cluster } else { None };
    reading.absorb(own);
    Declared { trust, cluster }
}

/// What the block declares as JSON, for the sections and for imports; `None` while something is unknown.
pub(super) fn declared_json(block: &Value) -> Option<serde_json::Value> {
    let entries = DECLARED.iter().map(|name| Some(((*name).to_owned(), json_of(block.attr(name))?)));
    entries.collect::<Option<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
}

fn read_cluster(block: &Value, reading: &mut Reading) -> Option<Cluster> {
    let root = Path::root;
    let name = reading.text(block.attr("name"), &root("name"));
    let profiles = [("production", Profile::Production), ("development", Profile::Development)];
    let profile = reading.word(block.attr("profile"), &root("profile"), &profiles);
    let nodes = nodes(block.attr("nodes"), &root("nodes"), reading);
    let server = server(block.attr("server"), &root("server"), reading);
    let ports = ports(block.attr("ports"), &root("ports"), reading);
    let jetstream = jetstream(block.attr("jetstream"), &root("jetstream"), reading);
    let limits = limits(block.attr("limits"), &root("limits"), reading);
    let logging = Logging {
        debug: flag_of(block.attr("logging"), "debug", reading),
        trace: flag_of(block.attr("logging"), "trace", reading),
        ..Logging::default()
    };
    let lame_duck = block.attr("lame_duck");
    let lame_duck_path = root("lame_duck");
    let lame_duck = LameDuck {
        duration: duration(lame_duck, "duration", &lame_duck_path, LAME_DUCK_DURATION, reading),
        grace_period: duration(lame_duck, "grace_period", &lame_duck_path, LAME_DUCK_GRACE_PERIOD, reading),
    };
    let firewall = block.attr("firewall");
    let firewall = read_firewall(firewall, &root("firewall"), ports.metrics, reading);
    let gateway = reading.flag(block.attr("gateway"));
    let rollout = read_rollout(block.attr("rollout"), &root("rollout"), reading);
    let courses = [("report", OnDrift::Report), ("repair", OnDrift::Repair)];
    let on_drift = reading.word(block.attr("on_drift"), &root("on_drift"), &courses);
    let server_config = read_server_config(block.attr("server_config"), reading);
    reading.flag(block.attr("deletion_protection"));
    Some(Cluster {
        name: name?,
        profile: profile.unwrap_or(Profile::Production),
        nodes,
        server,
        ports,
        jetstream: jetstream?,
        limits,
        logging,
        lame_duck,
        firewall,
        gateway: gateway.unwrap_or(false),
        rollout,
        on_drift: on_drift.unwrap_or(OnDrift::Report),
        server_config,
    })
}

fn flag_of(object: &Value, name: &str, reading: &mut Reading) -> bool {
    reading.flag(object.attr(name)).unwrap_or(false)
}

fn duration(
    object: &Value,
    name: &str,
    path: &Path,
    default: NatsDuration,
    reading: &mut Reading,
) -> NatsDuration {
    reading.text(object.attr(name), &path.attr(name)).unwrap_or(default)
}

/// The `rollout` object, shared with `nats_gateway`.
pub(in crate::resources) fn read_rollout(rollout: &Value, path: &Path, reading: &mut Reading) -> Rollout {
    Rollout {
        max_unavailable: reading
            .number(rollout.attr("max_unavailable"), &path.attr("max_unavailable"), 1..=1000)
            .unwrap_or(1),
        settle: duration(rollout, "settle", path, SETTLE, reading),
    }
}

fn nodes(value: &Value, path: &Path, reading: &mut Reading) -> BTreeMap<HostName, Node> {
    if !reading.is_there(value) {
        return BTreeMap::new();
    }
    let mut nodes = BTreeMap::new();
    for (name, one) in value.entries() {
        let place = path.key(name);
        let host = reading.text::<HostName>(&Value::from(name), &place);
        let node = node(one, &place, reading);
        if let (Some(host), Some(node)) = (host, node) {
            nodes.insert(host, node);
        }
    }
    nodes
}

fn node(value: &Value, path: &Path, reading: &mut Reading) -> Option<Node> {
    let agent = reading.text(value.attr("agent"), &path.attr("agent"));
    let address = reading.text(value.attr("address"), &path.attr("address"));
    let cluster_address = reading.text(value.attr("cluster_address"), &path.attr("cluster_address"));
    let tags = reading.texts::<String>(value.attr("tags"), &path.attr("tags")).into_iter().collect();
    let extra_names = reading.texts::<String>(value.attr("extra_names"), &path.attr("extra_names"));
    let store_dir = reading.text(value.attr("store_dir"), &path.attr("store_dir"));
    let absent = reading.flag(value.attr("absent")).unwrap_or(false);
    let generation = reading.number(value.attr("generation"), &path.attr("generation"), 1..=MAX_GENERATION);
    let address = address?;
    Some(Node {
        agent: agent?,
        address,
        cluster_address: cluster_address.unwrap_or(address),
        tags,
        extra_names: extra_names.into_iter().collect::<BTreeSet<_>>(),
        store_dir,
        absent,
        generation: generation.unwrap_or(1),
    })
}

/// Three numbers, the last perhaps with a word behind it, as in `2.15.0-RC.1`.
fn is_version(text: &str) -> bool {
    let (numbers, word) = text.split_once('-').unwrap_or((text, "x"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && word.split(['.', '-']).all(is_word)
}

fn server(value: &Value, path: &Path, reading: &mut Reading) -> ServerBinary {
    let version = reading.text::<String>(value.attr("version"), &path.attr("version"));
    let version = version.unwrap_or_else(|| SERVER_VERSION.to_owned());
    if !is_version(&version) {
        let why = format!("`{version}` is no version; write it like `{SERVER_VERSION}`, without `v`.");
        reading.push(Diagnostic::error("`version` cannot be used", why).at(path.attr("version")));
    }
    let installed = reading.text::<String>(value.attr("path"), &path.attr("path"));
    let file = reading.text::<String>(value.attr("file"), &path.attr("file"));
    let url = reading.text::<DownloadUrl>(value.attr("url"), &path.attr("url"));
    let sha256 = reading.text::<Sha256Hex>(value.attr("sha256"), &path.attr("sha256"));
    for (name, given) in [("path", &installed), ("file", &file)] {
        if let Some(given) = given.as_ref().filter(|given| !given.starts_with('/')) {
            let why = format!("`{given}` is no absolute path.");
            reading.push(Diagnostic::error(format!("`{name}` cannot be used"), why).at(path.attr(name)));
        }
    }
    let has_sum = !value.attr("sha256").is_null();
    let mut refuse = |name: &str, why: &str| {
        reading
            .push(Diagnostic::error("The nats-server binary is not said clearly", why).at(path.attr(name)));
    };
    let source = match (installed, file, url) {
        (Some(_), Some(_), _) => {
            refuse("file", "Set at most one of `path`, `file` and `url`.");
            BinarySource::Agent
        }
        (Some(_), None, Some(_)) | (None, Some(_), Some(_)) => {
            refuse("url", "Set at most one of `path`, `file` and `url`.");
            BinarySource::Agent
        }
        (Some(path), None, None) => {
            if has_sum {
                refuse("sha256", "It belongs to `file` or `url`; leave it out with `path`.");
            }
            BinarySource::Path { path }
        }
        (None, None, Some(url)) => {
            if !has_sum {
                refuse("url", "Give the `sha256` of the download too.");
            }
            match sha256 {
                Some(sha256) => BinarySource::Url { url, sha256 },
                // Unknown or told already.
                None => BinarySource::Agent,
            }
        }
        (None, Some(path), None) => {
            if !has_sum {
                refuse("file", "Give the `sha256` of the binary too.");
            }
            let sha256 = sha256.map(String::from).unwrap_or_default();
            BinarySource::File { path, sha256 }
        }
        (None, None, None) => {
            if has_sum && value.attr("file").is_null() && value.attr("url").is_null() {
                refuse("sha256", "It belongs to `file` or `url`; give one of them too.");
            }
            BinarySource::Agent
        }
    };
    ServerBinary { version, source }
}

fn ports(value: &Value, path: &Path, reading: &mut Reading) -> Ports {
    let mut port = |name: &str, default: u16| {
        reading.number(value.attr(name), &path.attr(name), 1..=65_535).unwrap_or(default)
    };
    Ports {
        client: port("client", layout::CLIENT_PORT),
        cluster: port("cluster", layout::CLUSTER_PORT),
        gateway: port("gateway", layout::GATEWAY_PORT),
        monitor: port("monitor", layout::MONITOR_PORT),
        metrics: port("metrics", layout::METRICS_PORT),
    }
}

/// Who may reach the ports.
fn read_firewall(value: &Value, path: &Path, metrics_port: u16, reading: &mut Reading) -> FirewallIntent {
    let mut networks = |name: &str| -> Vec<IpNet> { reading.texts(value.attr(name), &path.attr(name)) };
    FirewallIntent {
        clients: networks("clients"),
        metrics: networks("metrics"),
        management: networks("management"),
        metrics_port,
    }
}

fn jetstream(value: &Value, path: &Path, reading: &mut Reading) -> Option<JetStreamSpec> {
    let max_memory = reading.text(value.attr("max_memory"), &path.attr("max_memory"));
    let max_storage = reading.text(value.attr("max_storage"), &path.attr("max_storage"));
    let store_dir = reading.text(value.attr("store_dir"), &path.attr("store_dir"));
    let unique_tag = reading.text(value.attr("unique_tag"), &path.attr("unique_tag"));
    let sync = match value.attr("sync").as_str() {
        Some("always") => Some(SyncInterval::Always),
        _ => reading.text(value.attr("sync"), &path.attr("sync")).map(SyncInterval::Every),
    };
    let domain = reading.text(value.attr("domain"), &path.attr("domain"));
    Some(JetStreamSpec {
        max_memory: max_memory?,
        max_storage: max_storage?,
        store_dir: store_dir?,
        store_on_root: flag_of(value, "store_on_root", reading),
        unique_tag,
        sync: sync.unwrap_or(SyncInterval::Always),
        domain,
    })
}

fn limits(value: &Value, path: &Path, reading: &mut Reading) -> ServerLimits {
    let any = 0..=u64::MAX;
    ServerLimits {
        max_payload: reading.text(value.attr("max_payload"), &path.attr("max_payload")),
        max_connections: reading.number(
            value.attr("max_connections"),
            &path.attr("max_connections"),
            any.clone(),
        ),
        max_pending: reading.text(value.attr("max_pending"), &path.attr("max_pending")),
        max_control_line: reading.text(value.attr("max_control_line"), &path.attr("max_control_line")),
        max_subscriptions: reading.number(
            value.attr("max_subscriptions"),
            &path.attr("max_subscriptions"),
            any.clone(),
        ),
        ping_interval: reading.text(value.attr("ping_interval"), &path.attr("ping_interval")),
        ping_max: reading.number(value.attr("ping_max"), &path.attr("ping_max"), any),
        write_deadline: reading.text(value.attr("write_deadline"), &path.attr("write_deadline")),
    }
}

fn read_server_config(value: &Value, reading: &mut Reading) -> serde_json::Map<String, serde_json::Value> {
    if !reading.is_there(value) {
        return serde_json::Map::new();
    }
    match server_config::parse(value.as_str().unwrap_or_default()) {
        Ok(map) => map,
        Err(why) => {
            reading.push(
                Diagnostic::error("`server_config` cannot be used", why).at(Path::root("server_config")),
            );
            serde_json::Map::new()
        }
    }
}
