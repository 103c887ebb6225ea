//! The streams of an account as every server's `JSZ` shows them: for who may look and not enter the account.
//!
//! Source: nats-server 2.15.1 server/monitor.go (`JSInfo`, `AccountDetail`, `StreamDetail`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use identity::AccountPublicKey;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tfplug::Diagnostic;

use super::api::StreamInfo;
use super::listing::Listing;
use crate::agents::System;

/// Every server, its own streams.
const SUBJECT: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// How long servers have to answer. A JSZ of 1,000 streams takes 0.2 s.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer that is looked at, in bytes. 1,000 streams with configuration have about 1.5 MiB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// What the servers showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitored {
    streams: Listing,
    /// Servers that did not answer; a stream that is not here may be on one of them.
    silent: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Answer {
    server: Server,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    account_details: Option<Vec<Account>>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    id: String,
    #[serde(default)]
    stream_detail: Option<Vec<Stream>>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    cluster: Group,
}

#[derive(Deserialize, Default)]
struct State {
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    bytes: u64,
}

#[derive(Deserialize, Default)]
struct Group {
    #[serde(default)]
    leader: String,
}

/// Asks every server of `system` for the streams of the account.
///
/// # Errors
/// When no host lets us in, or an answer cannot be understood; a server that stays silent is told in the result.
pub async fn monitored(system: &System, account: &AccountPublicKey) -> Result<Monitored, Diagnostic> {
    let tunnel = system.system_tunnel().await?;
    let options = json!({
        "account": account.as_str(), "accounts": true, "streams": true, "config": true,
    });
    let wanted = u32::try_from(system.hosts.len()).unwrap_or(u32::MAX);
    let replies = tunnel.scatter(SUBJECT, options.to_string().into_bytes(), DEADLINE, wanted).await;
    let unread = |why: &dyn std::error::Error| {
        Diagnostic::error(
            "The servers cannot be asked for their streams",
            format!("`{SUBJECT}` through the agent's tunnel: {}.", host_state::chain(why)),
        )
    };
    let replies = replies.map_err(|why| unread(&why))?;
    let answers: Vec<&[u8]> = replies.iter().map(|reply| reply.payload.as_slice()).collect();
    let expected = system.hosts.keys().map(ToString::to_string).collect();
    understand(&answers, account.as_str(), expected).map_err(|why| unread(&why))
}

/// Joins the answers of servers: each stream as its leader shows it, or whoever has it while nobody leads.
fn understand(
    answers: &[&[u8]],
    account: &str,
    expected: BTreeSet<String>,
) -> Result<Monitored, serde_json::Error> {
    let mut monitored = Monitored { streams: BTreeMap::new(), silent: expected };
    let mut led = BTreeSet::new();
    for answer in answers.iter().filter(|answer| answer.len() <= MAX_ANSWER_BYTES) {
        let Answer { server, data } = serde_json::from_slice(answer)?;
        // Without data the server said why it could not look: it is as good as silent.
        let Some(data) = data else { continue };
        monitored.silent.remove(&server.name);
        let accounts = data.account_details.unwrap_or_default();
        let streams = accounts.into_iter().filter(|found| found.id == account);
        for stream in streams.flat_map(|found| found.stream_detail.unwrap_or_default()) {
            let Stream { name, config, state, cluster } = stream;
            let Some(config) = config else { continue };
            let leads = cluster.leader == server.name;
            if leads || !led.contains(&name) {
                let State { messages, bytes } = state;
                monitored.streams.insert(name.clone(), StreamInfo { config, messages, bytes });
            }
            if leads {
                led.insert(name);
            }
        }
    }
    Ok(monitored)
}

impl Monitored {
    /// The stream; `None` when every server answered and none has it.
    ///
    /// # Errors
    /// When it was not seen and some server did not answer.
    pub fn find(&self, stream: &str) -> Result<Option<StreamInfo>, Diagnostic> {
        match self.streams.get(stream) {
            Some(info) => Ok(Some(info.clone())),
            None if self.silent.is_empty() => Ok(None),
            None => {
                let silent: Vec<String> = self.silent.iter().map(|server| format!("`{server}`")).collect();
                Err(Diagnostic::error(
                    format!("Stream `{stream}` was not seen on any server that answers"),
                    format!("It may be on {}, which did not answer.", silent.join(", ")),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(server: &str, account: &str, streams: &[(&str, &str, u64)]) -> Vec<u8> {
        let stream = |(name, leader, messages): &(&str, &str, u64)| {
            json!({"name": name, "config": {"name": name}, "state": {"messages": messages, "bytes": 1},
                "cluster": {"leader": leader}})
        };
        let streams: Vec<Value> = streams.iter().map(stream).collect();
        json!({"server": {"name": server}, "data": {"account_details": [{"name": "orders", "id": account,
            "stream_detail": streams}]}})
        .to_string()
        .into_bytes()
    }

    fn expected(servers: &[&str]) -> BTreeSet<String> {
        servers.iter().map(|server| (*server).to_owned()).collect()
    }

    fn seen(answers: &[Vec<u8>], servers: &[&str]) -> Monitored {
        let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        understand(&answers, "AORDERS", expected(servers)).unwrap()
    }

    #[test]
    fn the_leader_is_believed_and_other_accounts_are_not_seen() {
        let leader = answer("a", "AORDERS", &[("S", "a", 9)]);
        let follower = answer("b", "AORDERS", &[("S", "a", 7), ("LOST", "", 3)]);
        let other = answer("c", "AOTHER", &[("T", "c", 1)]);
        for answers in [[leader.clone(), follower.clone(), other.clone()], [follower, other, leader]] {
            let seen = seen(&answers, &["a", "b", "c"]);
            assert_eq!(seen.find("S").unwrap().unwrap().messages, 9);
            assert_eq!(seen.find("LOST").unwrap().unwrap().messages, 3);
            assert_eq!(seen.find("T").unwrap(), None);
        }
    }

    #[test]
    fn a_stream_is_gone_only_when_everybody_says_so() {
        let answers =
            [answer("a", "AORDERS", &[]), br#"{"server":{"name":"b"},"error":{"code":500}}"#.to_vec()];
        let problem = seen(&answers, &["a", "b"]).find("S").unwrap_err();
        assert_eq!(problem.detail, "It may be on `b`, which did not answer.");
        assert_eq!(seen(&answers, &["a"]).find("S").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = understand(&[&bytes], "A", BTreeSet::new());
        }
    }
}
