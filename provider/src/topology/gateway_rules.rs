//! Rules between the clusters of one gateway. Every broken one is told, with the attribute it is about.

use std::collections::BTreeMap;

use host_state::document::Profile;
use tfplug::Path;

use super::{Gateway, Problem};

/// Fewest clusters of a production gateway when it is created: one whole cluster may then be lost.
const PRODUCTION_CLUSTERS: usize = 3;

/// Everything wrong or unwise with `gateway`. `is_new` when it is being created: the least number of clusters is
/// a rule only then.
pub fn gateway_problems(gateway: &Gateway, is_new: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    counts(gateway, is_new, &mut problems);
    members(gateway, &mut problems);
    uniqueness(gateway, &mut problems);
    problems
}

fn cluster_path(key: &str) -> Path {
    Path::root("clusters").key(key)
}

fn counts(gateway: &Gateway, is_new: bool, problems: &mut Vec<Problem>) {
    let path = Path::root("clusters");
    let clusters = gateway.clusters.len();
    let servers: usize = gateway.clusters.values().map(|member| member.nodes.len()).sum();
    if clusters == 0 || servers == 0 {
        problems.push(Problem::error(path, "No cluster has a node", "A gateway joins at least one cluster."));
        return;
    }
    let is_production = gateway.clusters.values().any(|member| member.profile == Profile::Production);
    if is_production && is_new && clusters < PRODUCTION_CLUSTERS {
        problems.push(Problem::error(
            path.clone(),
            format!(
                "A production gateway joins at least {PRODUCTION_CLUSTERS} clusters, this one has {clusters}"
            ),
            "With two, losing either stops JetStream in both. Add clusters, leave the gateway out, or set \
             `profile = \"development\"` on the clusters.",
        ));
    }
    if is_production && clusters > 1 {
        for (key, member) in &gateway.clusters {
            if member.nodes.len() * 2 > servers {
                problems.push(Problem::error(
                    cluster_path(key),
                    format!("Cluster `{}` holds {} of {servers} servers", member.cluster, member.nodes.len()),
                    "Without it the others have no majority. No cluster may hold more than half of the servers.",
                ));
            }
        }
    }
    if servers > 1 && servers.is_multiple_of(2) {
        problems.push(Problem::advice(
            path,
            format!("{servers} servers vote, an even number"),
            "An even number of servers survives no more losses than one less. Use an odd number.",
        ));
    }
}

fn members(gateway: &Gateway, problems: &mut Vec<Problem>) {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let first = gateway.clusters.values().next().map(|member| member.authority.as_str());
    for (key, member) in &gateway.clusters {
        if !member.gateway {
            problems.push(Problem::error(
                cluster_path(key),
                format!("Cluster `{}` starts by itself", member.cluster),
                "Set `gateway = true` on its `nats_cluster`, so that it waits for the gateway.",
            ));
        }
        if first.is_some_and(|first| first != member.authority) {
            problems.push(Problem::error(
                cluster_path(key),
                format!(
                    "Cluster `{}` belongs to authority `{}`, others to `{}`",
                    member.cluster,
                    member.authority,
                    first.unwrap_or_default()
                ),
                "All clusters of a gateway trust one authority.",
            ));
        }
        if let Some(other) = names.insert(member.cluster.as_str(), key) {
            problems.push(Problem::error(
                cluster_path(key),
                format!("`{other}` and `{key}` are both cluster `{}`", member.cluster),
                "List each cluster once.",
            ));
        }
    }
}

/// Names, agents and listeners are each used once in the whole gateway: a server's name is its identity in the meta
/// group, and one URL too many breaks the count of the first election.
fn uniqueness(gateway: &Gateway, problems: &mut Vec<Problem>) {
    let mut taken: BTreeMap<(&str, String), String> = BTreeMap::new();
    for (key, member) in &gateway.clusters {
        for (host, node) in &member.nodes {
            let place = format!("{}/{host}", member.cluster);
            let used = [
                ("node name", host.to_string()),
                ("agent", node.agent.to_string()),
                ("cluster listener", node.cluster_url.to_string()),
                ("gateway listener", node.gateway_url.to_string()),
            ];
            for (what, value) in used {
                if let Some(other) = taken.insert((what, value.clone()), place.clone()) {
                    problems.push(Problem::error(
                        cluster_path(key),
                        format!("`{other}` and `{place}` have the same {what} `{value}`"),
                        "Each must be used once in the whole supercluster.",
                    ));
                }
            }
        }
    }
}
