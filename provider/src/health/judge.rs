//! Compares what was seen with what was declared. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::seen::{MetaGroup, Seen, StreamSeen};
use super::told::judge_agents;
use super::{ExpectedTopology, Health, ServerHealth};

/// Everything that is wrong, each once and where it belongs.
#[must_use]
pub fn judge(expected: &ExpectedTopology, seen: &Seen) -> Health {
    let leader = meta_leader(seen);
    let mut health = Health {
        servers: servers(expected, seen),
        meta_leader: leader.map(|(name, _)| name.to_owned()),
        meta_peers: leader.map(|(_, group)| group.cluster_size),
        problems: Vec::new(),
    };
    judge_presence(expected, seen, &mut health.servers);
    judge_links(expected, seen, &mut health.servers);
    judge_meta(expected, leader, &mut health);
    judge_streams(expected, seen, &mut health.problems);
    judge_agents(expected, seen, &mut health.servers);
    health
}

fn servers(expected: &ExpectedTopology, seen: &Seen) -> BTreeMap<String, ServerHealth> {
    let names: BTreeSet<&String> = expected.servers.keys().chain(seen.servers.keys()).collect();
    let server = |name: &String| {
        let answer = seen.servers.get(name).and_then(|answers| answers.first()).cloned();
        let declared = expected.servers.get(name).cloned();
        let said = answer.as_ref().map(|answer| answer.cluster.clone());
        ServerHealth {
            cluster: declared.or(said).unwrap_or_default(),
            seen: answer,
            problems: Vec::new(),
            told: Vec::new(),
        }
    };
    names.into_iter().map(|name| (name.clone(), server(name))).collect()
}

/// The meta leader as it sees itself: only its view of the others counts.
fn meta_leader(seen: &Seen) -> Option<(&str, &MetaGroup)> {
    let own = seen.meta.iter().find(|(name, group)| group.leader == **name);
    own.map(|(name, group)| (name.as_str(), group))
}

fn judge_presence(expected: &ExpectedTopology, seen: &Seen, servers: &mut BTreeMap<String, ServerHealth>) {
    for (name, server) in servers.iter_mut() {
        let answers = seen.servers.get(name).map(Vec::as_slice).unwrap_or_default();
        let problems = &mut server.problems;
        match (expected.servers.get(name), answers) {
            (Some(_), []) => problems.push("does not answer".to_owned()),
            (None, _) if expected.absent.contains(name) => {
                server.told.push("need not be there, and has not left the supercluster".to_owned());
            }
            (None, _) => problems.push("is in the supercluster and was not declared".to_owned()),
            (Some(cluster), [answer, others @ ..]) => {
                if !others.is_empty() {
                    problems.push(format!("{} servers answer under this name", answers.len()));
                }
                if answer.cluster != *cluster {
                    problems.push(format!("is in cluster `{}`, declared in `{cluster}`", answer.cluster));
                }
                if answer.jetstream.is_none() {
                    problems.push("has JetStream switched off".to_owned());
                }
            }
        }
    }
}

/// Routes to every server of its cluster, an outbound gateway to every other cluster, an inbound one from somebody
/// of every other cluster.
fn judge_links(expected: &ExpectedTopology, seen: &Seen, servers: &mut BTreeMap<String, ServerHealth>) {
    let is_ours = |name: &String| !expected.absent.contains(name);
    for (name, server) in servers.iter_mut().filter(|(name, server)| is_ours(name) && server.seen.is_some()) {
        let neighbours = expected.servers.iter().filter(|(other, cluster)| {
            *other != name && **cluster == server.cluster && seen.servers.contains_key(*other)
        });
        let routes = seen.routes.get(name);
        for (other, _) in neighbours {
            if routes.is_none_or(|routes| !routes.contains(other)) {
                server.problems.push(format!("has no route to `{other}`"));
            }
        }
        for cluster in expected.clusters().filter(|cluster| *cluster != server.cluster) {
            if seen.outbound.get(name).is_none_or(|outbound| !outbound.contains(cluster)) {
                server.problems.push(format!("has no outbound gateway to cluster `{cluster}`"));
            }
        }
    }
    judge_inbound(expected, seen, servers);
}

/// Which server of a cluster another cluster's gateways dial is theirs to choose, so inbound counts per cluster.
fn judge_inbound(expected: &ExpectedTopology, seen: &Seen, servers: &mut BTreeMap<String, ServerHealth>) {
    for cluster in expected.clusters() {
        let members: Vec<&String> =
            expected.servers.iter().filter(|(_, its)| *its == cluster).map(|(name, _)| name).collect();
        let alive = members.iter().any(|name| seen.servers.contains_key(*name));
        let inbound: BTreeSet<&String> =
            members.iter().filter_map(|name| seen.inbound.get(*name)).flatten().collect();
        for other in expected.clusters().filter(|other| alive && *other != cluster) {
            let other_alive =
                expected.servers.iter().any(|(name, its)| its == other && seen.servers.contains_key(name));
            if other_alive && !inbound.iter().any(|from| from.as_str() == other) {
                for name in members.iter().filter(|name| seen.servers.contains_key(**name)) {
                    if let Some(server) = servers.get_mut(*name) {
                        server
                            .problems
                            .push(format!("its cluster has no inbound gateway from cluster `{other}`"));
                    }
                }
            }
        }
    }
}

fn judge_meta(expected: &ExpectedTopology, leader: Option<(&str, &MetaGroup)>, health: &mut Health) {
    let Some((leader, group)) = leader else {
        health.problems.push("the JetStream meta group has no leader".to_owned());
        return;
    };
    let declared = expected.servers.len() as u64;
    let counted = group.cluster_size;
    let empty = counted.saturating_sub(declared);
    if counted < declared || empty > expected.absent.len() as u64 {
        health.problems.push(format!("the meta group counts {counted} members, {declared} are declared"));
    } else if empty > 0 && would_lack_quorum(counted, empty, expected.taking_down.len() as u64) {
        health.problems.push(format!(
            "the meta group counts {counted} members, {empty} of them absent: it cannot spare another one"
        ));
    }
    for (name, server) in &mut health.servers {
        if name == leader || !expected.servers.contains_key(name) {
            continue;
        }
        match group.replicas.iter().find(|replica| replica.name == *name) {
            None => server.problems.push("is no member of the meta group".to_owned()),
            Some(replica) if replica.offline => {
                server.problems.push("the meta leader does not reach it".to_owned());
            }
            Some(replica) if !replica.current => {
                server.problems.push(format!("is {} entries behind in the meta group", replica.lag));
            }
            Some(_) => {}
        }
    }
}

/// Each stream by its leader's view; a stream without leader by anybody's.
fn judge_streams(expected: &ExpectedTopology, seen: &Seen, problems: &mut Vec<String>) {
    let mut by_name: BTreeMap<(&str, &str), Vec<(&str, &StreamSeen)>> = BTreeMap::new();
    for (server, streams) in &seen.streams {
        for stream in streams {
            let key = (stream.account.as_str(), stream.stream.as_str());
            by_name.entry(key).or_default().push((server, stream));
        }
    }
    for ((account, name), views) in by_name {
        let led = views.iter().find_map(|(server, stream)| {
            let group = stream.group.as_ref()?;
            (group.leader == *server).then_some((stream.replicas, group))
        });
        let clustered = views.iter().any(|(_, stream)| stream.group.is_some());
        match led {
            None if clustered => {
                problems.push(format!("stream `{name}` of account `{account}` has no leader"))
            }
            None => {}
            Some((wanted, group)) => {
                let have = group.replicas.len() as u64 + 1;
                if have < wanted {
                    problems.push(format!(
                        "stream `{name}` of account `{account}` has {have} of {wanted} replicas"
                    ));
                }
                let (absent, others): (Vec<_>, Vec<_>) =
                    group.replicas.iter().partition(|replica| expected.absent.contains(&replica.name));
                let holders = others.iter().map(|replica| &replica.name).chain([&group.leader]);
                let going = holders.filter(|name| expected.taking_down.contains(*name)).count() as u64;
                let empty = absent.len() as u64;
                if empty > 0 && would_lack_quorum(have, empty, going) {
                    problems.push(format!(
                        "stream `{name}` of account `{account}` has {have} replicas, {empty} of them on absent nodes: it \
                         cannot spare another one"
                    ));
                }
                for replica in others.into_iter().filter(|replica| replica.offline || !replica.current) {
                    let state = if replica.offline { "offline" } else { "behind" };
                    let at = &replica.name;
                    problems.push(format!(
                        "stream `{name}` of account `{account}`: replica on `{at}` is {state}"
                    ));
                }
            }
        }
    }
}

/// Whether a group of `members`, `empty` of them away, would have no quorum for `going` others being taken down. A group
/// that loses nobody by it is none the worse for it.
fn would_lack_quorum(members: u64, empty: u64, going: u64) -> bool {
    going > 0 && members.saturating_sub(empty + going) < members / 2 + 1
}

#[cfg(test)]
mod tests;
