//! Faults between two fields: each alone would do. All make the change in the model's JSON and say the field that must
//! be named; none where the configuration has nothing to break.

use serde_json::{Value, json};

use super::super::coverage::at;
use crate::soak::chance::Chance;

/// Breaks a rule between fields; the path that must be named.
pub(super) type Break = fn(&mut Value, &mut Chance) -> Option<String>;

/// Every one, with a name for reports.
pub(super) const BETWEEN: &[(&str, Break)] = &[
    ("two listeners on one port", same_port),
    ("a gateway without cluster", |model, _| {
        there(model, "gateway")?;
        there(model, "cluster")?;
        model["cluster"] = Value::Null;
        Some("cluster".to_owned())
    }),
    ("JetStream in a cluster without routes", |model, _| {
        there(model, "jetstream")?;
        *at(model, "cluster.routes")? = json!([]);
        Some("cluster.routes".to_owned())
    }),
    ("pins where no certificate is asked for", |model, _| {
        let tls = at(model, "client.tls")?;
        tls["pinned_certs"] = json!(["ab".repeat(32)]);
        tls["verify"] = json!(false);
        Some("client.tls.verify".to_owned())
    }),
    ("a remote cluster without address", |model, _| {
        at(model, "gateway.remotes")?["elsewhere"] = json!([]);
        Some("gateway.remotes.elsewhere".to_owned())
    }),
    ("one address in two clusters", |model, chance| {
        let remotes = at(model, "gateway.remotes")?;
        let all: Vec<Value> = remotes.as_object()?.values().cloned().collect();
        remotes["zzz-again"] = json!([chance.one(&all)?.as_array()?.first()?]);
        Some("gateway.remotes.zzz-again".to_owned())
    }),
    ("an address that cannot be dialled", |model, _| {
        at(model, "gateway.remotes")?["elsewhere"] = json!(["0.0.0.0:7222"]);
        Some("gateway.remotes.elsewhere".to_owned())
    }),
    ("a payload above the pending bytes", |model, _| {
        let limits = at(model, "limits")?;
        let pending = limits["max_pending"].as_u64().unwrap_or(64 << 20);
        limits["max_payload"] = json!(pending + 1);
        Some("limits.max_payload".to_owned())
    }),
    ("a grace period as long as the lame duck", |model, _| {
        let lame_duck = at(model, "lame_duck")?;
        lame_duck["grace_period"] = lame_duck["duration"].clone();
        Some("lame_duck.grace_period".to_owned())
    }),
    ("rotation without a log file", |model, _| {
        *at(model, "logging")? = json!({
            "debug": false, "trace": false, "utc": true, "log_file": null, "rotate_at": 1024, "rotated_files": null,
        });
        Some("logging.rotate_at".to_owned())
    }),
    ("rotated files without rotation", |model, _| {
        let logging = at(model, "logging")?;
        logging["rotate_at"] = Value::Null;
        logging["rotated_files"] = json!(3);
        Some("logging.rotated_files".to_owned())
    }),
    ("the log in the store", |model, _| {
        let store = there(model, "jetstream.store_dir")?.as_str()?.to_owned();
        at(model, "logging")?["log_file"] = json!(format!("{store}/nats-server.log"));
        Some("logging.log_file".to_owned())
    }),
    ("the process id in the store", |model, _| {
        let store = there(model, "jetstream.store_dir")?.as_str()?.to_owned();
        model["pid_file"] = json!(format!("{store}/nats-server.pid"));
        Some("pid_file".to_owned())
    }),
    ("the process id in the log", |model, _| {
        model["pid_file"] = there(model, "logging.log_file")?.clone();
        Some("pid_file".to_owned())
    }),
    ("claims in the store", |model, _| {
        let store = there(model, "jetstream.store_dir")?.as_str()?.to_owned();
        *at(model, "trust.resolver.dir")? = json!(format!("{store}/resolver"));
        Some("trust.resolver.dir".to_owned())
    }),
    ("leaf nodes beside a gateway without system account", |model, _| {
        there(model, "gateway")?;
        model["trust"] = Value::Null;
        at(model, "extra")?["leafnodes"] = json!({ "listen": "10.0.0.1:7422" });
        Some("extra.leafnodes".to_owned())
    }),
    ("two tags of one zone", |model, _| {
        there(model, "jetstream.unique_tag")?;
        model["tags"].as_array_mut()?.push(json!("AZ:twice"));
        Some("jetstream.unique_tag".to_owned())
    }),
    ("no tag of any zone", |model, _| {
        there(model, "jetstream.unique_tag")?;
        model["tags"] = json!([]);
        Some("jetstream.unique_tag".to_owned())
    }),
    ("no system account at the first start", |model, _| {
        let system = there(model, "trust.system_account")?.as_str()?.to_owned();
        at(model, "trust.preload")?.as_object_mut()?.remove(&system)?;
        Some("trust.preload".to_owned())
    }),
    ("the JWT of another account", |model, _| {
        let jwt = there(model, "trust.preload")?.as_object()?.values().next()?.clone();
        let other = format!("A{}", "B".repeat(55));
        at(model, "trust.preload")?[&other] = jwt;
        Some(format!("trust.preload.{other}"))
    }),
    ("an account's JWT for the operator's", |model, _| {
        let jwt = there(model, "trust.preload")?.as_object()?.values().next()?.clone();
        *at(model, "trust.operator_jwt")? = jwt;
        Some("trust.operator_jwt".to_owned())
    }),
    ("the operator's JWT for an account's", |model, _| {
        let (jwt, system) =
            (there(model, "trust.operator_jwt")?.clone(), there(model, "trust.system_account")?);
        let system = system.as_str()?.to_owned();
        at(model, "trust.preload")?[&system] = jwt;
        Some(format!("trust.preload.{system}"))
    }),
    ("a system account that the operator does not declare", |model, _| {
        let other = format!("A{}", "C".repeat(55));
        *at(model, "trust.system_account")? = json!(other);
        Some("trust.operator_jwt".to_owned())
    }),
    ("a key that is no account's", |model, _| {
        let jwt = there(model, "trust.preload")?.as_object()?.values().next()?.clone();
        at(model, "trust.preload")?["SYS"] = jwt;
        Some("trust.preload.SYS".to_owned())
    }),
    ("fewer claims than are preloaded", |model, _| {
        if there(model, "trust.preload")?.as_object()?.len() < 2 {
            return None;
        }
        *at(model, "trust.resolver.limit")? = json!(1);
        Some("trust.resolver.limit".to_owned())
    }),
];

/// The value at `path`, unless there is none.
fn there<'a>(model: &'a mut Value, path: &str) -> Option<&'a Value> {
    at(model, path).map(|value| &*value).filter(|value| !value.is_null())
}

fn same_port(model: &mut Value, chance: &mut Chance) -> Option<String> {
    const LISTENERS: [&str; 4] = ["client", "monitor", "cluster", "gateway"];
    let present: Vec<&str> = LISTENERS.into_iter().filter(|name| model[*name].is_object()).collect();
    if present.len() < 2 {
        return None;
    }
    let second = chance.below(1..present.len());
    let first = chance.below(0..second);
    let (first, second) = (present[first], present[second]);
    model[second]["port"] = model[first]["port"].clone();
    // A monitoring port elsewhere than on loopback would be a second fault.
    let moved = if second == "monitor" { first } else { second };
    let kept = if second == "monitor" { second } else { first };
    model[moved]["address"] = model[kept]["address"].clone();
    Some(format!("{second}.port"))
}
