//! Account JWTs: what the local resolver has, and pushing newer ones to it through the front.
//!
//! Which ones to push is decided by `host_state`; an older one never is. Each carries the operator's signature, so
//! nothing here can make one up.

use std::io;

use host_state::document::ClaimsSection;
use host_state::observed::ClaimsObserved;

use crate::parts::effects::{Effect, Effects, Moment};
use crate::roles::{LocalServer, ServerView};

/// Why an account's JWT did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nobody knows such an account.
    #[error("no claims section names the account `{account}`")]
    Unknown {
        /// Account public key.
        account: String,
    },
    /// The server did not take it.
    #[error("nats-server did not take the JWT of account `{name}`: {reason}")]
    Refused {
        /// The account's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// It was kept from being sent.
    #[error("the JWT of account `{name}` was not sent")]
    Sending {
        /// The account's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Asks the resolver for every account.
pub async fn observe(view: &dyn ServerView, server: &LocalServer) -> ClaimsObserved {
    view.resolver(server).await
}

/// Pushes one account's JWT. May be repeated: the server takes the same one again.
///
/// # Errors
/// [`PushError`].
pub async fn push(
    effects: &Effects,
    view: &dyn ServerView,
    server: &LocalServer,
    claims: &ClaimsSection,
    account: &str,
) -> Result<(), PushError> {
    let entry = claims.accounts.get(account);
    let entry = entry.ok_or_else(|| PushError::Unknown { account: account.to_owned() })?;
    let sending = |source| PushError::Sending { name: entry.name.clone(), source };
    effects.reach(Effect::PushClaim, Moment::Before).map_err(sending)?;
    let pushed = view.push_claim(server, &entry.jwt).await;
    pushed.map_err(|reason| PushError::Refused { name: entry.name.clone(), reason })?;
    effects.reach(Effect::PushClaim, Moment::After).map_err(sending)
}
