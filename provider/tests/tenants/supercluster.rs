//! `data "nats_supercluster"`.

use std::sync::Arc;

use host_state::report::MeshRow;
use serde_json::{Value as Json, json};
use terraform_provider_nats::data_sources::supercluster::Supercluster;
use terraform_provider_nats::keys::Keys;
use terraform_provider_nats::session::{Session, SessionSlot, Settings};
use tfplug::{DataSource, DataSourceRequest, Severity, Stop, Value};

use crate::rig::{ROOT, Rig, block, lonely};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answering_is_a_warning_and_not_healthy() {
    let config = block(json!({"system": "acme/east"}));
    let state = lonely().await.read_data("nats_supercluster", config.clone()).await.unwrap();
    assert_eq!(state.attr("healthy").as_bool(), Some(false));
    assert_eq!(state.attr("problems").elements().count(), 1);
    let sessions = SessionSlot::new();
    let agents = vec!["127.0.0.1:1".parse().unwrap()];
    let settings = Settings { keys: Keys::Root(ROOT.parse().unwrap()), agents, agents_unknown: false };
    sessions.fill(Session::new(settings, Stop::new()));
    let read =
        Supercluster::new(sessions).read(DataSourceRequest { config, stop: Stop::new() }).await.unwrap();
    let warnings: Vec<_> = read.diagnostics.iter().collect();
    assert_eq!((warnings.len(), warnings[0].severity), (1, Severity::Warning));
    assert!(warnings[0].summary.starts_with("`acme/east` does not answer: "), "{}", warnings[0].summary);
}

fn answer(server: &str, endpoint: &str) -> Json {
    let others = ["east-1", "east-2", "east-3"].into_iter().filter(|other| *other != server);
    match endpoint {
        "VARZ" => json!({"version": "2.15.1", "uptime": "5s", "connections": 4, "jetstream": {
            "config": {"max_memory": 1024, "max_storage": 4096}, "stats": {"memory": 1, "storage": 2}}}),
        "JSZ" => json!({"meta_cluster": {"leader": "east-2", "cluster_size": 3, "replicas":
            others.map(|name| json!({"name": name, "current": true})).collect::<Vec<_>>()}}),
        "GATEWAYZ" => json!({}),
        _ => json!({"routes": others.map(|name| json!({"remote_name": name})).collect::<Vec<_>>()}),
    }
}

fn answers(silent: &'static str) -> nats_agent_api::fake::Answers {
    Arc::new(move |subject, _| {
        let endpoint = subject.rsplit('.').next().unwrap();
        let servers = ["east-1", "east-2", "east-3"].into_iter().filter(|server| *server != silent);
        let reply = |server| json!({"server": {"name": server, "id": "N", "cluster": "east"}, "data": answer(server, endpoint)});
        servers.map(|server| reply(server).to_string().into_bytes()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_server_says_is_told_and_judged() {
    let rig = Rig::new().await;
    rig.answer(answers(""));
    // The scripted hosts are only staged, so their agents have no row of the mesh of themselves.
    let whole = MeshRow { probed: 2, ..MeshRow::default() };
    rig.agents.iter().for_each(|agent| agent.script(|script| script.mesh = Some(whole.clone())));
    let process = rig.process().await;
    let read =
        async || process.read_data("nats_supercluster", block(json!({"system": "acme/east"}))).await.unwrap();
    let state = read().await;
    assert_eq!(state.attr("healthy").as_bool(), Some(true), "{:?}", state.attr("problems"));
    assert_eq!(state.attr("meta_leader").as_str(), Some("east-2"));
    assert_eq!(state.attr("meta_peers").as_u64(), Some(3));
    let servers: Vec<&Value> = state.attr("servers").elements().collect();
    assert_eq!(servers.len(), 3);
    assert_eq!(servers[1].attr("meta_leader").as_bool(), Some(true));
    assert_eq!(servers[1].attr("jetstream").attr("max_storage").as_u64(), Some(4096));

    let broken = MeshRow { probe_missing: ["east-2".to_owned()].into(), ..whole };
    rig.agents[0].script(|script| script.mesh = Some(broken));
    let state = read().await;
    let problems: Vec<&str> = state.attr("problems").elements().filter_map(Value::as_str).collect();
    assert_eq!(problems, ["`east-1`: does not reach `east-2` in the probe account"]);

    rig.answer(answers("east-3"));
    let state = read().await;
    assert_eq!(state.attr("healthy").as_bool(), Some(false));
    let problems: Vec<&str> = state.attr("problems").elements().filter_map(Value::as_str).collect();
    assert!(problems.contains(&"`east-3`: does not answer"), "{problems:?}");
    let servers: Vec<&Value> = state.attr("servers").elements().collect();
    assert!(servers[2].attr("version").is_null() && servers[2].attr("jetstream").is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seat_of_an_absent_node_is_not_held_against_the_others() {
    let rig = Rig::of(4).await;
    let process = rig.process().await;
    process.apply("nats_cluster", Some(&rig.cluster), rig.without_the_last()).await.unwrap();
    let whole = MeshRow { probed: 2, ..MeshRow::default() };
    rig.agents.iter().for_each(|agent| agent.script(|script| script.mesh = Some(whole.clone())));
    let three = answers("");
    rig.answer(Arc::new(move |subject, payload| {
        let counted = |reply: Vec<u8>| {
            String::from_utf8(reply)
                .unwrap()
                .replace(r#""cluster_size":3"#, r#""cluster_size":4"#)
                .into_bytes()
        };
        three(subject, payload).into_iter().map(counted).collect()
    }));
    let block = block(json!({"system": "acme/east"}));
    let state = rig.process().await.read_data("nats_supercluster", block).await.unwrap();
    assert_eq!(state.attr("meta_peers").as_u64(), Some(4));
    assert_eq!(state.attr("servers").elements().count(), 3);
    assert_eq!(state.attr("healthy").as_bool(), Some(true), "{:?}", state.attr("problems"));
}
