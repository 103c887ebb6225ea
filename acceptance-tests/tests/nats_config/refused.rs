//! Our rules name what `nats-server -t` passes and the server then refuses to start with.

use nats_config::{ServerConfig, owned_settings, render};
use serde_json::{Value, json};

use acceptance_tests::lone_server::{
    server::{check, refusal},
    site::Site,
};

/// Changes one field of a full member; we name `path`, `-t` passes, and the start fails saying `said`.
fn passes_the_check_only(change: impl Fn(&mut Value), path: &str, said: &str) {
    let site = Site::new().unwrap();
    let mut model = site.member_model();
    model["logging"]["log_file"] = Value::Null;
    model["logging"]["rotate_at"] = Value::Null;
    model["logging"]["rotated_files"] = Value::Null;
    change(&mut model);
    let config: ServerConfig = serde_json::from_value(model).unwrap();
    let problems = config.validate().unwrap_err();
    assert!(problems.iter().any(|problem| problem.path == path), "{problems:?}");
    let text = render(&config).text;
    check(&site, &text).unwrap().unwrap();
    let log = refusal(&site, &text).unwrap();
    assert!(log.contains(said), "{log}");
}

#[test]
fn a_payload_above_the_pending_bytes() {
    let change = |model: &mut Value| model["limits"]["max_payload"] = json!((1 << 26) + 1);
    passes_the_check_only(change, "limits.max_payload", "max_payload");
}

#[test]
fn a_clustered_store_without_routes() {
    let change = |model: &mut Value| {
        model["cluster"]["routes"] = json!([]);
        model["gateway"] = Value::Null;
    };
    passes_the_check_only(change, "cluster.routes", "JetStream cluster requires configured routes");
}

#[test]
fn a_grace_period_as_long_as_the_lame_duck() {
    let change = |model: &mut Value| model["lame_duck"] = json!({ "duration": "30s", "grace_period": "30s" });
    passes_the_check_only(change, "lame_duck.grace_period", "lame duck grace period");
}

#[test]
fn the_same_port_twice() {
    let change = |model: &mut Value| model["monitor"]["port"] = json!(4222);
    passes_the_check_only(change, "monitor.port", "address already in use");
}

#[test]
fn a_gateway_without_cluster() {
    let change = |model: &mut Value| model["cluster"] = Value::Null;
    passes_the_check_only(change, "cluster", "gateway");
}

/// The check itself refuses these; we do so before.
#[test]
fn what_the_check_refuses_too() {
    let site = Site::new().unwrap();
    for (change, path, said) in [
        (("/lame_duck/duration", json!("29s")), "lame_duck.duration", "lame_duck_duration"),
        (
            ("/extra", json!({ "server_metadata": { "a": "\u{1}\"\u{8}" } })),
            "extra.server_metadata.a",
            "escape",
        ),
        (
            ("/extra", json!({ "cluster": { "pool_size": null } })),
            "extra.cluster.pool_size",
            "string, not int64",
        ),
        (("/trust/operator_jwt", json!("operator.jwt")), "trust.operator_jwt", "operator"),
    ] {
        let mut model = site.member_model();
        *model.pointer_mut(change.0).unwrap() = change.1;
        let config: ServerConfig = serde_json::from_value(model).unwrap();
        let problems = config.validate().unwrap_err();
        assert!(problems.iter().any(|problem| problem.path == path), "{problems:?}");
        let refused = check(&site, &render(&config).text).unwrap().unwrap_err();
        assert!(refused.contains(said), "{path}: {refused}");
    }
}

/// Each name that extra settings must not use is one that the server takes, so none is there by mistake, and a
/// name that it does not know is told apart by its answer.
#[test]
fn the_names_that_we_own_are_the_servers() {
    let site = Site::new().unwrap();
    let says_unknown = |name: &str| {
        let config = name.rsplit('.').fold(json!(1), |inner, key| json!({ key: inner }));
        let said = check(&site, &config.to_string()).unwrap().err().unwrap_or_default();
        said.contains("unknown field")
    };
    for section in [
        "",
        "tls.",
        "cluster.",
        "cluster.tls.",
        "gateway.",
        "gateway.tls.",
        "jetstream.",
        "jetstream.limits.",
    ] {
        assert!(says_unknown(&format!("{section}no_such_setting")), "{section}");
    }
    let names: Vec<String> = owned_settings().collect();
    let unknown: Vec<&String> = names.iter().filter(|name| says_unknown(name)).collect();
    assert!(
        names.len() > 100 && unknown.is_empty(),
        "of {} the server does not know {unknown:?}",
        names.len()
    );
    for name in names {
        let mut model = site.member_model();
        model["extra"] = name.rsplit('.').fold(json!(1), |inner, key| json!({ key.to_uppercase(): inner }));
        let config: ServerConfig = serde_json::from_value(model).unwrap();
        assert!(config.validate().is_err(), "{name}");
    }
}
