//! From nothing to running and back: create, empty plan, import, destroy; and plans while hosts do not answer.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::{Action, Installation, Outcome, Workspace};
use acceptance_tests::rig::wait::wait_until;
use serde_json::json;

use acceptance_tests::scenario::system::{DEADLINE, System, monitor, tells};

/// Ports that only a running server listens on. Agents answer on those of routes and gateways while a host is held, so
/// that the next apply can try whether hosts reach each other.
const PORTS: [u16; 2] = [4222, 8222];

#[test]
fn a_supercluster_is_made_plans_empty_is_imported_and_destroyed_and_its_stores_are_kept() {
    let system = System::running(&[("east", 1), ("west", 1), ("north", 1)]);
    let empty = system.plan_is_empty();
    println!("empty plan of {} resources after {:?}", 8, empty.elapsed);
    system.publish("west-1", "orders.new", 50);

    let mut importer = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
    importer.set_variable("root_key", &system.supercluster.root_key);
    let ids = [
        ("nats_authority.acme", "acme"),
        ("nats_cluster.east", "acme/east"),
        ("nats_cluster.west", "acme/west"),
        ("nats_cluster.north", "acme/north"),
        ("nats_gateway.global", "acme/global"),
        ("nats_account.orders", "acme/orders"),
        ("nats_user.service", "acme/orders/service"),
        ("nats_stream.orders", "acme/orders/ORDERS"),
    ];
    let mut configuration = system.configuration.clone();
    configuration["import"] = ids.iter().map(|(to, id)| json!({ "to": to, "id": id })).collect();
    importer.write("main.tf.json", &configuration.to_string()).unwrap();
    let imported = importer.apply().unwrap().succeeded().unwrap();
    let actions: BTreeMap<_, _> =
        imported.changes.iter().map(|it| (it.address.as_str(), it.action)).collect();
    // Timeouts are nothing that a system can be asked for, so importing what has some also sets them in state.
    let has_timeouts =
        |address: &str| address.starts_with("nats_cluster.") || address.starts_with("nats_gateway.");
    let others: Vec<_> = actions
        .iter()
        .filter(|(address, action)| {
            **action != Action::Import && !(**action == Action::Update && has_timeouts(address))
        })
        .collect();
    assert!(others.is_empty() && actions.len() == ids.len(), "{others:?} of {actions:?}");
    importer.plan().unwrap().unchanged().unwrap();
    println!("imported {} resources in {:?}; the plan after it is empty", ids.len(), imported.elapsed);
    system.plan_is_empty();

    let destroyed = system.supercluster.terraform.destroy().unwrap().succeeded().unwrap();
    println!("destroyed in {:?}", destroyed.elapsed);
    for host in system.hosts() {
        for port in PORTS {
            let open = TcpStream::connect((host.address(), port)).is_ok();
            assert!(!open, "something still listens on port {port} of `{}`", host.name());
        }
        assert_eq!(host.server_pid(), None, "the server of `{}` runs", host.name());
        let store = host.store_dir();
        assert!(
            store.join("nats-agent-store.json").exists(),
            "the store of `{}` has lost its mark",
            host.name()
        );
        assert!(store.join("jetstream").is_dir(), "the store of `{}` is gone", host.name());
    }
}

#[test]
fn with_nothing_running_everything_plans_as_create() {
    let system = System::lay_out(&[("east", 3), ("west", 3), ("north", 3)]);
    let plan = system.plan();
    assert_eq!(plan.outcome(), Outcome::Changed, "{plan}");
    assert!(plan.changes.iter().all(|change| change.action == Action::Create), "{plan}");
    assert_eq!(plan.changes.len(), 8, "{plan}");
    assert!(plan.changes.iter().any(|change| change.address == "nats_stream.orders"), "{plan}");
    println!("planned {} resources on nine silent hosts in {:?}", plan.changes.len(), plan.elapsed);
}

#[test]
fn a_host_that_does_not_answer_is_named_and_nothing_is_removed() {
    let mut system = System::running(&[("east", 3)]);
    let host = system.host_mut("east-2");
    let server = host.server_pid().unwrap();
    host.agent().unwrap().kill().unwrap();
    let plan = system.plan_is_empty();
    tells(&plan.warning_text(), &["east-2"]);
    for other in ["east-1", "east-3"] {
        assert!(!plan.warning_text().contains(other), "{}", plan.warning_text());
    }
    let listed = system.supercluster.terraform.run(&["state", "list"]).unwrap().succeeded().unwrap();
    assert_eq!(listed.stdout.lines().count(), 5, "{}", listed.stdout);

    let host = system.host_mut("east-2");
    host.start().unwrap();
    host.await_listening(Duration::from_secs(30)).unwrap();
    assert_eq!(host.server_pid(), Some(server), "a killed agent must not cost its server");
    let host = system.host("east-2");
    wait_until("the server's answer", DEADLINE, || Ok(monitor(host, "/healthz")?["status"] == "ok")).unwrap();
    let plan = system.plan_is_empty();
    assert!(!plan.warning_text().contains("east-2"), "{}", plan.warning_text());
    println!(
        "agent killed: plan warned in {:?}; agent back: same nats-server (pid {server}), plan empty",
        plan.elapsed
    );
}
