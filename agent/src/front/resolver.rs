//! Account JWTs of the local nats-server: which it has, and pushing one, as the agent's system user.
//!
//! What counts is what *this* server has, because a server that was away is behind while its neighbours are not.
//! Tried on nats-server 2.15.1 with two servers, one of them behind:
//!
//! - `$SYS.REQ.CLAIMS.LIST` and `.UPDATE` are answered by every server, each answer with its `server` block: ours is
//!   told by its id.
//! - `$SYS.REQ.ACCOUNT.<account>.CLAIMS.LOOKUP` is answered by every server with a bare JWT that does not say whose
//!   it is, and an empty message from those that have none: it says what the others have, not what this one has.
//!   `CLAIMS.PACK` goes to a queue group that any server of the cluster answers: useless.
//!
//! So LIST says which accounts this server knows, and the applier reads their JWTs where the server keeps them
//! (`parts/claims.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use identity::AccountPublicKey;
use serde::Deserialize;

use crate::front::login::{LoginError, SystemLogin};
use crate::roles::LocalServer;

/// Every server has one.
const LIST_SUBJECT: &str = "$SYS.REQ.CLAIMS.LIST";
/// Every server takes it.
const UPDATE_SUBJECT: &str = "$SYS.REQ.CLAIMS.UPDATE";
/// Every server that has the account answers, others with nothing.
const LOOKUP_SUBJECT: &str = "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP";
/// Longest time for an answer of the local server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long another answer is waited for after the last one, where nobody knows how many servers there are. Nine servers
/// of three clusters answer within 14 ms.
const QUIET: Duration = Duration::from_millis(250);

/// Why the resolver could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// Cannot log in.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The request could not be sent.
    #[error("cannot ask the local nats-server `{subject}`")]
    Send {
        /// What was asked.
        subject: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer of this server; others may have answered.
    #[error("the local nats-server `{server}` did not answer `{subject}` within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// Its name.
        server: String,
        /// What was asked.
        subject: &'static str,
    },
    /// Its answer is not what this version of ours knows.
    #[error("the answer of the local nats-server to `{subject}` cannot be read")]
    Answer {
        /// What was asked.
        subject: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It refused the JWT.
    #[error("the local nats-server refused the account's JWT: {0}")]
    Refused(String),
}

/// Asks as the agent's system user.
#[derive(Debug)]
pub struct Resolver {
    login: Arc<SystemLogin>,
}

/// An answer and who gave it.
#[derive(Deserialize)]
struct Answer {
    server: AnsweringServer,
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default)]
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnsweringServer {
    id: String,
}

#[derive(Deserialize)]
struct AnswerError {
    description: String,
}

impl Resolver {
    /// Connects only when asked something.
    #[must_use]
    pub fn new(login: Arc<SystemLogin>) -> Resolver {
        Resolver { login }
    }

    /// Public keys of the accounts of this server. Preloaded ones, such as the system account, are among them.
    ///
    /// # Errors
    /// [`ResolverError`].
    pub async fn known(&self, server: &LocalServer) -> Result<BTreeSet<String>, ResolverError> {
        let answer = self.ask(server, LIST_SUBJECT, Vec::new()).await?;
        if let Some(error) = answer.error {
            return Err(ResolverError::Refused(error.description));
        }
        let accounts: Vec<AccountPublicKey> = serde_json::from_value(answer.data)
            .map_err(|source| ResolverError::Answer { subject: LIST_SUBJECT, source })?;
        Ok(accounts.iter().map(ToString::to_string).collect())
    }

    /// Pushes an account JWT and waits until this server has taken it. Other servers of the system get it too: the
    /// request reaches all of them, and each takes what the operator signed. May be repeated.
    ///
    /// # Errors
    /// [`ResolverError`]; the JWT may be with some servers nevertheless.
    pub async fn push(&self, server: &LocalServer, jwt: &str) -> Result<(), ResolverError> {
        let answer = self.ask(server, UPDATE_SUBJECT, jwt.as_bytes().to_vec()).await?;
        match answer.error {
            None => Ok(()),
            Some(error) => Err(ResolverError::Refused(error.description)),
        }
    }

    /// What every server has for these accounts, by account: all at once, until nobody answers any more.
    ///
    /// # Errors
    /// [`ResolverError`], when the question cannot be sent.
    pub async fn everywhere(
        &self,
        server: &LocalServer,
        accounts: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ResolverError> {
        let client = self.login.connected(server).await?;
        let send = |source: Box<dyn std::error::Error + Send + Sync>| ResolverError::Send {
            subject: LOOKUP_SUBJECT,
            source,
        };
        let inbox = client.new_inbox();
        let mut answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(|error| send(Box::new(error)))?;
        for (number, account) in accounts.iter().enumerate() {
            let (subject, reply) = (LOOKUP_SUBJECT.replace('*', account), format!("{inbox}.{number}"));
            let sent = client.publish_with_reply(subject, reply, Vec::new().into()).await;
            sent.map_err(|error| send(Box::new(error)))?;
        }
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        while tokio::time::Instant::now() < deadline {
            let Ok(Some(message)) = tokio::time::timeout(QUIET, answers.next()).await else { break };
            let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
            let (Some(account), Ok(jwt)) =
                (number.and_then(|number| accounts.get(number)), String::from_utf8(message.payload.to_vec()))
            else {
                continue;
            };
            if !jwt.is_empty() {
                found.entry(account.clone()).or_default().insert(jwt);
            }
        }
        Ok(found)
    }

    /// Asks every server and returns the answer of the local one.
    async fn ask(
        &self,
        server: &LocalServer,
        subject: &'static str,
        payload: Vec<u8>,
    ) -> Result<Answer, ResolverError> {
        let client = self.login.connected(server).await?;
        let info = client.server_info();
        let send = |source: Box<dyn std::error::Error + Send + Sync>| ResolverError::Send { subject, source };
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| send(Box::new(error)))?;
        client
            .publish_with_reply(subject, inbox, payload.into())
            .await
            .map_err(|error| send(Box::new(error)))?;
        let ours = async {
            while let Some(message) = answers.next().await {
                let answer: Answer = match serde_json::from_slice(&message.payload) {
                    Ok(answer) => answer,
                    Err(source) => {
                        tracing::debug!(%source, subject, "an answer of some server cannot be read");
                        continue;
                    }
                };
                if answer.server.id == info.server_id {
                    return Some(answer);
                }
            }
            None
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, ours).await.ok().flatten();
        answer.ok_or_else(|| ResolverError::NoAnswer { server: info.server_name, subject })
    }
}

/// What a server may say of its accounts, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let _ = serde_json::from_value::<Vec<AccountPublicKey>>(answer.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_silence_with_its_reason() {
        let root = identity::RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let name = "acme".parse().unwrap();
        let authority = identity::Authority::derive(&root, name, identity::Generations::default()).unwrap();
        let server = LocalServer {
            client: "127.71.5.1:4222".parse().unwrap(),
            address: "127.71.5.1".parse().unwrap(),
            host_ca_pem: authority.trust().host_ca_bundle(),
            user_jwt: "x.y.z".to_owned(),
            user_key: Arc::new(identity::Nkey::from_seed_bytes(identity::NkeyKind::User, &[7; 32])),
        };
        let reason = host_state::chain(&Resolver::new(Arc::default()).known(&server).await.unwrap_err());
        let text =
            "cannot connect to the local nats-server at `127.71.5.1:4222` as the agent's system user: ";
        assert!(reason.starts_with(text) && reason.contains("Connection refused"), "{reason}");
    }
}
