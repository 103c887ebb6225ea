//! Account JWTs: what the local resolver has, and pushing newer ones to it through the front.
//!
//! Which ones to push is decided by `host_state`; an older one never is. Each carries the operator's signature, so
//! nothing here can make one up.

use std::io;
use std::path::Path;

use host_state::document::ClaimsSection;
use host_state::layout;
use host_state::observed::ClaimsObserved;
use identity::AccountPublicKey;

use crate::applier::files::{self, FileError};
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

/// Writes one account's JWT into the resolver's directory, for a server that has it in memory and lost the file: a push
/// of the JWT that it wrote last writes nothing. Durable; may be repeated.
/// Source: nats-server 2.15.1 server/dirstore.go (`DirJWTStore.write`, `pathForKey` without shards).
///
/// # Errors
/// [`FileError`]; also when `account` is no account's key.
pub fn put_back(effects: &Effects, state_dir: &Path, account: &str, jwt: &str) -> Result<(), FileError> {
    let path = state_dir.join(layout::RESOLVER).join(format!("{account}.jwt"));
    if let Err(error) = account.parse::<AccountPublicKey>() {
        return Err(FileError::Write { path, source: io::Error::other(error) });
    }
    files::write_atomic(effects, Effect::PushClaim, &path, jwt.as_bytes(), layout::PUBLIC_MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AAJKU5T6PDB2BD2CBFZUKQ2GSIC7KXXPIDZBKJJ5FO5ERDFADK3FUOSN";

    #[test]
    fn a_jwt_is_put_back_where_the_server_reads_it_and_nowhere_else() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join(layout::RESOLVER)).unwrap();
        put_back(&Effects::default(), state.path(), ACCOUNT, "a.b.c").unwrap();
        let path = state.path().join(layout::RESOLVER).join(format!("{ACCOUNT}.jwt"));
        assert_eq!(std::fs::read(path).unwrap(), b"a.b.c");
        assert!(put_back(&Effects::default(), state.path(), "../ledger/claims", "a.b.c").is_err());
        assert!(!state.path().join("ledger").exists());
    }
}
