//! The mesh probe: whether this host's nats-server reaches every other one, in the system account and in the probe
//! account. Each agent probes its own row, so all rows together are every directed pair of servers.
//!
//! A broken account does not show in `/healthz`, nor in JetStream, which travels in the system account: requests of
//! its clients get no answer between some pairs of servers and that is all. So the probe user asks `nats-agent.probe.
//! <host>` of every other host, whose agent answers there on one standing connection; and in the system account the
//! servers themselves answer `PING.IDZ`. Nothing is asked while nobody wants to know: a host at rest has one idle
//! connection for this.
//!
//! Source: nats-server 2.15.1 server/events.go `idReq`: `PING.IDZ` is answered with the bare `ServerID`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::StreamExt;
use futures_util::future::join_all;
use host_state::report::MeshRow;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;

use crate::front::login::{self, SystemLogin};
use crate::roles::MeshPost;

/// Every server answers it.
const IDENTITY_SUBJECT: &str = "$SYS.REQ.SERVER.PING.IDZ";
/// Time that the others have to answer, all at once.
const DEADLINE: Duration = Duration::from_secs(2);
/// Time to wait for the standing connection when a round begins, as just after the server's start.
const CONNECTING: Duration = Duration::from_millis(500);
/// A row this young is given again without asking.
const FRESH: Duration = Duration::from_secs(1);
/// The oldest row that is given while a newer one is on its way.
const KEPT: Duration = Duration::from_secs(10);
/// How long a caller waits for the newer one when there is one to fall back on. Nine servers answer within 20 ms.
const PATIENCE: Duration = Duration::from_millis(300);
/// Pauses between attempts to log in; a server that starts is back at once, one that hangs costs little.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Answers the probes of others and probes them, as long as it is told to.
#[derive(Debug)]
pub struct Mesh {
    system: Arc<SystemLogin>,
    standing: Mutex<Option<Arc<Standing>>>,
}

/// One post, held.
#[derive(Debug)]
struct Standing {
    post: MeshPost,
    /// The probe user's connection while there is one.
    client: watch::Receiver<Option<Client>>,
    rounds: watch::Sender<Rounds>,
    answering: AbortHandle,
}

#[derive(Debug, Default)]
struct Rounds {
    under_way: bool,
    /// The newest row and when it was complete.
    last: Option<(Instant, MeshRow)>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Mesh {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(system: Arc<SystemLogin>) -> Mesh {
        Mesh { system, standing: Mutex::new(None) }
    }

    /// Takes the post, answers there from now on, and comes back after each loss of the connection; `None` leaves it.
    /// The same post again changes nothing.
    pub async fn take(&self, post: Option<MeshPost>) {
        let mut standing = self.standing.lock().await;
        let is_same = match (standing.as_ref(), &post) {
            (None, None) => true,
            (Some(standing), Some(post)) => is_same(&standing.post, post),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_same {
            *standing = post.map(|post| Arc::new(Standing::begin(post)));
        }
    }

    /// The row of this host, at most [`KEPT`] old; absent without a post, or when this host's own server does not let
    /// the agent in. Takes 2.5 s at the longest; once there is a row, 0.3 s.
    pub async fn row(&self) -> Option<MeshRow> {
        let standing = self.standing.lock().await.clone()?;
        let age = standing.age();
        if age.is_none_or(|age| age >= FRESH) {
            standing.begin_round(&self.system);
            let patience = if age.is_some_and(|age| age < KEPT) { PATIENCE } else { CONNECTING + DEADLINE };
            let mut rounds = standing.rounds.subscribe();
            // Late: then the last row is given, and the round goes on for the next caller.
            let _in_time = tokio::time::timeout(patience, rounds.wait_for(|rounds| !rounds.under_way)).await;
        }
        let rounds = standing.rounds.borrow();
        let (at, row) = rounds.last.as_ref()?;
        (at.elapsed() < KEPT).then(|| row.clone())
    }
}

fn is_same(one: &MeshPost, other: &MeshPost) -> bool {
    let MeshPost { host, others, system, probe } = one;
    *host == other.host
        && *others == other.others
        && login::is_same(system, &other.system)
        && login::is_same(probe, &other.probe)
}

impl Standing {
    fn begin(post: MeshPost) -> Standing {
        let (sender, client) = watch::channel(None);
        let answering = tokio::spawn(stand(post.clone(), sender)).abort_handle();
        Standing { post, client, rounds: watch::Sender::new(Rounds::default()), answering }
    }

    fn age(&self) -> Option<Duration> {
        self.rounds.borrow().last.as_ref().map(|(at, _)| at.elapsed())
    }

    /// Begins to ask everybody, unless that is under way.
    fn begin_round(self: &Arc<Self>, system: &Arc<SystemLogin>) {
        let begun = self.rounds.send_if_modified(|rounds| !std::mem::replace(&mut rounds.under_way, true));
        if begun {
            let (standing, system) = (Arc::clone(self), Arc::clone(system));
            tokio::spawn(async move {
                let row = standing.round(&system).await;
                let last = row.map(|row| (Instant::now(), row));
                standing.rounds.send_replace(Rounds { under_way: false, last });
            });
        }
    }

    async fn round(&self, system: &SystemLogin) -> Option<MeshRow> {
        let mut client = self.client.clone();
        let connected = tokio::time::timeout(CONNECTING, client.wait_for(Option::is_some)).await;
        let client = connected.ok()?.ok()?.clone()?;
        let system_missing = tokio::time::timeout(DEADLINE, system.connected(&self.post.system));
        let system_missing = async {
            match system_missing.await {
                Ok(Ok(client)) => Some(unanswered(&client, &self.post.others).await),
                Ok(Err(error)) => {
                    tracing::debug!(error = host_state::chain(&error), "the mesh is not probed");
                    None
                }
                Err(_late) => None,
            }
        };
        let (system_missing, probe_missing) =
            tokio::join!(system_missing, unreached(&client, &self.post.others));
        let probed = u32::try_from(self.post.others.len()).unwrap_or(u32::MAX);
        Some(MeshRow { system_missing: system_missing?, probe_missing, probed })
    }
}

/// Keeps the probe user's connection and answers on it.
async fn stand(post: MeshPost, connection: watch::Sender<Option<Client>>) {
    let [mut pause, longest] = PAUSES;
    loop {
        match login::login(&post.probe, "probe user").await {
            Ok(client) => {
                [pause, _] = PAUSES;
                if let Err(error) = answer(&client, &post.host, &connection).await {
                    tracing::debug!(error, "probes of the mesh are not answered");
                }
                connection.send_replace(None);
            }
            Err(error) => {
                let error = host_state::chain(&error);
                tracing::debug!(error, "probes of the mesh are not answered yet");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Answers until the connection is over. It counts as one only when the subscription is with the server.
async fn answer(
    client: &Client,
    host: &str,
    connection: &watch::Sender<Option<Client>>,
) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| host_state::chain(error);
    let mut asked = client.subscribe(subject(host)).await.map_err(|error| text(&error))?;
    client.flush().await.map_err(|error| text(&error))?;
    connection.send_replace(Some(client.clone()));
    while let Some(message) = asked.next().await {
        if let Some(reply) = message.reply {
            client.publish(reply, host.to_owned().into()).await.map_err(|error| text(&error))?;
        }
    }
    Ok(())
}

fn subject(host: &str) -> String {
    format!("nats-agent.probe.{host}")
}

/// Those of `others` whose agent does not answer through the probe account within [`DEADLINE`].
async fn unreached(client: &Client, others: &BTreeSet<String>) -> BTreeSet<String> {
    let probe = |host: &String| {
        let host = host.clone();
        async move {
            let answer = tokio::time::timeout(DEADLINE, client.request(subject(&host), "".into())).await;
            let is_reached = matches!(answer, Ok(Ok(answer)) if answer.payload == host.as_bytes());
            (!is_reached).then_some(host)
        }
    };
    join_all(others.iter().map(probe)).await.into_iter().flatten().collect()
}

/// Those of `others` whose server does not answer through the system account within [`DEADLINE`].
async fn unanswered(client: &Client, others: &BTreeSet<String>) -> BTreeSet<String> {
    let mut missing = others.clone();
    let inbox = client.new_inbox();
    let asked = async {
        let mut answers = client.subscribe(inbox.clone()).await.ok()?;
        client.publish_with_reply(IDENTITY_SUBJECT, inbox, "".into()).await.ok()?;
        while !missing.is_empty() {
            let answer = answers.next().await?;
            if let Some(name) = server_name(&answer.payload) {
                missing.remove(&name);
            }
        }
        Some(())
    };
    // Whoever is missing then is missing, whatever ended the wait.
    let _all_answered = tokio::time::timeout(DEADLINE, asked).await;
    missing
}

/// Who answered `PING.IDZ`; nobody when that cannot be read.
pub(crate) fn server_name(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ServerId {
        name: String,
    }
    serde_json::from_slice::<ServerId>(answer).ok().map(|id| id.name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_identity_is_read() {
        assert_eq!(
            server_name(br#"{"name":"east-1","host":"10.0.0.1","id":"NA"}"#).as_deref(),
            Some("east-1")
        );
        assert_eq!(server_name(b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = server_name(&bytes);
        }
    }

    #[tokio::test]
    async fn without_a_post_there_is_no_row() {
        assert_eq!(Mesh::new(Arc::default()).row().await, None);
    }
}
