//! One well supercluster, and everything that can be wrong with it.

use host_state::report::MeshRow;

use super::*;
use crate::health::AgentSeen;
use crate::health::seen::{JetStreamUse, Replica, ServerSeen, StreamGroup};

const CLUSTERS: [&str; 2] = ["east", "west"];

fn name(cluster: &str, number: usize) -> String {
    format!("{cluster}-{number}")
}

fn expected() -> ExpectedTopology {
    let servers =
        CLUSTERS.iter().flat_map(|cluster| (1..=3).map(|n| (name(cluster, n), (*cluster).to_owned())));
    ExpectedTopology { servers: servers.collect(), absent: BTreeSet::new(), taking_down: BTreeSet::new() }
}

fn replica(name: &str) -> Replica {
    Replica { name: name.to_owned(), current: true, offline: false, lag: 0 }
}

/// Two clusters of three, everything well, `east-1` leads the meta group and a stream.
fn well() -> Seen {
    let mut seen = Seen::default();
    for (server, cluster) in &expected().servers {
        let answer = ServerSeen {
            id: format!("N{server}"),
            cluster: cluster.clone(),
            version: "2.15.1".into(),
            uptime: "1m".into(),
            connections: 0,
            jetstream: Some(JetStreamUse::default()),
        };
        seen.servers.insert(server.clone(), vec![answer]);
        let other: BTreeSet<String> =
            CLUSTERS.iter().filter(|other| *other != cluster).map(|other| (*other).to_owned()).collect();
        seen.outbound.insert(server.clone(), other.clone());
        seen.inbound.insert(server.clone(), other);
        let routes = (1..=3).map(|n| name(cluster, n)).filter(|other| other != server);
        seen.routes.insert(server.clone(), routes.collect());
        let mesh = Some(MeshRow { probed: 5, ..MeshRow::default() });
        seen.agents.insert(server.clone(), AgentSeen::Answered { mesh, unfit: Vec::new() });
    }
    let replicas =
        expected().servers.keys().filter(|name| *name != "east-1").map(|name| replica(name)).collect();
    seen.meta.insert("east-1".into(), MetaGroup { leader: "east-1".into(), cluster_size: 6, replicas });
    let group = StreamGroup { leader: "east-1".into(), replicas: vec![replica("east-2"), replica("east-3")] };
    let stream = StreamSeen { account: "orders".into(), stream: "S".into(), replicas: 3, group: Some(group) };
    seen.streams.insert("east-1".into(), vec![stream]);
    seen
}

fn check(change: impl FnOnce(&mut Seen), problems: &[&str]) {
    let mut seen = well();
    change(&mut seen);
    let health = judge(&expected(), &seen);
    assert_eq!(health.all_problems(), problems);
    assert_eq!(health.is_healthy(), problems.is_empty());
}

#[test]
fn a_well_supercluster_has_no_problem() {
    check(|_| {}, &[]);
    let health = judge(&expected(), &well());
    assert_eq!((health.meta_leader.as_deref(), health.meta_peers), (Some("east-1"), Some(6)));
}

#[test]
fn a_silent_server_is_named_once() {
    let silent = |seen: &mut Seen| {
        seen.servers.remove("west-2");
        seen.meta.get_mut("east-1").unwrap().replicas.retain(|replica| replica.name != "west-2");
    };
    check(silent, &["`west-2`: does not answer", "`west-2`: is no member of the meta group"]);
}

#[test]
fn what_healthz_does_not_see_is_seen() {
    check(
        |seen| drop(seen.outbound.insert("west-1".into(), BTreeSet::new())),
        &["`west-1`: has no outbound gateway to cluster `east`"],
    );
    check(
        |seen| seen.meta.get_mut("east-1").unwrap().replicas[0].current = false,
        &["`east-2`: is 0 entries behind in the meta group"],
    );
    check(
        |seen| assert!(seen.routes.get_mut("east-3").unwrap().remove("east-1")),
        &["`east-3`: has no route to `east-1`"],
    );
    check(
        |seen| seen.meta.get_mut("east-1").unwrap().cluster_size = 7,
        &["the meta group counts 7 members, 6 are declared"],
    );
    check(
        |seen| seen.servers.get_mut("west-3").unwrap()[0].jetstream = None,
        &["`west-3`: has JetStream switched off"],
    );
}

fn with_stream(change: impl FnOnce(&mut StreamSeen)) -> impl FnOnce(&mut Seen) {
    |seen| change(&mut seen.streams.get_mut("east-1").unwrap()[0])
}

#[test]
fn streams_are_judged_by_their_leaders_view() {
    check(
        with_stream(|stream| drop(stream.group.as_mut().unwrap().replicas.pop())),
        &["stream `S` of account `orders` has 2 of 3 replicas"],
    );
    check(
        with_stream(|stream| stream.group.as_mut().unwrap().replicas[0].current = false),
        &["stream `S` of account `orders`: replica on `east-2` is behind"],
    );
    check(
        with_stream(|stream| stream.group.as_mut().unwrap().leader.clear()),
        &["stream `S` of account `orders` has no leader"],
    );
    check(with_stream(|stream| stream.group = None), &[]);
}

/// `east-3` is marked absent while its seats in the meta group and in a stream are still its own.
fn judged_without_east_3(seen: &Seen, taking_down: &[&str]) -> Health {
    let mut expected = expected();
    expected.servers.remove("east-3");
    expected.absent.insert("east-3".to_owned());
    let taking_down = taking_down.iter().map(|name| (*name).to_owned()).collect();
    judge(&ExpectedTopology { taking_down, ..expected }, seen)
}

#[test]
fn the_empty_seats_of_an_absent_server_are_no_problem_until_they_cost_a_quorum() {
    let mut linked = well();
    // Whoever has it lets it run on, and it has lost its links to some.
    linked.routes.insert("east-3".to_owned(), BTreeSet::new());
    assert_eq!(judged_without_east_3(&linked, &[]).running_problems(), Vec::<String>::new());
    let told = judged_without_east_3(&linked, &[]).all_problems();
    assert_eq!(told, ["`east-3`: need not be there, and has not left the supercluster"]);

    let mut seen = well();
    for of_servers in [&mut seen.routes, &mut seen.outbound, &mut seen.inbound] {
        of_servers.remove("east-3");
    }
    seen.servers.remove("east-3");
    seen.agents.remove("east-3");
    let away = |replicas: &mut Vec<Replica>| {
        for replica in replicas.iter_mut().filter(|replica| replica.name == "east-3") {
            *replica = Replica { current: false, offline: true, ..replica.clone() };
        }
    };
    away(&mut seen.meta.get_mut("east-1").unwrap().replicas);
    away(&mut seen.streams.get_mut("east-1").unwrap()[0].group.as_mut().unwrap().replicas);
    assert_eq!(judged_without_east_3(&seen, &[]).all_problems(), Vec::<String>::new());
    let taking_one = "stream `S` of account `orders` has 3 replicas, 1 of them on absent nodes: it cannot spare another one";
    for holder in ["east-1", "east-2"] {
        assert_eq!(judged_without_east_3(&seen, &[holder]).all_problems(), [taking_one], "{holder}");
    }
    // No replica of the stream is in the other cluster.
    assert_eq!(judged_without_east_3(&seen, &["west-1"]).all_problems(), Vec::<String>::new());
    let taking_two = "the meta group counts 6 members, 1 of them absent: it cannot spare another one";
    assert_eq!(judged_without_east_3(&seen, &["west-1", "west-2"]).all_problems(), [taking_two]);
    assert_eq!(judged_without_east_3(&seen, &["west-1", "east-2"]).all_problems(), [taking_two, taking_one]);
}

#[test]
fn strangers_and_doubles_are_problems() {
    check(
        |seen| {
            let answer = seen.servers["east-1"][0].clone();
            seen.servers.get_mut("east-1").unwrap().push(answer.clone());
            seen.servers.insert("east-9".into(), vec![answer]);
            let all = ["east-1", "east-2", "east-3"].map(str::to_owned).into();
            seen.routes.insert("east-9".into(), all);
            seen.outbound.insert("east-9".into(), BTreeSet::from(["west".to_owned()]));
        },
        &[
            "`east-1`: 2 servers answer under this name",
            "`east-9`: is in the supercluster and was not declared",
        ],
    );
}

#[test]
fn no_leader_is_a_problem_of_the_whole() {
    check(|seen| seen.meta.clear(), &["the JetStream meta group has no leader"]);
}

fn missing(seen: &mut Seen, from: &str, system: &[&str], probe: &[&str]) {
    let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let row = MeshRow { system_missing: hosts(system), probe_missing: hosts(probe), probed: 5 };
    seen.agents.insert(from.into(), AgentSeen::Answered { mesh: Some(row), unfit: Vec::new() });
}

#[test]
fn a_pair_that_does_not_reach_each_other_is_named_in_its_direction() {
    check(
        |seen| {
            missing(seen, "east-2", &[], &["west-1"]);
            missing(seen, "west-1", &["east-1"], &["east-1", "east-2"]);
        },
        &[
            "`east-2`: does not reach `west-1` in the probe account",
            "`west-1`: does not reach `east-1` in the system account and in the probe account",
            "`west-1`: does not reach `east-2` in the probe account",
        ],
    );
    check(|seen| missing(seen, "east-2", &["north-1"], &["north-1"]), &[]);
    check(
        |seen| {
            let row = AgentSeen::Answered { mesh: None, unfit: Vec::new() };
            seen.agents.insert("east-2".into(), row);
        },
        &["`east-2`: has not probed the other servers yet"],
    );
}

#[test]
fn what_follows_from_a_silent_server_or_agent_is_not_told_again() {
    let rows = |seen: &mut Seen| {
        for from in ["east-1", "east-2", "east-3", "west-1", "west-3"] {
            missing(seen, from, &["west-2"], &["west-2"]);
        }
        missing(seen, "west-2", &["east-1"], &["east-1"]);
    };
    check(
        |seen| {
            rows(seen);
            seen.servers.remove("west-2");
        },
        &["`west-2`: does not answer"],
    );
    check(
        |seen| {
            missing(seen, "east-1", &[], &["west-2"]);
            missing(seen, "east-2", &["west-2"], &["west-2"]);
            seen.agents.insert("west-2".into(), AgentSeen::Silent { reason: "refused".into() });
        },
        &[
            "`east-2`: does not reach `west-2` in the system account",
            "`west-2`: its agent does not answer: refused",
        ],
    );
}

#[test]
fn what_an_agent_tells_is_a_problem_and_keeps_no_gate_shut() {
    let mut seen = well();
    let unfit = vec!["claims `orders` is missing, should be `known to the server`".to_owned()];
    let mesh = Some(MeshRow { probed: 5, ..MeshRow::default() });
    seen.agents.insert("east-3".into(), AgentSeen::Answered { mesh, unfit });
    let health = judge(&expected(), &seen);
    assert_eq!(
        health.all_problems(),
        ["`east-3`: claims `orders` is missing, should be `known to the server`"]
    );
    assert_eq!((health.is_healthy(), health.running_problems()), (false, Vec::new()));
    missing(&mut seen, "east-3", &["east-1"], &[]);
    assert_eq!(
        judge(&expected(), &seen).running_problems(),
        ["`east-3`: does not reach `east-1` in the system account"]
    );
}
