//! Rules within one cluster. Every broken one is told, with the attribute it is about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use host_state::document::Profile;
use host_state::firewall::Networks;
use nats_config::HostPort;
use tfplug::Path;

use super::{Cluster, Problem, expansion};

/// Fewest nodes of a production cluster when it is created: one may then be lost.
const PRODUCTION_NODES: usize = 3;

/// Everything wrong or unwise with `cluster`. `is_new` when it is being created: the least number of nodes is a
/// rule only then, so that a cluster that lost a node for ever can still be changed.
pub fn cluster_problems(cluster: &Cluster, is_new: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    counts(cluster, is_new, &mut problems);
    ports(cluster, &mut problems);
    addresses(cluster, &mut problems);
    listeners(cluster, &mut problems);
    metrics(cluster, &mut problems);
    stores(cluster, &mut problems);
    tags(cluster, &mut problems);
    settings(cluster, &mut problems);
    problems
}

fn node_path(name: impl ToString) -> Path {
    Path::root("nodes").key(name.to_string())
}

/// Metrics tell names and numbers of a system, so they are never open to the world.
fn metrics(cluster: &Cluster, problems: &mut Vec<Problem>) {
    let networks = Networks::of(cluster.firewall.metrics.iter().copied());
    if networks.is_all_v4() || networks.is_all_v6() {
        problems.push(Problem::error(
            Path::root("firewall").attr("metrics"),
            "Metrics are never open to the world",
            "`metrics` holds every address there is, so everybody could read the metrics of this system. Name the networks of \
             whoever scrapes them, like `10.0.0.0/8`; without any only the host itself may.",
        ));
    }
}

fn counts(cluster: &Cluster, is_new: bool, problems: &mut Vec<Problem>) {
    let path = Path::root("nodes");
    let declared = cluster.nodes.len();
    let present = cluster.present().count();
    if present == 0 {
        problems.push(Problem::error(
            path,
            "No node is present",
            "A cluster has at least one node without `absent = true`.",
        ));
        return;
    }
    if present == 1 && !cluster.gateway {
        // Tried on nats-server 2.15.1: it counts itself and its one route, and waits for the second for ever.
        problems.push(Problem::error(
            path.clone(),
            "One server on its own elects no meta leader",
            "A clustered JetStream without gateway needs at least two servers, and three to survive a lost one.",
        ));
    }
    if cluster.profile == Profile::Production && is_new && declared < PRODUCTION_NODES {
        problems.push(Problem::error(
            path.clone(),
            format!("A production cluster has at least {PRODUCTION_NODES} nodes, this one has {declared}"),
            "With fewer, one lost server stops every replicated stream. Add nodes, or set \
             `profile = \"development\"`.",
        ));
    }
    if present > 1 && present.is_multiple_of(2) && !cluster.gateway {
        problems.push(Problem::advice(
            path,
            format!("{present} nodes vote, an even number"),
            "An even number of servers survives no more losses than one less. Use an odd number.",
        ));
    }
    let most = u32::try_from(present / 2).unwrap_or(u32::MAX).max(1);
    if cluster.rollout.max_unavailable > most {
        problems.push(Problem::error(
            Path::root("rollout").attr("max_unavailable"),
            format!("{} of {present} nodes may be down at once", cluster.rollout.max_unavailable),
            format!("More than {most} would cost the cluster its majority."),
        ));
    }
}

fn ports(cluster: &Cluster, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, port) in cluster.ports.named() {
        if let Some(other) = seen.insert(port, name) {
            problems.push(Problem::error(
                Path::root("ports").attr(name),
                format!("Ports `{other}` and `{name}` are both {port}"),
                "Give each listener a port of its own.",
            ));
        }
    }
    for (host, node) in &cluster.nodes {
        let is_here = node.agent.host().parse::<IpAddr>().is_ok_and(|address| address == node.address);
        if let (true, Some(name)) = (is_here, seen.get(&node.agent.port())) {
            problems.push(Problem::error(
                node_path(host).attr("agent"),
                format!(
                    "The agent of `{host}` listens on port {}, as `ports.{name}` does",
                    node.agent.port()
                ),
                "Give the agent or that listener another port.",
            ));
        }
    }
}

fn addresses(cluster: &Cluster, problems: &mut Vec<Problem>) {
    let mut agents: BTreeMap<&HostPort, String> = BTreeMap::new();
    let mut listeners: BTreeMap<(IpAddr, u16), String> = BTreeMap::new();
    for (host, node) in &cluster.nodes {
        for (attribute, address) in [("address", node.address), ("cluster_address", node.cluster_address)] {
            if address.is_unspecified() || address.is_multicast() {
                problems.push(Problem::error(
                    node_path(host).attr(attribute),
                    format!("`{address}` is no address of one host"),
                    "Give the address that the other hosts reach this one by.",
                ));
            }
        }
        if let Some(other) = agents.insert(&node.agent, host.to_string()) {
            problems.push(Problem::error(
                node_path(host).attr("agent"),
                format!("Nodes `{other}` and `{host}` have the same agent `{}`", node.agent),
                "Each host runs an agent of its own.",
            ));
        }
        // Ports are the same on every node, so one listener stands for all that share its address.
        let taken = [
            ("address", node.address, cluster.ports.client),
            ("cluster_address", node.cluster_address, cluster.ports.cluster),
        ];
        for (attribute, address, port) in taken {
            if let Some(other) = listeners.insert((address, port), host.to_string()) {
                problems.push(Problem::error(
                    node_path(host).attr(attribute),
                    format!("Nodes `{other}` and `{host}` both listen on `{address}`"),
                    "Give each node an address of its own.",
                ));
            }
        }
    }
}

fn listeners(cluster: &Cluster, problems: &mut Vec<Problem>) {
    for (host, node) in &cluster.nodes {
        let monitor = expansion::monitor_address(node);
        if !monitor.is_loopback() {
            problems.push(Problem::error(
                node_path(host).attr("address"),
                format!("The monitoring port of `{host}` would be open on `{monitor}`"),
                "It has no authentication and belongs on loopback.",
            ));
        }
        for name in &node.extra_names {
            let is_name = name.parse::<IpAddr>().is_ok() || is_dns_name(name);
            if !is_name {
                problems.push(Problem::error(
                    node_path(host).attr("extra_names"),
                    format!("`{name}` is neither a DNS name nor an address"),
                    "Certificates carry lower-case DNS names without wildcard, and addresses.",
                ));
            }
        }
    }
}

/// Lower-case labels of letters, digits and inner hyphens, joined by dots.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn stores(cluster: &Cluster, problems: &mut Vec<Problem>) {
    // That of the cluster waits for the first node without one of its own.
    if cluster.nodes.values().all(|node| node.store_dir.is_some()) {
        clean_store(&cluster.jetstream.store_dir, &Path::root("jetstream").attr("store_dir"), problems);
    }
    let mut taken: BTreeMap<(&str, bool, IpAddr), String> = BTreeMap::new();
    for (host, node) in &cluster.nodes {
        let directory = node.store_dir(cluster);
        let path = match &node.store_dir {
            Some(_) => node_path(host).attr("store_dir"),
            None => Path::root("jetstream").attr("store_dir"),
        };
        clean_store(directory, &path, problems);
        // Loopback addresses are one machine, whichever they are.
        let machine = if node.address.is_loopback() { IpAddr::from([127, 0, 0, 1]) } else { node.address };
        if let Some(other) = taken.insert((directory, node.address.is_loopback(), machine), host.to_string())
        {
            problems.push(Problem::error(
                path,
                format!("Nodes `{other}` and `{host}` are on one machine and store in `{directory}`"),
                "Give each node a `store_dir` of its own.",
            ));
        }
    }
}

fn clean_store(directory: &str, path: &Path, problems: &mut Vec<Problem>) {
    if !is_clean_absolute(directory) {
        problems.push(Problem::error(
            path.clone(),
            format!("`{directory}` is no absolute path without `.` and `..`"),
            "Write the whole path of the directory, starting with `/`, without a trailing `/`.",
        ));
    }
}

fn is_clean_absolute(path: &str) -> bool {
    path.len() > 1
        && path.starts_with('/')
        && path[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.chars().any(char::is_control)
}

fn tags(cluster: &Cluster, problems: &mut Vec<Problem>) {
    let Some(prefix) = &cluster.jetstream.unique_tag else { return };
    let lower = prefix.to_lowercase();
    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    for (host, node) in &cluster.nodes {
        let found: Vec<String> =
            node.tags.iter().map(|tag| tag.to_lowercase()).filter(|tag| tag.starts_with(&lower)).collect();
        match found.as_slice() {
            [tag] if !node.absent => *zones.entry(tag.clone()).or_default() += 1,
            [_] => {}
            found => problems.push(Problem::error(
                node_path(host).attr("tags"),
                match found.len() {
                    0 => format!("Node `{host}` has no tag that starts with `{prefix}`"),
                    count => format!("Node `{host}` has {count} tags that start with `{prefix}`"),
                },
                format!(
                    "`jetstream.unique_tag` spreads replicas over different `{prefix}` tags, so each node needs exactly \
                     one."
                ),
            )),
        }
    }
    if zones.len() < PRODUCTION_NODES && zones.values().sum::<usize>() >= PRODUCTION_NODES {
        problems.push(Problem::advice(
            Path::root("jetstream").attr("unique_tag"),
            format!("The nodes have {} different `{prefix}` tags", zones.len()),
            format!("A stream of 3 replicas needs {PRODUCTION_NODES}; it will be refused."),
        ));
    }
}

/// The rules of the server configuration itself, each told once although every node has one.
fn settings(cluster: &Cluster, problems: &mut Vec<Problem>) {
    let mut seen = std::collections::BTreeSet::new();
    for (host, node) in cluster.present() {
        let config = expansion::server_config(cluster, host, node, None, &Default::default());
        let Err(found) = config.validate() else { continue };
        for nats_config::Problem { path, found, problem, remedy } in found {
            // Directories and tags are told by the rules above, node by node.
            let is_told = path == "jetstream.store_dir"
                || (path == "jetstream.unique_tag" && cluster.jetstream.unique_tag.as_ref() == Some(&found));
            if is_told {
                continue;
            }
            if seen.insert(path.clone()) {
                problems.push(Problem::error(
                    attribute_of(&path),
                    format!("`{path}` is `{found}`: {problem}"),
                    sentence(&remedy),
                ));
            }
        }
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// The attribute behind a field of the server's configuration.
fn attribute_of(field: &str) -> Path {
    let (head, rest) = field.split_once('.').unwrap_or((field, ""));
    let rest = rest.split('.').next().unwrap_or_default();
    let below = |name: &str| if rest.is_empty() { Path::root(name) } else { Path::root(name).attr(rest) };
    match head {
        "limits" => below("limits"),
        "logging" if ["debug", "trace"].contains(&rest) => below("logging"),
        "lame_duck" => below("lame_duck"),
        "jetstream" if ["max_memory", "max_storage", "unique_tag", "sync", "domain"].contains(&rest) => {
            below("jetstream")
        }
        "tags" => Path::root("nodes"),
        "client" | "cluster" | "gateway" | "monitor" => Path::root("ports").attr(head),
        "extra" => Path::root("server_config"),
        _ => Path::new(),
    }
}
