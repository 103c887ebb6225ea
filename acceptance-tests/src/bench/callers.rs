//! Asks agents as any caller of the authority does, without Terraform and without the provider.

use std::time::Duration;

use anyhow::{Context, Result};
use identity::{Authority, ClientIdentity, HostName, Role};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long the caller's certificate lives.
const LIFE: Duration = Duration::from_secs(3600);

/// One caller, who may read.
pub(super) struct Caller {
    identity: ClientIdentity,
    host_ca: String,
}

impl Caller {
    /// Certified by `authority`.
    ///
    /// # Errors
    /// When the clock is beyond the calendar.
    pub(super) fn of(authority: &Authority) -> Result<Self> {
        let now = OffsetDateTime::now_utc();
        // A key that the measurement alone knows, and for an hour.
        let seed = Zeroizing::new([7; 32]);
        let identity = authority.client_certificate(&Role::Reader, &seed, now, LIFE);
        let identity = identity.context("make a caller's certificate")?;
        Ok(Self { identity, host_ca: authority.trust().host_ca_bundle() })
    }

    /// A connection to the agent of `host`.
    ///
    /// # Errors
    /// When it does not come about.
    pub(super) async fn connect(&self, address: &str, host: HostName) -> Result<AgentClient> {
        let expected = Expected { host: Some(host), pin: None };
        let dialled =
            AgentClient::connect(address, &self.identity, &self.host_ca, expected, Timeouts::default());
        dialled.await.with_context(|| format!("connect to `{address}`"))
    }
}
