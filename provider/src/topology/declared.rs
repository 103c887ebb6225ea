//! What a cluster section says of its nodes in the words of `nats_cluster`: an agent keeps them and reads nothing in them.

use std::collections::BTreeSet;

use host_state::document::ClusterSection;
use identity::HostName;
use serde_json::Value;

/// Which enrolment of `host` is declared; 1 where nothing is said.
#[must_use]
pub fn enrollment_generation(section: &ClusterSection, host: &str) -> u32 {
    let generation = &section.declared["nodes"][host]["generation"];
    generation.as_u64().and_then(|number| number.try_into().ok()).unwrap_or(1)
}

/// Nodes that are marked `absent`.
#[must_use]
pub fn absent_nodes(section: &ClusterSection) -> BTreeSet<HostName> {
    let nodes = section.declared["nodes"].as_object();
    let absent = nodes.into_iter().flatten().filter(|(_, node)| node["absent"] == Value::Bool(true));
    absent.filter_map(|(name, _)| name.parse().ok()).collect()
}
