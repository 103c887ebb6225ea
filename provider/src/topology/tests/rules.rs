//! Each rule, by what it says.

use host_state::document::Profile;

use super::examples::{cluster, gateway, host, node, three};
use crate::topology::{Cluster, Gateway, Problem, cluster_problems, gateway_problems};

fn told(problems: &[Problem]) -> Vec<String> {
    let word = |problem: &Problem| if problem.is_advice { "advice" } else { "error" };
    problems
        .iter()
        .map(|problem| format!("{} {}: {}", word(problem), problem.path, problem.problem))
        .collect()
}

fn check(change: impl Fn(&mut Cluster), expected: &[&str]) {
    let mut changed = cluster("east", 1);
    change(&mut changed);
    assert_eq!(told(&cluster_problems(&changed, true)), expected);
}

fn check_gateway(change: impl Fn(&mut Gateway), expected: &[&str]) {
    let mut changed = gateway(&three());
    change(&mut changed);
    assert_eq!(told(&gateway_problems(&changed, true)), expected);
}

#[test]
fn sound_declarations_have_no_problems() {
    check(|_| {}, &[]);
    check_gateway(|_| {}, &[]);
}

#[test]
fn a_production_cluster_has_three_nodes_when_it_is_made() {
    let remove = |cluster: &mut Cluster| {
        cluster.jetstream.unique_tag = None;
        cluster.nodes.remove(&host("east-3"));
    };
    check(remove, &["error nodes: A production cluster has at least 3 nodes, this one has 2"]);
    let mut smaller = cluster("east", 1);
    remove(&mut smaller);
    assert_eq!(cluster_problems(&smaller, false), []);
    smaller.profile = Profile::Development;
    assert_eq!(cluster_problems(&smaller, true), []);
    smaller.gateway = false;
    assert_eq!(told(&cluster_problems(&smaller, true)), ["advice nodes: 2 nodes vote, an even number"]);
}

#[test]
fn a_cluster_of_absent_nodes_is_none() {
    check(
        |cluster| cluster.nodes.values_mut().for_each(|node| node.absent = true),
        &["error nodes: No node is present"],
    );
}

#[test]
fn ports_are_distinct_and_all_collisions_are_told() {
    check(
        |cluster| {
            cluster.ports.gateway = 5222;
            cluster.ports.metrics = 8442;
        },
        &[
            "error ports.gateway: Ports `cluster` and `gateway` are both 5222",
            "error nodes[\"east-1\"].agent: The agent of `east-1` listens on port 8442, as `ports.metrics` does",
            "error nodes[\"east-2\"].agent: The agent of `east-2` listens on port 8442, as `ports.metrics` does",
            "error nodes[\"east-3\"].agent: The agent of `east-3` listens on port 8442, as `ports.metrics` does",
        ],
    );
}

#[test]
fn metrics_are_never_open_to_the_world() {
    let told = ["error firewall.metrics: Metrics are never open to the world"];
    for networks in [&["0.0.0.0/0"][..], &["::/0"], &["128.0.0.0/1", "0.0.0.0/1"]] {
        let networks: Vec<ipnet::IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        check(|cluster| cluster.firewall.metrics.clone_from(&networks), &told);
    }
    check(|cluster| cluster.firewall.metrics = vec!["10.0.0.0/8".parse().unwrap()], &[]);
}

#[test]
fn addresses_are_of_one_node_each() {
    check(
        |cluster| {
            let first = cluster.nodes[&host("east-1")].clone();
            let second = cluster.nodes.get_mut(&host("east-2")).unwrap();
            second.agent = first.agent;
            second.address = first.address;
            cluster.nodes.get_mut(&host("east-3")).unwrap().address = "0.0.0.0".parse().unwrap();
        },
        &[
            "error nodes[\"east-2\"].agent: Nodes `east-1` and `east-2` have the same agent `10.0.1.1:8442`",
            "error nodes[\"east-2\"].address: Nodes `east-1` and `east-2` both listen on `10.0.1.1`",
            "error nodes[\"east-3\"].address: `0.0.0.0` is no address of one host",
            "error jetstream.store_dir: Nodes `east-1` and `east-2` are on one machine and store in `/data/jetstream`",
        ],
    );
}

#[test]
fn nodes_on_one_machine_store_apart() {
    let on_loopback = |cluster: &mut Cluster| {
        for (index, node) in cluster.nodes.values_mut().enumerate() {
            let address = format!("127.0.1.{}", index + 1);
            node.address = address.parse().unwrap();
            node.cluster_address = node.address;
            node.agent = format!("{address}:8442").parse().unwrap();
        }
    };
    check(
        on_loopback,
        &[
            "error jetstream.store_dir: Nodes `east-1` and `east-2` are on one machine and store in `/data/jetstream`",
            "error jetstream.store_dir: Nodes `east-2` and `east-3` are on one machine and store in `/data/jetstream`",
        ],
    );
    check(
        |cluster| {
            on_loopback(cluster);
            for (index, node) in cluster.nodes.values_mut().enumerate() {
                node.store_dir = Some(format!("/data/{index}"));
            }
        },
        &[],
    );
    check(
        |cluster| cluster.nodes.get_mut(&host("east-2")).unwrap().store_dir = Some("data/../x".to_owned()),
        &["error nodes[\"east-2\"].store_dir: `data/../x` is no absolute path without `.` and `..`"],
    );
    check(
        |cluster| {
            cluster.jetstream.store_dir = "data".to_owned();
            cluster.nodes.values_mut().for_each(|node| node.store_dir = Some("/data".to_owned()));
        },
        &["error jetstream.store_dir: `data` is no absolute path without `.` and `..`"],
    );
}

#[test]
fn a_unique_tag_needs_a_tag_on_each_node() {
    check(
        |cluster| cluster.nodes.get_mut(&host("east-2")).unwrap().tags = ["ssd".to_owned()].into(),
        &["error nodes[\"east-2\"].tags: Node `east-2` has no tag that starts with `az:`"],
    );
    check(
        |cluster| {
            cluster.nodes.get_mut(&host("east-2")).unwrap().tags =
                ["az:b".to_owned(), "az:d".to_owned()].into();
            cluster.jetstream.unique_tag = Some("a z".to_owned());
        },
        &[
            "error nodes[\"east-1\"].tags: Node `east-1` has no tag that starts with `a z`",
            "error nodes[\"east-2\"].tags: Node `east-2` has no tag that starts with `a z`",
            "error nodes[\"east-3\"].tags: Node `east-3` has no tag that starts with `a z`",
            "error jetstream.unique_tag: `jetstream.unique_tag` is `\"a z\"`: is no prefix of tags",
        ],
    );
    check(
        |cluster| {
            cluster.nodes.get_mut(&host("east-2")).unwrap().tags =
                ["az:b".to_owned(), "az:d".to_owned()].into();
        },
        &["error nodes[\"east-2\"].tags: Node `east-2` has 2 tags that start with `az:`"],
    );
    check(
        |cluster| cluster.nodes.get_mut(&host("east-2")).unwrap().tags = ["AZ:a".to_owned()].into(),
        &["advice jetstream.unique_tag: The nodes have 2 different `az:` tags"],
    );
}

#[test]
fn extra_names_are_dns_names_or_addresses() {
    check(
        |cluster| {
            let node = cluster.nodes.get_mut(&host("east-1")).unwrap();
            node.extra_names = ["*.acme.example".to_owned(), "10.1.1.1".to_owned()].into();
        },
        &["error nodes[\"east-1\"].extra_names: `*.acme.example` is neither a DNS name nor an address"],
    );
}

#[test]
fn settings_are_checked_by_the_rules_of_the_server() {
    check(
        |cluster| {
            cluster.limits.max_payload = Some("128MB".parse().unwrap());
            cluster.lame_duck.duration = "5s".parse().unwrap();
            cluster.server_config.insert("port".to_owned(), 4222.into());
        },
        &[
            "error limits.max_payload: `limits.max_payload` is `134217728`: is more than `limits.max_pending`, 67108864, and the server would not start",
            "error lame_duck.duration: `lame_duck.duration` is `5s`: is shorter than the server allows",
            "error lame_duck.grace_period: `lame_duck.grace_period` is `10s`: is not shorter than `lame_duck.duration`, and the server would not start",
            "error server_config: `extra.port` is `4222`: has an attribute of its own",
        ],
    );
}

#[test]
fn more_than_a_minority_is_never_down() {
    check(
        |cluster| cluster.rollout.max_unavailable = 2,
        &["error rollout.max_unavailable: 2 of 3 nodes may be down at once"],
    );
}

#[test]
fn a_production_gateway_has_three_clusters_when_it_is_made() {
    let mut two = gateway(&three()[..2]);
    assert_eq!(
        told(&gateway_problems(&two, true)),
        [
            "error clusters: A production gateway joins at least 3 clusters, this one has 2",
            "advice clusters: 6 servers vote, an even number",
        ]
    );
    two.clusters.values_mut().for_each(|member| member.profile = Profile::Development);
    assert_eq!(told(&gateway_problems(&two, true)), ["advice clusters: 6 servers vote, an even number"]);
}

#[test]
fn no_cluster_holds_more_than_half() {
    let mut big = cluster("east", 1);
    for number in 4..=8 {
        big.nodes.insert(host(&format!("east-{number}")), node(&format!("10.0.1.{number}"), "a"));
    }
    let [_, west, north] = three();
    assert_eq!(
        told(&gateway_problems(&gateway(&[big, west, north]), true)),
        [
            "error clusters[\"east\"]: Cluster `east` holds 8 of 14 servers",
            "advice clusters: 14 servers vote, an even number",
        ]
    );
}

#[test]
fn names_agents_and_listeners_are_used_once_in_a_gateway() {
    check_gateway(
        |gateway| {
            let stolen = gateway.clusters["east"].nodes[&host("east-1")].clone();
            let west = gateway.clusters.get_mut("west").unwrap();
            west.nodes.remove(&host("west-1"));
            west.nodes.insert(host("east-1"), stolen);
            west.gateway = false;
            west.authority = "other".to_owned();
        },
        &[
            "error clusters[\"west\"]: Cluster `west` starts by itself",
            "error clusters[\"west\"]: Cluster `west` belongs to authority `other`, others to `acme`",
            "error clusters[\"west\"]: `east/east-1` and `west/east-1` have the same node name `east-1`",
            "error clusters[\"west\"]: `east/east-1` and `west/east-1` have the same agent `10.0.1.1:8442`",
            "error clusters[\"west\"]: `east/east-1` and `west/east-1` have the same cluster listener `10.0.1.1:5222`",
            "error clusters[\"west\"]: `east/east-1` and `west/east-1` have the same gateway listener `10.0.1.1:7222`",
        ],
    );
}
