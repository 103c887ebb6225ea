//! Wrong input is refused with its name, before anything is changed, or leaves what runs as it was.

use std::fs;
use std::net::TcpListener;

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::{Installation, Workspace};
use serde_json::{Value, json};

use acceptance_tests::scenario::system::{System, tells, varz};

/// A root key that nobody uses.
const OTHER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What a user reads of a plan, which must fail.
fn plan_fails(system: &System) -> String {
    let plan = system.plan();
    assert_eq!(plan.code, 1, "{plan}");
    plan.error_text()
}

#[test]
fn another_root_key_is_refused_by_the_plan() {
    let mut system = System::running(&[("east", 2)]);
    system.supercluster.terraform.set_variable("root_key", OTHER_KEY);
    let text = plan_fails(&system);
    println!("{}", text.trim());
    tells(&text, &["not the root key", "acme"]);
    let own = system.supercluster.root_key.clone();
    assert!(!text.contains(OTHER_KEY) && !text.contains(&own), "a root key is shown");
    system.supercluster.terraform.set_variable("root_key", &own);
    system.plan_is_empty();
}

#[test]
fn malformed_values_are_all_told_with_their_places() {
    let mut system = System::lay_out(&[("east", 2)]);
    let cluster = system.resource("nats_cluster", "east");
    cluster["jetstream"]["max_memory"] = json!("lots");
    cluster["jetstream"]["max_storage"] = json!("512 parsecs");
    cluster["ports"] = json!({ "client": 70_000 });
    cluster["rollout"] = json!({ "settle": "soon" });
    cluster["nodes"]["east-1"]["address"] = json!("127.0.0.256");
    cluster["nodes"]["East_2"] = json!({ "agent": "nowhere", "address": "127.0.0.1" });
    cluster["server"] = json!({ "version": "newest" });
    cluster["server_config"] = json!("[1]");
    *system.resource("nats_stream", "orders") = json!({
        "account": "acme/orders", "name": "a.b", "subjects": ["orders..new"], "replicas": 7, "max_age": "-1s",
    });
    let plan = system.plan();
    assert_eq!(plan.code, 1, "{plan}");
    let text = plan.error_text();
    for place in [
        "jetstream.max_memory",
        "jetstream.max_storage",
        "ports.client",
        "rollout.settle",
        "nodes[\"east-1\"].address",
        "nodes[\"East_2\"]",
        "nodes[\"East_2\"].agent",
        "server.version",
        "`server_config`",
        "a.b",
        "orders..new",
        "replicas",
        "max_age",
    ] {
        assert!(text.contains(place), "`{place}` is not told: {text}");
    }
    let told = plan.diagnostics.iter().filter(|one| one.severity == "error").count();
    println!("{told} problems told at once:\n{}", text.trim());
    assert!(told >= 13, "{told} of 13 problems told");
    // Terraform shows where each stands.
    let shown = plan.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let without_place = shown
        .filter(|line| line["diagnostic"]["severity"] == "error" && line["diagnostic"]["range"].is_null())
        .count();
    assert_eq!(without_place, 0, "problems without a place in the configuration");
}

#[test]
fn a_host_that_was_enrolled_by_or_belongs_to_another_authority_is_refused_and_left_alone() {
    let mut system = System::lay_out(&[("east", 2), ("west", 2)]);
    // East belongs to somebody with another root key; west is enrolled for them and not claimed yet.
    for cluster in ["east", "west"] {
        system.resource("nats_cluster", cluster)["gateway"] = json!(false);
    }
    system.forget("nats_gateway", "global");
    system.resource("nats_account", "orders")["system"] = json!("${nats_cluster.east.id}");
    let both = system.configuration.clone();
    system.forget("nats_cluster", "west");
    system.supercluster.fleet.start().unwrap();
    system.apply();
    let server = system.host("east-1").server_pid();
    assert!(server.is_some());

    let mut intruder = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
    intruder.set_variable("root_key", OTHER_KEY);
    for (cluster, words) in [("east", ["east-1", "authority"]), ("west", ["west-1", "enrol"])] {
        let mut configuration = both.clone();
        let resources = configuration["resource"].as_object_mut().unwrap();
        resources.retain(|kind, _| kind == "nats_authority" || kind == "nats_cluster");
        resources["nats_cluster"].as_object_mut().unwrap().retain(|name, _| name == cluster);
        configuration["provider"]["nats"]["agents"] = json!([]);
        intruder.write("main.tf.json", &configuration.to_string()).unwrap();
        let run = intruder.apply().unwrap();
        assert_eq!(run.code, 1, "{run}");
        println!("{cluster}, after {:?}: {}", run.elapsed, run.error_text().trim());
        tells(&run.error_text(), &words);
        assert!(run.elapsed.as_secs() < 20, "it waited for what waiting does not help: {:?}", run.elapsed);
    }
    assert_eq!(system.host("east-1").server_pid(), server, "the refused host was touched");
    assert!(!system.host("west-1").state_dir().join("claim.json").exists(), "the refused host is claimed");
    system.plan_is_empty();
}

#[test]
fn a_taken_port_is_named_and_the_next_apply_after_it_is_free_finishes() {
    let mut system = System::lay_out(&[("east", 2)]);
    let taken = TcpListener::bind((system.host("east-1").address(), 4222)).unwrap();
    system.supercluster.fleet.start().unwrap();
    system.resource("nats_cluster", "east")["timeouts"]["create"] = json!("30s");
    let text = system.apply_fails();
    println!("{}", text.trim());
    tells(&text, &["east-1", "4222"]);
    drop(taken);
    system.apply();
    system.plan_is_empty();
}

#[test]
fn a_store_of_another_cluster_is_named_and_nothing_in_it_is_touched() {
    let mut system = System::lay_out(&[("east", 2), ("west", 2)]);
    for cluster in ["east", "west"] {
        system.resource("nats_cluster", cluster)["gateway"] = json!(false);
    }
    system.forget("nats_gateway", "global");
    system.resource("nats_account", "orders")["system"] = json!("${nats_cluster.east.id}");
    let store = system.host("east-1").store_dir();
    system.resource("nats_cluster", "west")["nodes"]["west-1"]["store_dir"] = json!(store);
    let west = system.resource("nats_cluster", "west").clone();
    system.resource("nats_cluster", "west")["timeouts"]["create"] = json!("30s");
    system.forget("nats_cluster", "west");
    system.supercluster.fleet.start().unwrap();
    system.apply();
    system.publish("east-1", "orders.a", 10);
    // East is gone and its disk is in the wrong machine.
    system.supercluster.terraform.destroy().unwrap().succeeded().unwrap();
    let mark = fs::read(store.join("nats-agent-store.json")).unwrap();
    let files = count(&store);
    let resources = system.configuration["resource"].as_object_mut().unwrap();
    resources.retain(|kind, _| kind == "nats_authority");
    resources.insert("nats_cluster".to_owned(), json!({ "west": west }));
    let text = system.apply_fails();
    println!("{}", text.trim());
    tells(&text, &["west-1", "store", "east"]);
    assert_eq!(system.host("west-1").server_pid(), None, "it was started on the store of another");
    assert_eq!(fs::read(store.join("nats-agent-store.json")).unwrap(), mark);
    assert_eq!(count(&store), files, "files in the store were changed");
}

#[test]
fn a_configuration_that_the_server_refuses_leaves_the_running_one() {
    let mut system = System::running(&[("east", 2)]);
    let (server, before) = (system.host("east-1").server_pid(), varz(system.host("east-1")));
    let cluster = system.resource("nats_cluster", "east");
    cluster["limits"] = json!({ "max_payload": "2MB" });
    cluster["server_config"] = json!(json!({ "no_such_setting": true }).to_string());
    let text = system.apply_fails();
    println!("{}", text.trim());
    tells(&text, &["nats-server refuses", "no_such_setting"]);
    let after = varz(system.host("east-1"));
    assert_eq!(system.host("east-1").server_pid(), server, "the server was restarted");
    for field in ["max_payload", "config_digest", "config_load_time", "start"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    let cluster = system.resource("nats_cluster", "east").as_object_mut().unwrap();
    cluster.remove("server_config");
    cluster.remove("limits");
    system.apply();
    system.plan_is_empty();
    assert_eq!(system.host("east-1").server_pid(), server, "the server was restarted");
}

/// Files and their sizes, all the way down.
fn count(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata().unwrap().len()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_plan_is_refused_once_somebody_else_has_changed_its_hosts() {
    let mut system = System::running(&[("east", 1), ("west", 1)]);
    let mut theirs = system.configuration.clone();
    theirs["resource"]["nats_cluster"]["east"]["limits"]["max_connections"] = json!(5000);
    system.resource("nats_cluster", "east")["limits"]["max_connections"] = json!(4000);
    system.write();
    let ours = &system.supercluster.terraform;
    ours.plan_to("ours").unwrap().succeeded().unwrap();
    system.somebody_elses(&theirs).unwrap().apply().unwrap().succeeded().unwrap();

    let late = ours.apply_plan("ours").unwrap();
    assert_eq!(late.code, 1, "{late}");
    let text = late.error_text();
    println!("{}", text.trim());
    tells(
        &text,
        &["Somebody else has changed these hosts", "Since this was planned", "east-1", "Plan again"],
    );
    assert_eq!(varz(system.host("east-1"))["max_connections"], 5000, "what they applied stays");

    // A new plan has seen it, and says what it is about to undo.
    system.apply();
    assert_eq!(varz(system.host("east-1"))["max_connections"], 4000);
    system.plan_is_empty();
}

#[test]
fn a_destroy_is_refused_once_somebody_else_has_changed_its_hosts() {
    let mut system = System::lay_out(&[("east", 2)]);
    for (kind, name) in [("nats_stream", "orders"), ("nats_user", "service"), ("nats_account", "orders")] {
        system.forget(kind, name);
    }
    system.write();
    system.supercluster.fleet.start().unwrap();
    system.apply();
    let mut theirs = system.configuration.clone();
    theirs["resource"]["nats_cluster"]["east"]["limits"]["max_connections"] = json!(5000);
    let ours = &system.supercluster.terraform;
    ours.run(&["plan", "-json", "-input=false", "-destroy", "-out=gone"]).unwrap().succeeded().unwrap();
    system.somebody_elses(&theirs).unwrap().apply().unwrap().succeeded().unwrap();

    let late = ours.apply_plan("gone").unwrap();
    assert_eq!(late.code, 1, "{late}");
    tells(&late.error_text(), &["Somebody else has changed these hosts", "Since this was planned", "east-1"]);
    assert_eq!(varz(system.host("east-1"))["max_connections"], 5000, "it runs, as they applied it");

    // A new one has seen it.
    ours.destroy().unwrap().succeeded().unwrap();
}
