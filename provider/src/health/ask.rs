//! Asks every server of the system through the tunnel, each question once to all.

use std::time::Duration;

use futures_util::future::join_all;
use nats_agent_api::Tunnel;
use serde_json::json;
use tfplug::Diagnostic;

use super::ExpectedTopology;
use super::seen::{Endpoint, Seen};
use crate::agents::System;

/// How long servers have to answer. Nine answer in 14 ms; a JSZ of 1,000 streams takes 0.2 s.
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
