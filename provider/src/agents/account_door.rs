//! The way into one account for who has its key and nothing else: any agent that is known will do.

use std::collections::BTreeSet;

use host_state::chain;
use identity::AccountKey;
use nats_agent_api::Tunnel;
use nats_config::HostPort;
use tfplug::Diagnostic;
use time::OffsetDateTime;

use super::{Agents, IdentityCard, TUNNEL_MINUTES, random_bytes};
use crate::keys::account_of;

/// Where to knock, and with which key.
pub(crate) struct AccountDoor<'a> {
    pub(crate) key: &'a AccountKey,
    pub(crate) addresses: BTreeSet<HostPort>,
    pub(crate) agents: &'a Agents,
}

impl AccountDoor<'_> {
    /// A tunnel as an administrator of the account's JetStream, for minutes; the user is minted in memory.
    ///
    /// # Errors
    /// When no agent lets it in; the text names each and why.
    pub(crate) async fn tunnel(&self) -> Result<Tunnel, Diagnostic> {
        let user = self
            .key
            .admin_user(&random_bytes()?, OffsetDateTime::now_utc(), TUNNEL_MINUTES)
            .map_err(|why| Diagnostic::error("No user could be made", format!("{}.", chain(&why))))?;
        self.enter(user.jwt.as_str(), |nonce| user.sign(nonce)).await
    }

    /// A tunnel as any user of the account; `sign` signs the server's nonce with the user's key.
    ///
    /// # Errors
    /// As [`AccountDoor::tunnel`].
    pub(crate) async fn enter(
        &self,
        jwt: &str,
        sign: impl Fn(&[u8]) -> [u8; 64] + Send + Sync,
    ) -> Result<Tunnel, Diagnostic> {
        let card = IdentityCard::of_caller(self.key.caller());
        let mut refusals = Vec::new();
        for address in &self.addresses {
            let agent = match self.agents.connect(&card, address, None).await {
                Ok(agent) => agent,
                Err(why) => {
                    refusals.push(format!("{}.", chain(&why)));
                    continue;
                }
            };
            match agent.tunnel(jwt, &sign).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(why) => refusals.push(format!("{}.", chain(&why))),
            }
        }
        Err(Diagnostic::error(
            format!("No server lets `account_key` into account `{}`", account_of(self.key)),
            format!(
                "Each address in `agents` was tried:\n{}\nAn account key ends with its certificate, and when `generation` \
                 of its `nats_account` has been raised twice: then have a new one made.",
                refusals.join("\n")
            ),
        ))
    }
}
