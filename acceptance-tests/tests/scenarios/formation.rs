//! Nobody starts before everybody is there, and two systems that have lived apart are never joined.

use serde_json::{Value, json};

use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::scenario::system::{System, tells};

#[test]
fn nine_hosts_of_which_one_is_away_start_nothing_and_eight_form_when_it_is_marked_absent() {
    const AWAY: &str = "west-2";
    let mut system = System::lay_out(&[("east", 3), ("west", 3), ("north", 3)]);
    for name in ["east", "west", "north"] {
        system.resource("nats_cluster", name)["timeouts"]["create"] = json!("15s");
    }
    system.configuration["data"]["nats_supercluster"]["global"] =
        json!({ "system": "${nats_gateway.global.id}", "depends_on": ["nats_stream.orders"] });
    for host in
        system.supercluster.fleet.hosts().iter().map(|host| host.name().to_owned()).collect::<Vec<_>>()
    {
        if host != AWAY {
            system.host_mut(&host).start().unwrap();
        }
    }
    let text = system.apply_fails();
    tells(
        &text,
        &[
            &format!("Host `{AWAY}` did not come"),
            "absent",
            "`west-1` is claimed, and nothing is staged on it",
        ],
    );
    for host in system.hosts().iter().filter(|host| host.name() != AWAY) {
        let as_missing = format!("Host `{}` did not come", host.name());
        assert!(!text.contains(&as_missing), "`{}` is named as well: {text}", host.name());
        assert_eq!(host.server_pid(), None, "`{}` was started", host.name());
    }
    println!("one of nine away: {}", text.trim());

    system.resource("nats_cluster", "west")["nodes"][AWAY]["absent"] = json!(true);
    for name in ["east", "west", "north"] {
        system.resource("nats_cluster", name)["timeouts"]["create"] = json!("2m");
    }
    let applied = system.apply();
    let data = supercluster(&system);
    assert_eq!(data["meta_peers"], 8, "{data}");
    assert_eq!(data["healthy"], true, "{data}");
    println!(
        "marked absent: eight formed in {:?}, meta leader {} counts {}",
        applied.elapsed, data["meta_leader"], data["meta_peers"]
    );
    system.plan_is_empty();

    let host = system.host_mut(AWAY);
    host.start().unwrap();
    host.await_listening(std::time::Duration::from_secs(30)).unwrap();
    system.resource("nats_cluster", "west")["nodes"][AWAY]["absent"] = json!(false);
    let applied = system.apply();
    let data = supercluster(&system);
    assert_eq!((&data["meta_peers"], &data["healthy"]), (&json!(9), &json!(true)), "{data}");
    println!("it came back: meta leader counts {} after {:?}", data["meta_peers"], applied.elapsed);
    system.plan_is_empty();
}

#[test]
fn two_formed_clusters_are_not_put_under_one_gateway_and_both_keep_their_streams() {
    let mut system = System::lay_out(&[("east", 2), ("west", 2)]);
    let seeds = |system: &System, cluster: &str| -> Value {
        let hosts = system.hosts().iter().filter(|host| host.cluster() == cluster);
        hosts.map(|host| json!(host.agent_address().to_string())).collect()
    };
    // Two systems of one authority, each with a cluster, an account and a stream of its own.
    system.forget("nats_gateway", "global");
    system.configuration["provider"]["nats"] = json!([
        { "agents": seeds(&system, "east"), "root_key": "${var.root_key}" },
        { "agents": seeds(&system, "west"), "root_key": "${var.root_key}", "alias": "west" },
    ]);
    for name in ["east", "west"] {
        system.resource("nats_cluster", name)["gateway"] = json!(false);
    }
    system.resource("nats_cluster", "west")["provider"] = json!("nats.west");
    system.resource("nats_account", "orders")["system"] = json!("${nats_cluster.east.id}");
    for (kind, first, name) in [
        ("nats_account", "orders", "shop"),
        ("nats_user", "service", "clerk"),
        ("nats_stream", "orders", "shop"),
    ] {
        let mut second = system.resource(kind, first).clone();
        second["provider"] = json!("nats.west");
        second["name"] = json!(name.to_uppercase());
        if kind == "nats_account" {
            second["system"] = json!("${nats_cluster.west.id}");
            second["name"] = json!("shop");
        } else {
            second["account"] = json!("${nats_account.shop.id}");
        }
        if kind == "nats_user" {
            second["name"] = json!("service");
        }
        if kind == "nats_stream" {
            second["placement"]["cluster"] = json!("west");
        }
        *system.resource(kind, name) = second;
    }
    system.supercluster.fleet.start().unwrap();
    system.apply();
    system.plan_is_empty();
    let streams =
        [("east-1", ("orders", "service"), "ORDERS", 20), ("west-1", ("shop", "service"), "SHOP", 30)];
    for (host, user, _, count) in streams {
        system.publish_as(user, host, "orders.a", count);
    }
    let servers: Vec<_> = system.hosts().iter().map(|host| host.server_pid()).collect();

    for name in ["east", "west"] {
        system.resource("nats_cluster", name)["gateway"] = json!(true);
    }
    system.configuration["resource"]["nats_gateway"]["global"] = json!({
        "name": "global",
        "clusters": { "east": "${nats_cluster.east.members}", "west": "${nats_cluster.west.members}" },
        "deletion_protection": false,
        "timeouts": { "create": "30s" },
    });
    system.configuration["provider"]["nats"] = json!([
        { "agents": [seeds(&system, "east")[0], seeds(&system, "west")[0]], "root_key": "${var.root_key}" },
        { "agents": seeds(&system, "west"), "root_key": "${var.root_key}", "alias": "west" },
    ]);
    let plan = system.plan();
    assert_eq!(plan.outcome(), Outcome::Failed, "{plan}");
    for text in [plan.error_text(), system.apply_fails()] {
        tells(&text, &["east-1", "west-1", "never merged"]);
        println!("refused: {}", text.trim());
    }
    for (host, user, stream, count) in streams {
        system.read_as(user, host, stream, count);
    }
    let after: Vec<_> = system.hosts().iter().map(|host| host.server_pid()).collect();
    assert_eq!(servers, after, "servers were touched");
    println!("both kept their servers, and the streams their 20 and 30 messages");
}

/// The data source as the state holds it.
fn supercluster(system: &System) -> Value {
    let state = system.supercluster.terraform.show(None).unwrap();
    let resources = state["values"]["root_module"]["resources"].as_array().unwrap();
    let found = resources.iter().find(|resource| resource["type"] == "nats_supercluster");
    found.unwrap()["values"].clone()
}
