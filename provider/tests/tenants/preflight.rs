//! `data "nats_preflight"`.

use host_state::preflight::{Check, Verdict};
use nats_agent_api::server::{Method, ServiceError};
use serde_json::json;
use terraform_provider_nats::data_sources::preflight::Preflight;
use terraform_provider_nats::keys::Keys;
use terraform_provider_nats::session::{Session, SessionSlot, Settings};
use tfplug::{DataRead, DataSource, DataSourceRequest, Severity, Stop, Value};

use crate::rig::{ROOT, Rig, block, lonely, process_with, tells};

fn texts<'a>(state: &'a Value, name: &str) -> Vec<&'a str> {
    state.attr(name).elements().filter_map(Value::as_str).collect()
}

fn hosts(state: &Value) -> Vec<&Value> {
    state.attr("hosts").elements().collect()
}

/// With its warnings, which the harness of a provider process does not hand out.
async fn read_with_warnings(agents: &[String], config: serde_json::Value) -> DataRead {
    let sessions = SessionSlot::new();
    let agents = agents.iter().map(|agent| agent.parse().unwrap()).collect();
    let settings = Settings { keys: Keys::Root(ROOT.parse().unwrap()), agents, agents_unknown: false };
    sessions.fill(Session::new(settings, Stop::new()));
    let request = DataSourceRequest { config: block(config), stop: Stop::new() };
    let read = Preflight::new(sessions).read(request).await.unwrap();
    assert!(read.diagnostics.iter().all(|found| found.severity == Severity::Warning));
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_of_every_host_is_told_to_readers_too() {
    let rig = Rig::new().await;
    let root = rig.process().await;
    let opened = root.open("nats_reader_credentials", block(json!({"system": "acme/east"}))).await.unwrap();
    let pem = opened.result.attr("reader_credentials").as_str().unwrap().to_owned();
    let reader = process_with(&rig.addresses, "reader_credentials", &pem).await;
    for process in [root, reader] {
        let state = process.read_data("nats_preflight", block(json!({"system": "acme/east"}))).await.unwrap();
        assert_eq!(state.attr("fit").as_bool(), Some(true), "{:?}", state.attr("problems"));
        assert!(state.attr("cluster").is_null());
        let hosts = hosts(&state);
        let names: Vec<_> = hosts.iter().filter_map(|host| host.attr("name").as_str()).collect();
        assert_eq!(names, ["east-1", "east-2", "east-3"]);
        for host in hosts {
            let passes = [host.attr("cluster"), host.attr("verdict")].map(Value::as_str);
            assert_eq!(passes, [Some("east"), Some("pass")]);
            assert!(host.attr("problem").is_null());
            let checks: Vec<&Value> = host.attr("checks").elements().collect();
            assert_eq!(checks.len(), 1);
            let check = ["name", "value", "threshold", "verdict"].map(|name| checks[0].attr(name).as_str());
            assert_eq!(check, ["file_system", "xfs", "ext4 or xfs", "pass"].map(Some));
            assert!(checks[0].attr("remedy").is_null());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_refuses_or_warns_is_told_with_its_remedy() {
    let rig = Rig::new().await;
    let check = |name: &str, verdict| Check {
        name: name.to_owned(),
        value: "p99 31 ms".to_owned(),
        threshold: "p99 at most 10 ms".to_owned(),
        verdict,
        remedy: Some("use a disk with less latency".to_owned()),
    };
    rig.agents[0].script(|script| script.preflight.checks.push(check("swap", Verdict::Warn)));
    rig.agents[1].script(|script| script.preflight.checks.push(check("fsync_latency", Verdict::Refuse)));
    let config = block(json!({"system": "acme/east", "cluster": "east"}));
    let state = rig.process().await.read_data("nats_preflight", config).await.unwrap();
    assert_eq!(state.attr("fit").as_bool(), Some(false));
    assert_eq!(
        texts(&state, "problems"),
        [
            "`east-2`: `fsync_latency` is p99 31 ms, allowed is p99 at most 10 ms: use a disk with less latency"
        ]
    );
    let hosts = hosts(&state);
    let verdicts: Vec<_> = hosts.iter().filter_map(|host| host.attr("verdict").as_str()).collect();
    assert_eq!(verdicts, ["warn", "refuse", "pass"]);
    let last = hosts[1].attr("checks").elements().last().unwrap();
    assert_eq!(last.attr("remedy").as_str(), Some("use a disk with less latency"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_is_not_fit_and_hides_no_other() {
    let mut rig = Rig::new().await;
    let down = ServiceError::Failed("the ledger is away".to_owned());
    rig.agents[1].script(|script| script.fail = [(Method::Preflight, down)].into());
    drop(rig.agents.pop());
    let read = read_with_warnings(&rig.addresses, json!({"system": "acme/east"})).await;
    let DataRead { state, diagnostics } = read;
    assert_eq!(diagnostics.iter().count(), 2);
    tells(&diagnostics, &["`east-2` does not say whether it is fit", "the ledger is away"]);
    tells(&diagnostics, &["`east-3` does not answer"]);
    assert_eq!(state.attr("fit").as_bool(), Some(false));
    assert_eq!(texts(&state, "problems").len(), 2);
    let hosts = hosts(&state);
    assert_eq!(hosts[0].attr("verdict").as_str(), Some("pass"));
    for (host, why) in [(hosts[1], "the ledger is away"), (hosts[2], "`east-3` does not answer")] {
        assert!(host.attr("verdict").is_null() && host.attr("checks").elements().count() == 0);
        let problem = host.attr("problem").as_str().unwrap();
        assert!(problem.contains(why), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_nobody_knows_is_not_fit() {
    let rig = Rig::new().await;
    let read = read_with_warnings(&rig.addresses, json!({"system": "acme/east", "cluster": "west"})).await;
    tells(&read.diagnostics, &["`acme/east`", "no host is of cluster `west`", "are `east`"]);
    assert_eq!(read.state.attr("fit").as_bool(), Some(false));
    assert_eq!(texts(&read.state, "problems"), ["no host is of cluster `west`"]);
    assert!(hosts(&read.state).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answering_is_a_warning_and_not_fit() {
    let config = json!({"system": "acme/east"});
    let state = lonely().await.read_data("nats_preflight", block(config.clone())).await.unwrap();
    assert_eq!(state.attr("fit").as_bool(), Some(false));
    assert_eq!(texts(&state, "problems").len(), 1);
    let read = read_with_warnings(&["127.0.0.1:1".to_owned()], config).await;
    assert_eq!(read.diagnostics.iter().count(), 1);
    tells(&read.diagnostics, &["The hosts of `acme/east` are not checked: "]);
}
