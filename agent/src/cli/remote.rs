//! Asking another host's agent over mTLS, with a certificate minted for this one question.

use std::time::Duration;

use anyhow::Result;
use host_state::Report;
use identity::{Authority, Role};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use time::OffsetDateTime;

use super::authority::random_seed;

/// Life of the certificate.
const LIFE: Duration = Duration::from_secs(300);

/// A fresh report of the agent at `address` (`host:port`).
pub(super) async fn report(authority: &Authority, role: &Role, address: &str) -> Result<Report> {
    let identity = authority.client_certificate(role, &random_seed()?, OffsetDateTime::now_utc(), LIFE)?;
    let host_ca = authority.trust().host_ca_bundle();
    let client =
        AgentClient::connect(address, &identity, &host_ca, Expected::default(), Timeouts::default()).await?;
    Ok(client.observe().await?.report)
}
