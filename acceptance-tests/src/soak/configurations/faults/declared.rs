//! Declarations with one fault each, planned by the provider as Terraform would: each must be an error at its attribute.

use anyhow::{Result, anyhow, ensure};
use nats_config::{ByteSize, NatsDuration, SyncInterval};
use serde_json::{Value as Json, json};
use terraform_provider_nats::provider::NatsProvider;
use terraform_provider_nats::topology::Cluster;
use tfplug::testing::Harness;
use tfplug::{Diagnostics, Value};

use super::super::topology::topology;
use super::KEPT;
use crate::soak::chance::Chance;

/// A root key like any other.
const ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// Attributes with values that must be refused at them. `nodes.*` is any node.
const FAULTS: &[(&str, &[&str])] = &[
    ("name", &[r#""""#, r#""a b""#, r#""-a""#]),
    ("profile", &[r#""prod""#, r#""""#]),
    ("on_drift", &[r#""ignore""#]),
    ("nodes.*.agent", &[r#""10.0.0.1""#, r#""https://10.0.0.1:8442""#, r#""10.0.0.1:0""#]),
    ("nodes.*.address", &[r#""localhost""#, r#""0.0.0.0""#, r#""::""#, r#""224.0.0.1""#, r#""""#]),
    ("nodes.*.cluster_address", &[r#""east-1""#, r#""0.0.0.0""#, r#""ff02::1""#]),
    ("nodes.*.store_dir", &[r#""data""#, r#""/""#, r#""/data/""#, r#""/data/../x""#]),
    ("nodes.*.extra_names", &[r#"["*.acme.example"]"#, r#"["A B"]"#]),
    ("nodes.*.generation", &["0", "1.5", "-1"]),
    ("server.version", &[r#""v2.15.1""#, r#""2.15""#, r#""""#]),
    ("server.path", &[r#""nats-server""#]),
    ("server.file", &[r#""/opt/nats-server""#]),
    ("server.sha256", &[r#""12""#]),
    ("ports.client", &["0", "65536", "-1", "4222.5"]),
    ("ports.cluster", &["0", "65536"]),
    ("ports.gateway", &["0", "65536"]),
    ("ports.monitor", &["0", "65536"]),
    ("ports.metrics", &["0", "65536"]),
    ("jetstream.max_memory", &[r#""16XB""#, r#""1.5GB""#, r#""""#, r#""-1""#, r#""8EiB""#, r#""16 GB""#]),
    ("jetstream.max_storage", &[r#""0""#, r#""200GBs""#, r#""all""#, r#""16777216T""#]),
    ("jetstream.store_dir", &[r#""data/jetstream""#, r#""""#, r#""/""#, r#""/data/jetstream/""#]),
    ("jetstream.sync", &[r#""sometimes""#, r#""20""#, r#""0s""#, r#""-2m""#]),
    ("jetstream.unique_tag", &[r#""""#, r#""a z:""#]),
    ("jetstream.domain", &[r#""a.b""#, r#""""#]),
    ("limits.max_payload", &[r#""2XB""#, r#""1GB""#, r#""0""#]),
    ("limits.max_connections", &["0", "-1", "1.5"]),
    ("limits.max_pending", &[r#""0""#, r#""many""#]),
    ("limits.max_control_line", &[r#""0""#, r#""3GB""#]),
    ("limits.max_subscriptions", &["0"]),
    ("limits.ping_interval", &[r#""20""#, r#""0s""#, r#""2d""#]),
    ("limits.ping_max", &["0"]),
    ("limits.write_deadline", &[r#""0s""#, r#""soon""#]),
    ("lame_duck.duration", &[r#""29s""#, r#""120""#]),
    ("lame_duck.grace_period", &[r#""10h""#, r#""10""#]),
    ("firewall.clients", &[r#"["10.0.0.0/33"]"#, r#"["anywhere"]"#]),
    ("firewall.metrics", &[r#"["10.9.0.0/64"]"#]),
    ("rollout.max_unavailable", &["0", "1001", "900"]),
    ("rollout.settle", &[r#""10""#, r#""-1s""#]),
    (
        "server_config",
        &[
            r#""""#,
            r#""[]""#,
            r#""{""#,
            r#""{\"routes\":[\"nats-route://10.0.0.1:5222\"]}""#,
            r#""{\"jetstream\":{\"max_storage\":\"200GB\"}}""#,
            r#""{\"authorization\":{\"users\":[]}}""#,
            r#""{\"connect_error_reports\":1,\"connect_error_reports\":2}""#,
            r#""{\"server_metadata\":{\"a\":\"b\",\"a\":\"c\"}}""#,
        ],
    ),
];

/// What was counted.
#[derive(Debug, Default)]
pub(in super::super) struct Declared {
    pub(in super::super) put: u64,
    /// With an error at the attribute.
    pub(in super::super) refused: u64,
    pub(in super::super) kinds: usize,
    pub(in super::super) kinds_put: usize,
    pub(in super::super) wrong: Vec<String>,
}

/// Plans `count` declarations of the run from `seed` with one fault each, and each of them once without.
pub(in super::super) fn refuse_declarations(seed: u64, count: u64) -> Result<Declared> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(refuse(seed, count))
}

async fn refuse(seed: u64, count: u64) -> Result<Declared> {
    let faults: Vec<(&str, &str)> =
        FAULTS.iter().flat_map(|(at, values)| values.iter().map(move |value| (*at, *value))).collect();
    let told = |why: Diagnostics| anyhow!("{why}");
    let harness = Harness::new(NatsProvider::without_environment()).await.map_err(told)?;
    harness.configure(Value::object([("root_key", Value::from(ROOT))])).await.map_err(told)?;
    let authority = Value::object([("name", Value::from("acme"))]);
    let authority = harness
        .apply("nats_authority", None, authority)
        .await
        .map_err(|why| anyhow!("{}", why.diagnostics))?;
    let trust = authority.state.attr("trust").clone();
    let mut counted = Declared { kinds: faults.len(), ..Declared::default() };
    let mut kinds = std::collections::BTreeSet::new();
    let mut number = 0;
    'bases: loop {
        let mut chance = Chance::of(seed, number);
        number += 1;
        ensure!(number < count + 1000, "too few declarations have what faults could be put into");
        let topology = chance.draw(&topology())?;
        let Some(cluster) = chance.one(&topology.clusters) else { continue };
        let base = declaration(cluster);
        let valid = value(&base).with("authority", trust.clone());
        if let Err(why) = harness.plan("nats_cluster", None, valid).await {
            counted.wrong.push(format!("declaration {number} is refused: {why}"));
            counted.wrong.truncate(KEPT);
        }
        // Several faults for one base: planning is what takes the time, drawing as well.
        for _ in 0..faults.len() {
            if counted.put >= count {
                break 'bases;
            }
            let kind = usize::try_from(counted.put)? % faults.len();
            let (at, wrong) = faults[kind];
            let mut block = base.clone();
            put(&mut block, at, serde_json::from_str(wrong)?, &mut chance)?;
            counted.put += 1;
            kinds.insert(kind);
            let planned =
                harness.plan("nats_cluster", None, value(&block).with("authority", trust.clone())).await;
            let leaf = at.rsplit('.').next().unwrap_or(at);
            match planned {
                Err(why) if is_told_at(&why, leaf) => counted.refused += 1,
                Err(why) => counted.wrong.push(format!("`{at}` = {wrong} is told elsewhere: {why}")),
                Ok(_) => counted.wrong.push(format!("`{at}` = {wrong} passes")),
            }
            counted.wrong.truncate(KEPT);
        }
    }
    counted.kinds_put = kinds.len();
    Ok(counted)
}

/// Whether an error is at an attribute of this name.
fn is_told_at(why: &Diagnostics, leaf: &str) -> bool {
    why.iter().any(|one| {
        let text = one.to_string();
        let place =
            text.split_once("(at ").and_then(|(_, rest)| rest.split_once("): ")).map(|(place, _)| place);
        text.starts_with("error") && place.is_some_and(|place| place.contains(leaf))
    })
}

fn put(block: &mut Json, path: &str, wrong: Json, chance: &mut Chance) -> Result<()> {
    let mut at = block;
    for key in path.split('.') {
        let map = at.as_object_mut().ok_or_else(|| anyhow!("`{path}` leads through no object"))?;
        let key = if key == "*" {
            let keys: Vec<String> = map.keys().cloned().collect();
            chance.one(&keys).cloned().ok_or_else(|| anyhow!("`{path}` has no key"))?
        } else {
            key.to_owned()
        };
        at = map.entry(key).or_insert_with(|| json!({}));
    }
    *at = wrong;
    Ok(())
}

/// JSON as Terraform hands it over: objects under names that a person chose are maps, some lists are sets.
fn value(json: &Json) -> Value {
    fn of(name: &str, json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::from(*truth),
            Json::Number(number) => {
                number.to_string().parse::<tfplug::Number>().map_or(Value::Null, Value::from)
            }
            Json::String(text) => Value::from(text.as_str()),
            Json::Array(items) if name == "extra_names" => Value::set(items.iter().map(|item| of("", item))),
            Json::Array(items) => Value::list(items.iter().map(|item| of("", item))),
            Json::Object(map) => {
                let entries = map.iter().map(|(key, item)| (key.clone(), of(key, item)));
                if name == "nodes" { Value::map(entries) } else { Value::object(entries) }
            }
        }
    }
    of("", json)
}

/// The block that declares `cluster`, the authority left out.
fn declaration(cluster: &Cluster) -> Json {
    let size = |size: Option<ByteSize>| size.map(|size| size.to_string());
    let time = |time: Option<NatsDuration>| time.map(|time| time.to_string());
    let node = |node: &terraform_provider_nats::topology::Node| {
        json!({
            "agent": node.agent.to_string(),
            "address": node.address.to_string(),
            "cluster_address": node.cluster_address.to_string(),
            "tags": node.tags,
            "store_dir": node.store_dir,
            "absent": node.absent,
            "generation": node.generation,
        })
    };
    let nodes: serde_json::Map<String, Json> =
        cluster.nodes.iter().map(|(host, one)| (host.to_string(), node(one))).collect();
    let ports: serde_json::Map<String, Json> =
        cluster.ports.named().into_iter().map(|(name, port)| (name.to_owned(), json!(port))).collect();
    let jetstream = &cluster.jetstream;
    let limits = &cluster.limits;
    let sync = match jetstream.sync {
        SyncInterval::Always => "always".to_owned(),
        SyncInterval::Every(interval) => interval.to_string(),
    };
    json!({
        "name": cluster.name.as_str(),
        "profile": if cluster.profile == host_state::document::Profile::Production { "production" } else { "development" },
        "nodes": nodes,
        "ports": ports,
        "jetstream": {
            "max_memory": jetstream.max_memory.to_string(),
            "max_storage": jetstream.max_storage.to_string(),
            "store_dir": jetstream.store_dir,
            "unique_tag": jetstream.unique_tag,
            "sync": sync,
            "domain": jetstream.domain,
        },
        "limits": {
            "max_payload": size(limits.max_payload),
            "max_connections": limits.max_connections,
            "max_pending": size(limits.max_pending),
            "max_control_line": size(limits.max_control_line),
            "max_subscriptions": limits.max_subscriptions,
            "ping_interval": time(limits.ping_interval),
            "ping_max": limits.ping_max,
            "write_deadline": time(limits.write_deadline),
        },
        "logging": { "debug": cluster.logging.debug, "trace": cluster.logging.trace },
        "lame_duck": {
            "duration": cluster.lame_duck.duration.to_string(),
            "grace_period": cluster.lame_duck.grace_period.to_string(),
        },
        "firewall": { "clients": ["10.0.0.0/8"] },
        "gateway": cluster.gateway,
        "server_config": Json::Object(cluster.server_config.clone()).to_string(),
    })
}
