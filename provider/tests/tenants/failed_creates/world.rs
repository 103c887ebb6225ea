//! Scripted hosts on which one resource is about to be made, everything before it made already.

use std::collections::BTreeSet;
use std::sync::Arc;

use host_state::SectionKind;
use host_state::document::{ClusterSection, GatewaySection};
use identity::{Authority, Generations, RootKey};
use nats_agent_api::fake::{Answers, FakeAgent};
use serde_json::{Value as Json, json};
use tfplug::Value;
use tfplug::testing::{Action, ApplyError, Harness, Instance};

use crate::jetstream::JetStream;
use crate::rig::{ROOT, account, block, process};

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of three bare hosts.
    Cluster,
    /// Of three staged clusters with one host each.
    Gateway,
    Account,
    User,
    Stream,
}

impl Kind {
    /// All that ask agents; an authority asks nobody.
    pub(super) const ALL: [Kind; 5] = [Kind::Cluster, Kind::Gateway, Kind::Account, Kind::User, Kind::Stream];

    /// How long a create may take that is to fail: hosts are waited for, and what has none to wait for fails at once.
    pub(super) fn patience(self) -> &'static str {
        match self {
            Kind::Cluster | Kind::Gateway => "6s",
            Kind::Account | Kind::User | Kind::Stream => "1m",
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Kind::Cluster => "nats_cluster",
            Kind::Gateway => "nats_gateway",
            Kind::Account => "nats_account",
            Kind::User => "nats_user",
            Kind::Stream => "nats_stream",
        }
    }

    fn hosts(self) -> [&'static str; 3] {
        match self {
            Kind::Gateway => ["east-1", "north-1", "west-1"],
            Kind::Cluster | Kind::Account | Kind::User | Kind::Stream => ["east-1", "east-2", "east-3"],
        }
    }
}

/// See the module.
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) hosts: [&'static str; 3],
    pub(super) agents: Vec<FakeAgent>,
    pub(super) server: JetStream,
    declared: Value,
}

impl World {
    pub(super) async fn new(kind: Kind) -> World {
        let root: RootKey = ROOT.parse().unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let hosts = kind.hosts();
        let mut agents = Vec::new();
        for host in hosts {
            agents.push(FakeAgent::unclaimed(authority.enrollment(host.parse().unwrap(), 1)).await);
        }
        let server = JetStream::default();
        let answers = answers(&hosts, server.answers());
        agents.iter().for_each(|agent| agent.script(|script| script.answers = answers.clone()));
        let mut world = World { kind, hosts, agents, server, declared: Value::Null };
        world.declared = world.prepare().await;
        world
    }

    /// Makes everything that the resource needs; its block.
    async fn prepare(&self) -> Value {
        let process = self.process().await;
        let name = Value::object([("name", Value::from("acme"))]);
        let trust = process.apply("nats_authority", None, name).await.unwrap().state.attr("trust").clone();
        let cluster = |name: &str, hosts: &[usize], gateway: bool| self.cluster(&trust, name, hosts, gateway);
        match self.kind {
            Kind::Cluster => return cluster("east", &[0, 1, 2], false),
            Kind::Gateway => {
                let mut members = Vec::new();
                for (index, name) in ["east", "north", "west"].into_iter().enumerate() {
                    let made = process.apply("nats_cluster", None, cluster(name, &[index], true)).await;
                    members.push((name.to_owned(), made.unwrap().state.attr("members").clone()));
                }
                let rollout = block(json!({"settle": "0s"}));
                let members = Value::map(members);
                return Value::object([
                    ("name", "global".into()),
                    ("clusters", members),
                    ("rollout", rollout),
                ]);
            }
            Kind::Account | Kind::User | Kind::Stream => {}
        }
        process.apply("nats_cluster", None, cluster("east", &[0, 1, 2], true)).await.unwrap();
        if self.kind == Kind::Account {
            return account("orders");
        }
        process.apply("nats_account", None, account("orders")).await.unwrap();
        match self.kind {
            Kind::User => block(json!({"account": "acme/orders", "name": "service"})),
            _ => block(json!({"account": "acme/orders", "name": "ORDERS", "subjects": ["orders.>"]})),
        }
    }

    fn cluster(&self, trust: &Value, name: &str, hosts: &[usize], gateway: bool) -> Value {
        let node = |index: &usize| {
            let node = json!({
                "agent": self.agents[*index].address(),
                "address": format!("10.0.1.{}", index + 1),
                "store_dir": format!("/data/{index}"),
            });
            (self.hosts[*index].to_owned(), block(node))
        };
        Value::object([
            ("authority", trust.clone()),
            ("name", name.into()),
            ("profile", "development".into()),
            ("gateway", gateway.into()),
            ("nodes", Value::map(hosts.iter().map(node))),
            ("rollout", block(json!({"settle": "0s"}))),
            ("jetstream", block(json!({"max_memory": "1GB", "max_storage": "10GB", "store_dir": "/data"}))),
        ])
    }

    async fn process(&self) -> Harness {
        let addresses: Vec<String> = self.agents.iter().map(FakeAgent::address).collect();
        process(&addresses).await
    }

    fn with_time(&self, time: &str) -> Value {
        // A user has no timeouts.
        if self.kind == Kind::User {
            return self.declared.clone();
        }
        self.declared.clone().with("timeouts", block(json!({"create": time})))
    }

    /// Makes it, in a new process that has so much time.
    pub(super) async fn create(&self, time: &str) -> Result<Instance, ApplyError> {
        self.process().await.apply(self.kind.type_name(), None, self.with_time(time)).await
    }

    /// The next apply: it succeeds, makes nothing twice, and the plan after it is empty.
    pub(super) async fn finishes(&self, what: &str) {
        let claims: Vec<Option<String>> = self.claims();
        let lineages = self.lineages();
        let created = self.server.asked().iter().filter(|verb| *verb == "CREATE").count();
        let was_there = self.server.stream("ORDERS").is_some();
        let made = self.create("1m").await;
        let made = made.unwrap_or_else(|failure| panic!("{what}: again: {}", failure.diagnostics));
        for (before, after) in claims.into_iter().zip(self.claims()) {
            assert!(before.is_none() || before == after, "{what}: a host was claimed twice");
        }
        let after = self.lineages();
        assert!(lineages.is_subset(&after) && after.len() <= 1, "{what}: {lineages:?} became {after:?}");
        for agent in &self.agents {
            let generations = agent.sections().into_iter().map(|section| section.header.generation);
            // Staged, then released; claims are written once for each resource.
            assert!(generations.max() <= Some(2), "{what}: sections were signed again");
        }
        let again = self.server.asked().iter().filter(|verb| *verb == "CREATE").count() - created;
        assert!(!was_there || again == 0, "{what}: the stream was made again");

        let process = self.process().await;
        let (read, warnings) = process.read(self.kind.type_name(), &made).await.unwrap();
        assert!(warnings.is_empty(), "{what}: {warnings}");
        let plan = process.plan(self.kind.type_name(), read.as_ref(), self.with_time("1m")).await.unwrap();
        assert_eq!(plan.action, Action::NoOp, "{what}: {:?}", read.map(|read| read.state));
    }

    fn claims(&self) -> Vec<Option<String>> {
        self.agents.iter().map(|agent| agent.claim().map(|claim| claim.claim_id)).collect()
    }

    /// Lineages that any host was released with.
    pub(super) fn lineages(&self) -> BTreeSet<String> {
        self.agents.iter().flat_map(lineages_of).collect()
    }

    /// What an error must tell of each host, one of each list, by what the scripted hosts hold; the first `silent` do
    /// not answer. Errors of accounts, users and streams tell of no host that has its part.
    pub(super) fn truth(&self, silent: usize) -> Vec<Vec<String>> {
        if !matches!(self.kind, Kind::Cluster | Kind::Gateway) {
            return Vec::new();
        }
        let of = |(number, (host, agent)): (usize, (&&str, &FakeAgent))| {
            let (is_staged, is_released) = (!agent.sections().is_empty(), !lineages_of(agent).is_empty());
            let told: &[&str] = match (number < silent || agent.claim().is_none(), is_staged, is_released) {
                (true, _, _) => &["does not say how it is"],
                (_, false, _) => &["is claimed, and nothing is staged on it"],
                (_, true, false) => &["is staged, and its server is held"],
                (_, true, true) => &["runs what it was told", "was released, and its server does not run"],
            };
            told.iter().map(|told| format!("`{host}` {told}")).collect()
        };
        self.hosts.iter().zip(&self.agents).enumerate().map(of).collect()
    }
}

/// Lineages that a host was released with.
fn lineages_of(agent: &FakeAgent) -> Vec<String> {
    let released = agent.sections().into_iter().filter_map(|section| match section.header.section {
        SectionKind::Cluster => section.body::<ClusterSection>().unwrap().release,
        SectionKind::Gateway => section.body::<GatewaySection>().unwrap().release,
        SectionKind::Claims => None,
    });
    released.map(|release| release.meta_lineage).collect()
}

/// A healthy system of these hosts, and JetStream beside it.
fn answers(hosts: &[&'static str; 3], jetstream: Answers) -> Answers {
    let hosts = *hosts;
    Arc::new(move |subject, payload| {
        let Some(endpoint) = subject.strip_prefix("$SYS.REQ.SERVER.PING.") else {
            return jetstream(subject, payload);
        };
        let reply = |host: &&str| {
            let cluster = host.split('-').next().unwrap();
            let server = json!({"name": host, "id": "N", "cluster": cluster});
            json!({"server": server, "data": told(host, cluster, endpoint, &hosts)}).to_string().into_bytes()
        };
        hosts.iter().map(reply).collect()
    })
}

fn told(host: &str, cluster: &str, endpoint: &str, hosts: &[&str; 3]) -> Json {
    let others = || hosts.iter().filter(|other| **other != host);
    match endpoint {
        "VARZ" => json!({"version": "2.15.1", "uptime": "5s", "connections": 4, "jetstream": {
            "config": {"max_memory": 1024, "max_storage": 4096}, "stats": {"memory": 1, "storage": 2}}}),
        "JSZ" => json!({"meta_cluster": {"leader": hosts[1], "cluster_size": 3, "replicas":
            others().map(|name| json!({"name": name, "current": true})).collect::<Vec<_>>()}}),
        "GATEWAYZ" => {
            let clusters = others().filter_map(|other| other.split('-').next()).filter(|its| *its != cluster);
            let gateways: Json =
                clusters.map(|its| (its.to_owned(), json!({}))).collect::<serde_json::Map<_, _>>().into();
            json!({"outbound_gateways": gateways, "inbound_gateways": gateways})
        }
        _ => {
            let near = others().filter(|other| other.starts_with(cluster));
            json!({"routes": near.map(|name| json!({"remote_name": name})).collect::<Vec<_>>()})
        }
    }
}
