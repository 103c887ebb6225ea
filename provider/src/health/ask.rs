//! Asks every server of the system through the tunnel, each question once to all, and every agent for its report.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use identity::HostName;
use nats_agent_api::Tunnel;
use serde_json::json;
use tfplug::Diagnostic;

use super::seen::{Endpoint, Seen};
use super::{AgentSeen, ExpectedTopology};
use crate::agents::System;

/// How long servers and agents have to answer. Nine servers answer in 14 ms; a JSZ of 1,000 streams takes 0.2 s; an
/// agent that misses others gives its first report after 2.5 s.
const DEADLINE: Duration = Duration::from_secs(3);

const QUESTIONS: [(Endpoint, &str); 4] = [
    (Endpoint::Varz, "VARZ"),
    (Endpoint::Jsz, "JSZ"),
    (Endpoint::Gatewayz, "GATEWAYZ"),
    (Endpoint::Routez, "ROUTEZ"),
];

pub(super) async fn ask(system: &System, expected: &ExpectedTopology) -> Result<Seen, Diagnostic> {
    let tunnel = system.system_tunnel().await?;
    let wanted = u32::try_from(expected.servers.len()).unwrap_or(u32::MAX);
    let answers = join_all(QUESTIONS.map(|(endpoint, name)| question(&tunnel, endpoint, name, wanted))).await;
    let mut seen = Seen::default();
    for (endpoint, answers) in answers {
        for answer in answers? {
            if let Err(error) = seen.take(endpoint, &answer) {
                tracing::warn!("{}", host_state::chain(&error));
            }
        }
    }
    Ok(seen)
}

async fn question(
    tunnel: &Tunnel,
    endpoint: Endpoint,
    name: &str,
    wanted: u32,
) -> (Endpoint, Result<Vec<Vec<u8>>, Diagnostic>) {
    let options = match endpoint {
        Endpoint::Jsz => json!({ "accounts": true, "streams": true, "config": true }),
        Endpoint::Varz | Endpoint::Gatewayz | Endpoint::Routez => json!({}),
    };
    let subject = format!("$SYS.REQ.SERVER.PING.{name}");
    let replies = tunnel.scatter(&subject, options.to_string().into_bytes(), DEADLINE, wanted).await;
    let replies = replies.map(|replies| replies.into_iter().map(|reply| reply.payload).collect());
    let failed = |error| {
        Diagnostic::error(
            "The servers cannot be asked for their health",
            format!("`{subject}` through the agent's tunnel: {}.", host_state::chain(&error)),
        )
    };
    (endpoint, replies.map_err(failed))
}

/// Every expected host's agent at once.
pub(super) async fn ask_agents(system: &System, expected: &ExpectedTopology) -> BTreeMap<String, AgentSeen> {
    let hosts = system.hosts.keys().filter(|host| expected.servers.contains_key(host.as_str()));
    let answers = hosts.map(|host| async move { (host.to_string(), agent(system, host).await) });
    join_all(answers).await.into_iter().collect()
}

async fn agent(system: &System, host: &HostName) -> AgentSeen {
    let observed = async {
        let agent = system.agent(host).await.map_err(|problem| {
            let reason = problem.detail.trim_end_matches('.');
            reason.strip_prefix(&format!("`{host}`: ")).unwrap_or(reason).to_owned()
        })?;
        agent.observe().await.map_err(|why| host_state::chain(&why))
    };
    match tokio::time::timeout(DEADLINE, observed).await {
        Ok(Ok(observation)) => AgentSeen::of(&observation.report),
        Ok(Err(reason)) => AgentSeen::Silent { reason },
        Err(_late) => {
            AgentSeen::Silent { reason: format!("it gave no report within {} s", DEADLINE.as_secs()) }
        }
    }
}
