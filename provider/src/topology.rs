//! Clusters and gateways as declared: their model, their rules, and their expansion into one section per host.
//!
//! Pure. The way through: a [`Cluster`] is checked by [`cluster_problems`], becomes a [`Member`] of a gateway in
//! [`member`], and one `ClusterSection` per host in [`cluster_sections`] once the hosts' keys are known. A
//! [`Gateway`] is checked by [`gateway_problems`] and becomes one `GatewaySection`, the same for every host, in
//! [`gateway_section`]. Rules return every problem at once, each with the attribute it is about.

mod cluster_rules;
mod declared;
mod expansion;
mod gateway_rules;
mod model;
mod revision;

pub use cluster_rules::cluster_problems;
pub use declared::{absent_nodes, enrollment_generation};
pub use expansion::{
    HostMaterial, cluster_sections, gateway_section, host_names, monitor_address, server_config, trust_json,
};
pub use gateway_rules::gateway_problems;
pub use model::{
    Cluster, Gateway, JetStreamSpec, Member, MemberNode, Node, Ports, Rollout, certificate_names, member,
};
pub use revision::revision;

use tfplug::Path;

/// One thing that is wrong with a declaration, or merely unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The attribute it is about.
    pub path: Path,
    /// What is wrong: one line, no full stop.
    pub problem: String,
    /// What to do about it: a sentence.
    pub remedy: String,
    /// True when it is advice and stops nothing.
    pub is_advice: bool,
}

impl Problem {
    fn error(path: Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path, problem: problem.into(), remedy: remedy.into(), is_advice: false }
    }

    fn advice(path: Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path, problem: problem.into(), remedy: remedy.into(), is_advice: true }
    }
}

impl From<Problem> for tfplug::Diagnostic {
    fn from(problem: Problem) -> Self {
        let Problem { path, problem, remedy, is_advice } = problem;
        let told = if is_advice { Self::warning(problem, remedy) } else { Self::error(problem, remedy) };
        told.at(path)
    }
}

#[cfg(test)]
mod tests;
