//! What each host's agent tells: its row of the mesh, and what it knows of certificates, accounts and disk.
//!
//! Only what makes a server unfit is a problem here. A setting edited by hand or another binary is drift of the host's
//! resource and says nothing of health.

use std::collections::{BTreeMap, BTreeSet};

use host_state::report::{MeshRow, Report};
use host_state::{Drift, Finding};

use super::{ExpectedTopology, Seen, ServerHealth};

/// One host's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSeen {
    /// It gave no report.
    Silent {
        /// Why.
        reason: String,
    },
    /// It did.
    Answered {
        /// Which other servers its own one reaches; absent while the agent cannot tell.
        mesh: Option<MeshRow>,
        /// What is wrong with certificates, keys, accounts, store or ledger, each a sentence without full stop.
        unfit: Vec<String>,
    },
}

impl AgentSeen {
    /// What counts of a report.
    #[must_use]
    pub fn of(report: &Report) -> AgentSeen {
        let drift = report.drift.iter().filter(|drift| is_unfit(drift)).map(ToString::to_string);
        let findings = report.findings.iter().filter(|finding| is_danger(finding));
        let findings = findings.map(|Finding { item, problem, remedy: _ }| format!("{item}: {problem}"));
        AgentSeen::Answered { mesh: report.mesh.clone(), unfit: drift.chain(findings).collect() }
    }
}

/// Certificates on disk and as served, keys, accounts as pushed, the store. Not what else differs from the document.
fn is_unfit(drift: &Drift) -> bool {
    match drift.item.as_str() {
        "certificate" | "key" | "claims" | "store" => true,
        "running" => drift.setting.as_ref().is_some_and(|setting| setting.starts_with("certificate of")),
        _ => false,
    }
}

fn is_danger(finding: &Finding) -> bool {
    matches!(finding.item.as_str(), "certificate" | "key" | "claims" | "store" | "running" | "ledger")
}

/// Adds what agents tell to the servers they belong to.
pub(super) fn judge_agents(
    expected: &ExpectedTopology,
    seen: &Seen,
    servers: &mut BTreeMap<String, ServerHealth>,
) {
    for (name, agent) in seen.agents.iter().filter(|(name, _)| expected.servers.contains_key(*name)) {
        let Some(server) = servers.get_mut(name) else { continue };
        match agent {
            AgentSeen::Silent { reason } => {
                server.told.push(format!("its agent does not answer: {reason}"));
            }
            AgentSeen::Answered { mesh, unfit } => {
                server.told.extend(unfit.iter().cloned());
                match mesh {
                    // A server that does not answer is named already.
                    _ if server.seen.is_none() => {}
                    Some(row) => server.problems.extend(judge_row(expected, seen, row)),
                    None => server.problems.push("has not probed the other servers yet".to_owned()),
                }
            }
        }
    }
}

/// Every pair that is broken. A server that is silent is named once, by itself; so is an agent, and with it falls only
/// the probe account, in which agents answer.
fn judge_row(expected: &ExpectedTopology, seen: &Seen, row: &MeshRow) -> Vec<String> {
    let MeshRow { system_missing, probe_missing, probed: _ } = row;
    let others: BTreeSet<&String> = system_missing.union(probe_missing).collect();
    let others = others
        .into_iter()
        .filter(|other| expected.servers.contains_key(*other) && seen.servers.contains_key(*other));
    let pair = |other: &String| {
        let agent_is_there = !matches!(seen.agents.get(other), Some(AgentSeen::Silent { .. }));
        let accounts = match (system_missing.contains(other), probe_missing.contains(other) && agent_is_there)
        {
            (true, true) => "in the system account and in the probe account",
            (true, false) => "in the system account",
            (false, true) => "in the probe account",
            (false, false) => return None,
        };
        Some(format!("does not reach `{other}` {accounts}"))
    };
    others.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_server_unfit_is_taken_from_a_report() {
        let drift = |item: &str, setting: &str| Drift {
            item: item.to_owned(),
            setting: Some(setting.to_owned()),
            desired: Some("a".to_owned()),
            found: Some("b".to_owned()),
        };
        let finding = |item: &str| Finding {
            item: item.to_owned(),
            problem: "is gone".to_owned(),
            remedy: "bring it back".to_owned(),
        };
        let report = Report {
            agent_version: "0.0.0".to_owned(),
            claim: None,
            sections: BTreeMap::new(),
            rendition: None,
            run: host_state::report::RunStatus::Running,
            meta_lineage: None,
            formed: true,
            server: None,
            drift: vec![
                drift("certificate", "server.pem"),
                drift("claims", "orders"),
                drift("configuration", "max_payload"),
                drift("running", "certificate of cluster"),
                drift("running", "config_digest"),
            ],
            findings: vec![finding("firewall"), finding("store")],
            mesh: Some(MeshRow { probed: 8, ..MeshRow::default() }),
            certificates: BTreeMap::new(),
            audit: None,
            firewall: None,
            observed_at: 0,
        };
        let AgentSeen::Answered { mesh, unfit } = AgentSeen::of(&report) else { panic!("it answered") };
        assert_eq!(mesh, report.mesh);
        let told = [
            "certificate `server.pem` is `b`, should be `a`",
            "claims `orders` is `b`, should be `a`",
            "running `certificate of cluster` is `b`, should be `a`",
            "store: is gone",
        ];
        assert_eq!(unfit, told);
    }
}
