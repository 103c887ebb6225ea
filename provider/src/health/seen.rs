//! What servers say of themselves, parsed from their monitoring answers. Pure; unknown fields are no error.
//!
//! Source: nats-server 2.15.1 server/monitor.go (`Varz`, `JSInfo`, `Gatewayz`, `Routez`) and server/events.go
//! (`ServerAPIResponse`: `server` says who answers, `data` what).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::told::AgentSeen;

/// Everything that was answered, by server name, which is its host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// `VARZ`.
    pub servers: BTreeMap<String, Vec<ServerSeen>>,
    /// `JSZ`: the meta group as each server sees it.
    pub meta: BTreeMap<String, MetaGroup>,
    /// `JSZ`: streams of which the answering server holds a replica.
    pub streams: BTreeMap<String, Vec<StreamSeen>>,
    /// `GATEWAYZ`: clusters that each server has an outbound gateway to.
    pub outbound: BTreeMap<String, BTreeSet<String>>,
    /// `GATEWAYZ`: clusters that each server has inbound gateways from.
    pub inbound: BTreeMap<String, BTreeSet<String>>,
    /// `ROUTEZ`: servers that each server has a route to.
    pub routes: BTreeMap<String, BTreeSet<String>>,
    /// Each host's agent, as far as it was asked.
    pub agents: BTreeMap<String, AgentSeen>,
}

/// One server's `VARZ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSeen {
    /// Id, new at every start.
    pub id: String,
    /// Cluster that it says it is in.
    pub cluster: String,
    /// Version without `v`.
    pub version: String,
    /// How long it runs, in NATS's words, like `3m12s`.
    pub uptime: String,
    /// Client connections.
    pub connections: u64,
    /// JetStream use; absent when JetStream is off.
    pub jetstream: Option<JetStreamUse>,
}

/// JetStream use of one server, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JetStreamUse {
    /// Memory used by streams.
    pub memory: u64,
    /// Most memory.
    pub max_memory: u64,
    /// Storage used by streams.
    pub storage: u64,
    /// Most storage.
    pub max_storage: u64,
}

/// The meta group as one server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct MetaGroup {
    /// Who leads; empty when nobody does.
    #[serde(default)]
    pub leader: String,
    /// Members as this server counts them.
    #[serde(default)]
    pub cluster_size: u64,
    /// The other members; complete only from the leader.
    #[serde(default)]
    pub replicas: Vec<Replica>,
}

/// One member of a Raft group, as another sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replica {
    /// Server name.
    pub name: String,
    /// Whether it has all that was committed.
    #[serde(default)]
    pub current: bool,
    /// Whether it is not reached.
    #[serde(default)]
    pub offline: bool,
    /// Entries it is behind; only the leader knows.
    #[serde(default)]
    pub lag: u64,
}

/// A stream of which the answering server holds a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSeen {
    /// Account name, or its public key where it has none.
    pub account: String,
    /// Stream name.
    pub stream: String,
    /// Replicas it was asked to have.
    pub replicas: u64,
    /// Its Raft group; absent for a stream on one server.
    pub group: Option<StreamGroup>,
}

/// A stream's Raft group as the answering server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct StreamGroup {
    /// Who leads; empty when nobody does.
    #[serde(default)]
    pub leader: String,
    /// The other members.
    #[serde(default)]
    pub replicas: Vec<Replica>,
}

/// Largest answer that is looked at, in bytes. 1,000 streams with configuration have about 1.5 MiB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Which monitoring request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Varz,
    Jsz,
    Gatewayz,
    Routez,
}

#[derive(Deserialize)]
struct Answer<T> {
    server: Identity,
    data: T,
}

#[derive(Deserialize)]
struct Identity {
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    cluster: String,
}

#[derive(Deserialize)]
struct Varz {
    #[serde(default)]
    version: String,
    #[serde(default)]
    uptime: String,
    #[serde(default)]
    connections: u64,
    #[serde(default)]
    jetstream: VarzJetStream,
}

#[derive(Deserialize, Default)]
struct VarzJetStream {
    config: Option<VarzJetStreamConfig>,
    stats: Option<VarzJetStreamStats>,
}

#[derive(Deserialize)]
struct VarzJetStreamConfig {
    #[serde(default)]
    max_memory: i64,
    #[serde(default)]
    max_storage: i64,
}

#[derive(Deserialize)]
struct VarzJetStreamStats {
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    storage: u64,
}

#[derive(Deserialize)]
struct Jsz {
    meta_cluster: Option<MetaGroup>,
    #[serde(default)]
    account_details: Option<Vec<AccountDetail>>,
}

#[derive(Deserialize)]
struct AccountDetail {
    #[serde(default)]
    name: String,
    #[serde(default)]
    stream_detail: Option<Vec<StreamDetail>>,
}

#[derive(Deserialize)]
struct StreamDetail {
    name: String,
    cluster: Option<StreamGroup>,
    config: Option<StreamConfig>,
}

#[derive(Deserialize)]
struct StreamConfig {
    #[serde(default)]
    num_replicas: u64,
}

#[derive(Deserialize)]
struct Gatewayz {
    #[serde(default)]
    outbound_gateways: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    #[serde(default)]
    inbound_gateways: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Routez {
    #[serde(default)]
    routes: Option<Vec<Route>>,
}

#[derive(Deserialize)]
struct Route {
    #[serde(default)]
    remote_name: String,
}

/// Why an answer was not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("an answer of {0} bytes is more than {MAX_ANSWER_BYTES}")]
    TooLarge(usize),
    #[error("an answer cannot be understood")]
    Form(#[from] serde_json::Error),
}

impl Seen {
    /// Takes one server's answer in.
    pub(super) fn take(&mut self, endpoint: Endpoint, answer: &[u8]) -> Result<(), AnswerError> {
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(AnswerError::TooLarge(answer.len()));
        }
        match endpoint {
            Endpoint::Varz => self.take_varz(serde_json::from_slice(answer)?),
            Endpoint::Jsz => self.take_jsz(serde_json::from_slice(answer)?),
            Endpoint::Gatewayz => self.take_gatewayz(serde_json::from_slice(answer)?),
            Endpoint::Routez => self.take_routez(serde_json::from_slice(answer)?),
        }
        Ok(())
    }

    fn take_varz(&mut self, answer: Answer<Varz>) {
        let Answer { server: Identity { name, id, cluster }, data } = answer;
        let Varz { version, uptime, connections, jetstream: VarzJetStream { config, stats } } = data;
        let jetstream = config.zip(stats).map(|(config, stats)| JetStreamUse {
            memory: stats.memory,
            max_memory: u64::try_from(config.max_memory).unwrap_or(0),
            storage: stats.storage,
            max_storage: u64::try_from(config.max_storage).unwrap_or(0),
        });
        let seen = ServerSeen { id, cluster, version, uptime, connections, jetstream };
        self.servers.entry(name).or_default().push(seen);
    }

    fn take_jsz(&mut self, answer: Answer<Jsz>) {
        let name = answer.server.name;
        let accounts = answer.data.account_details.unwrap_or_default();
        let streams = accounts.into_iter().flat_map(|AccountDetail { name: account, stream_detail }| {
            stream_detail.unwrap_or_default().into_iter().map(move |detail| {
                let StreamDetail { name: stream, cluster: group, config } = detail;
                let replicas = config.map_or(1, |config| config.num_replicas);
                StreamSeen { account: account.clone(), stream, replicas, group }
            })
        });
        self.streams.insert(name.clone(), streams.collect());
        if let Some(meta) = answer.data.meta_cluster {
            self.meta.insert(name, meta);
        }
    }

    fn take_gatewayz(&mut self, answer: Answer<Gatewayz>) {
        let Gatewayz { outbound_gateways, inbound_gateways } = answer.data;
        let names = |map: Option<BTreeMap<String, _>>| map.unwrap_or_default().into_keys().collect();
        self.outbound.insert(answer.server.name.clone(), names(outbound_gateways));
        self.inbound.insert(answer.server.name, names(inbound_gateways));
    }

    fn take_routez(&mut self, answer: Answer<Routez>) {
        let routes = answer.data.routes.unwrap_or_default();
        let names = routes.into_iter().map(|route| route.remote_name).filter(|name| !name.is_empty());
        self.routes.insert(answer.server.name, names.collect());
    }
}

/// Any bytes as each of the answers, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(answer: &[u8]) {
    for endpoint in [Endpoint::Varz, Endpoint::Jsz, Endpoint::Gatewayz, Endpoint::Routez] {
        let _ = Seen::default().take(endpoint, answer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_sorted_by_the_server_that_gave_them() {
        let mut seen = Seen::default();
        let varz = br#"{"server":{"name":"east-1","id":"NA","cluster":"east"},
            "data":{"version":"2.15.1","uptime":"3s","connections":2,"jetstream":{
            "config":{"max_memory":64,"max_storage":1024},"stats":{"memory":1,"storage":2}},"new_field":1}}"#;
        seen.take(Endpoint::Varz, varz).unwrap();
        let jsz = br#"{"server":{"name":"east-1"},"data":{"meta_cluster":{"leader":"east-1","cluster_size":3,
            "replicas":[{"name":"east-2","current":true,"active":1,"lag":0},{"name":"east-3","offline":true}]},
            "account_details":[{"name":"orders","stream_detail":[{"name":"S","config":{"num_replicas":3},
            "cluster":{"leader":"east-1","replicas":[{"name":"east-2","current":true}]}}]}]}}"#;
        seen.take(Endpoint::Jsz, jsz).unwrap();
        seen.take(
            Endpoint::Gatewayz,
            br#"{"server":{"name":"east-1"},"data":{"outbound_gateways":{"west":{}},"inbound_gateways":{"west":[]}}}"#,
        )
        .unwrap();
        seen.take(
            Endpoint::Routez,
            br#"{"server":{"name":"east-1"},"data":{"routes":[{"remote_name":"east-2"}]}}"#,
        )
        .unwrap();
        let varz = &seen.servers["east-1"][0];
        assert_eq!((varz.cluster.as_str(), varz.jetstream.unwrap().max_storage), ("east", 1024));
        assert!(seen.meta["east-1"].replicas[1].offline);
        assert_eq!(seen.streams["east-1"][0].replicas, 3);
        assert!(seen.outbound["east-1"].contains("west") && seen.routes["east-1"].contains("east-2"));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for endpoint in [Endpoint::Varz, Endpoint::Jsz, Endpoint::Gatewayz, Endpoint::Routez] {
                let _ = Seen::default().take(endpoint, &bytes);
            }
        }
    }
}
