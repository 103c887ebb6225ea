//! Creates that fail for real, one a resource: the error says what is wrong and how each host is, state says nothing of
//! what failed, and the next apply finishes. Each step of each create fails on scripted agents in the provider's tests.

use std::net::TcpListener;

use acceptance_tests::rig::terraform::Action;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::scenario::system::{DEADLINE, System, monitor, tells};
use serde_json::{Value, json};

/// Applies what cannot succeed: state afterwards has just `kept`. Returns what a user reads.
fn fails(system: &System, kept: &[&str]) -> String {
    let text = system.apply_fails();
    println!("{}\n", text.trim());
    let run = system.supercluster.terraform.run(&["state", "list"]).unwrap();
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), kept, "{run}");
    let state = system.supercluster.terraform.state_text().unwrap();
    assert!(!state.contains(r#""status""#), "something is tainted: {state}");
    text
}

/// Applies what failed before, now without its cause: it is made, and nothing else is.
fn finishes(system: &System, made: &[&str]) {
    let run = system.apply();
    let changes: Vec<_> = run.changes.iter().map(|change| (change.address.as_str(), change.action)).collect();
    assert_eq!(changes, made.iter().map(|address| (*address, Action::Create)).collect::<Vec<_>>(), "{run}");
    system.plan_is_empty();
}

fn stop_agents(system: &mut System) {
    for host in ["east-1", "west-1"] {
        system.host_mut(host).agent().unwrap().stop().unwrap();
    }
}

#[test]
fn each_resources_create_fails_truthfully_and_the_next_apply_finishes() {
    let mut system = System::lay_out(&[("east", 1), ("west", 1)]);
    let mut later: Vec<(&str, &str, Value)> = Vec::new();
    for (kind, name) in [("nats_stream", "orders"), ("nats_user", "service"), ("nats_account", "orders")] {
        later.push((kind, name, system.resource(kind, name).take()));
        system.forget(kind, name);
    }

    // An authority without its key.
    let own = system.supercluster.root_key.clone();
    system.supercluster.terraform.set_variable("root_key", "too short");
    tells(&system.apply_fails(), &["The root key cannot be used"]);
    system.supercluster.terraform.set_variable("root_key", &own);

    // A cluster whose agent does not run.
    system.host_mut("east-1").start().unwrap();
    let patient = system.resource("nats_cluster", "west")["timeouts"].take();
    system.resource("nats_cluster", "west")["timeouts"] = json!({ "create": "5s" });
    let text = fails(&system, &["nats_authority.acme", "nats_cluster.east"]);
    tells(&text, &["Host `west-1` did not come", "Now `west-1` does not say how it is", "An apply goes on"]);

    // A gateway for which somebody has a server's port.
    system.resource("nats_cluster", "west")["timeouts"] = patient;
    system.host_mut("west-1").start().unwrap();
    let taken = TcpListener::bind((system.host("west-1").address(), 4222)).unwrap();
    system.resource("nats_gateway", "global")["timeouts"] = json!({ "create": "30s" });
    let text = fails(&system, &["nats_authority.acme", "nats_cluster.east", "nats_cluster.west"]);
    tells(&text, &["nats_gateway/global", "`west-1`", "Now `east-1` ", "An apply goes on"]);
    drop(taken);
    system.resource("nats_gateway", "global")["timeouts"] = json!({ "create": "2m" });
    finishes(&system, &["nats_gateway.global"]);

    // An account and a user of which no agent hears.
    let mut kept =
        vec!["nats_authority.acme", "nats_cluster.east", "nats_cluster.west", "nats_gateway.global"];
    for address in ["nats_account.orders", "nats_user.service"] {
        let (kind, name, block) = later.pop().unwrap();
        *system.resource(kind, name) = block;
        stop_agents(&mut system);
        let text = fails(&system, &kept);
        tells(&text, &["tells of its system", "Bring one back and apply again"]);
        system.supercluster.fleet.start().unwrap();
        finishes(&system, &[address]);
        kept.push(address);
        kept.sort_unstable();
    }

    // Servers went with their agents, and two of them are a majority only together.
    wait_until("a meta leader", DEADLINE, || {
        let told = monitor(system.host("east-1"), "/jsz")?;
        Ok(told["meta_cluster"]["leader"].as_str().is_some_and(|leader| !leader.is_empty()))
    })
    .unwrap();
    // A stream that is larger than its account may be.
    let (kind, name, block) = later.pop().unwrap();
    let fits = block["max_bytes"].clone();
    *system.resource(kind, name) = block;
    system.resource(kind, name)["max_bytes"] = json!("300MB");
    let text = fails(&system, &kept);
    tells(&text, &["Stream `acme/orders/ORDERS` cannot be created", "Raise the account's"]);
    system.resource(kind, name)["max_bytes"] = fits;
    finishes(&system, &["nats_stream.orders"]);
}
