//! Account JWTs: what the local resolver has, and pushing newer ones to it through the front.
//!
//! Which ones to push is decided by `host_state`, by what this host knows; and a host may know less than others, because it
//! was away or put back to a backup. A push reaches every server, and each takes what is older too. So what others have is
//! asked for first, and the newest is what is pushed. Each carries the operator's signature: nothing here makes one up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use host_state::layout;
use host_state::observed::{ClaimObserved, ClaimsObserved};
use identity::AccountPublicKey;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::applier::files::{self, FileError, UntrustedDirectory};
use crate::parts::effects::{Effect, Effects, Moment};
use crate::roles::{AgentSettings, LocalServer, ServerView};

/// Largest account JWT that is read, in bytes. Source: nats-server 2.15.1, 1 MiB is the largest payload by default, so no
/// larger one can have been pushed to a server that keeps it.
const JWT_LIMIT: u64 = 8 * 1024 * 1024;

/// Why an account's JWT did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
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

/// Every account that the local server knows, with the JWT that lies in the resolver directory below `state_dir`: the file
/// that each lookup of the server reads. An account whose file went meanwhile is left out. The files are the server's own,
/// mode 0600, so nobody but the applier reads them, and it follows no link there: neither the files' nor one that the
/// server's user put in the place of the directory.
/// Source: nats-server 2.15.1 server/dirstore.go `load`, server/accounts.go `DirAccResolver.Start`; the mode was tried.
pub async fn observe(view: &dyn ServerView, server: &LocalServer, state_dir: &Path) -> ClaimsObserved {
    let known = match view.known_accounts(server).await {
        Ok(known) => known,
        Err(reason) => return ClaimsObserved::Silent { reason },
    };
    let directory = state_dir.join(layout::RESOLVER);
    let read = tokio::task::spawn_blocking(move || read(&directory, &known)).await;
    match read.map_err(|error| error.to_string()).and_then(|read| read) {
        Ok(claims) => ClaimsObserved::Answered(claims),
        Err(reason) => ClaimsObserved::Silent { reason },
    }
}

fn read(directory: &Path, accounts: &BTreeSet<String>) -> Result<BTreeMap<String, ClaimObserved>, String> {
    let mut claims = BTreeMap::new();
    let directory = UntrustedDirectory::open(directory).map_err(|error| host_state::chain(&error))?;
    for account in accounts {
        // The front says them, and they become part of a path.
        if account.parse::<AccountPublicKey>().is_err() {
            return Err("the server named an account that is none".to_owned());
        }
        let Some(directory) = &directory else { continue };
        let text = directory.read(&format!("{account}.jwt"), JWT_LIMIT);
        if let Some(text) = text.map_err(|error| host_state::chain(&error))? {
            claims.insert(account.clone(), described(&text));
        }
    }
    Ok(claims)
}

/// What may lie in a resolver, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = described(bytes);
}

/// Hash and `iat` of a JWT; nothing is verified, as what the server has may be anything.
fn described(text: &[u8]) -> ClaimObserved {
    #[derive(Deserialize)]
    struct Claims {
        iat: i64,
    }
    let payload = text.split(|byte| *byte == b'.').nth(1);
    let json = payload.and_then(|payload| BASE64URL_NOPAD.decode(payload).ok());
    let claims = json.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    ClaimObserved {
        sha256: HEXLOWER.encode(&Sha256::digest(text)),
        issued_at: claims.map(|claims| claims.iat),
    }
}

/// The newest JWT that any server of the system has for each account, of those that `is_ours` approves; an account that
/// none has is absent.
///
/// # Errors
/// When nobody can be asked: then nobody knows whether a push would take something back.
pub async fn newest(
    view: &dyn ServerView,
    server: &LocalServer,
    accounts: &[String],
    is_ours: impl Fn(&str, &str) -> Option<i64>,
) -> Result<BTreeMap<String, (i64, String)>, String> {
    let found = view.account_jwts(server, accounts).await?;
    let newest = found.into_iter().filter_map(|(account, jwts)| {
        let ours = jwts.into_iter().filter_map(|jwt| Some((is_ours(&account, &jwt)?, jwt)));
        Some((account.clone(), ours.max()?))
    });
    Ok(newest.collect())
}

/// Pushes the JWT of the account called `name`. May be repeated: the server takes the same one again.
///
/// # Errors
/// [`PushError`].
pub async fn push(
    effects: &Effects,
    view: &dyn ServerView,
    server: &LocalServer,
    name: &str,
    jwt: &str,
) -> Result<(), PushError> {
    let sending = |source| PushError::Sending { name: name.to_owned(), source };
    effects.reach(Effect::PushClaim, Moment::Before).map_err(sending)?;
    let pushed = view.push_claim(server, jwt).await;
    pushed.map_err(|reason| PushError::Refused { name: name.to_owned(), reason })?;
    effects.reach(Effect::PushClaim, Moment::After).map_err(sending)
}

/// Writes one account's JWT into the resolver's directory, for a server that has it in memory and lost the file: a push
/// of the JWT that it wrote last writes nothing. Durable; may be repeated.
/// Source: nats-server 2.15.1 server/dirstore.go (`DirJWTStore.write`, `pathForKey` without shards).
///
/// # Errors
/// [`FileError`]; also when `account` is no account's key.
pub fn put_back(
    effects: &Effects,
    settings: &AgentSettings,
    account: &str,
    jwt: &str,
) -> Result<(), FileError> {
    let path = settings.state_dir.join(layout::RESOLVER).join(format!("{account}.jwt"));
    if let Err(error) = account.parse::<AccountPublicKey>() {
        return Err(FileError::Write { path, source: io::Error::other(error) });
    }
    let (effect, mode) = (Effect::PutBackClaim, layout::PUBLIC_MODE);
    match settings.place.service_user() {
        None => files::write_atomic(effects, effect, &path, jwt.as_bytes(), mode),
        // The server has to be able to write it again itself, and the directory is its own.
        Some(owner) => files::write_for(effects, effect, &path, jwt.as_bytes(), mode, owner),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_jwt_shows_its_hash_and_time() {
        // {"iat":1704067200}
        let seen = described(b"eyJ9.eyJpYXQiOjE3MDQwNjcyMDB9.c2ln");
        assert_eq!(seen.issued_at, Some(1_704_067_200));
        assert_eq!(seen.sha256.len(), 64);
        assert_eq!(described(b"garbage").issued_at, None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert_eq!(described(&text).sha256.len(), 64);
        }
    }

    const ACCOUNT: &str = "AAJKU5T6PDB2BD2CBFZUKQ2GSIC7KXXPIDZBKJJ5FO5ERDFADK3FUOSN";

    #[test]
    fn a_jwt_is_put_back_where_the_server_reads_it_and_nowhere_else() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join(layout::RESOLVER)).unwrap();
        let listen = "127.0.0.1:1".parse().unwrap();
        let settings = AgentSettings::of_process(state.path().to_owned(), listen, None);
        put_back(&Effects::default(), &settings, ACCOUNT, "a.b.c").unwrap();
        let path = state.path().join(layout::RESOLVER).join(format!("{ACCOUNT}.jwt"));
        assert_eq!(std::fs::read(path).unwrap(), b"a.b.c");
        assert!(put_back(&Effects::default(), &settings, "../../ledger/claims", "a.b.c").is_err());
        assert!(!state.path().join("ledger").exists());

        let seen = |account: &str| read(&state.path().join(layout::RESOLVER), &[account.to_owned()].into());
        assert_eq!(seen(ACCOUNT).unwrap()[ACCOUNT], described(b"a.b.c"));
        assert!(seen("../../claim").is_err());
    }

    #[test]
    fn no_link_is_followed_be_it_the_file_or_the_directory() {
        let state = tempfile::tempdir().unwrap();
        let (real, link) = (state.path().join("secret"), state.path().join("resolver"));
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join(format!("{ACCOUNT}.jwt")), "a.b.c").unwrap();
        let accounts: BTreeSet<String> = [ACCOUNT.to_owned()].into();
        assert_eq!(read(&link, &accounts).unwrap(), BTreeMap::new(), "there is no directory yet");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let text = read(&link, &accounts).unwrap_err();
        assert!(text.contains("resolver"), "{text}");
        std::fs::remove_file(&link).unwrap();
        std::fs::create_dir(&link).unwrap();
        std::os::unix::fs::symlink(real.join(format!("{ACCOUNT}.jwt")), link.join(format!("{ACCOUNT}.jwt")))
            .unwrap();
        assert!(read(&link, &accounts).is_err());
        assert_eq!(read(&real, &accounts).unwrap().len(), 1);
    }
}
