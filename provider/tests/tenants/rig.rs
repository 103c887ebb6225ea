//! A staged system of scripted agents, and provider processes that find it through any of them.

use std::collections::BTreeMap;

use host_state::SectionKind;
use host_state::document::{ClaimEntry, ClaimsSection};
use identity::{AccountClaims, Authority, Generations, RootKey, decode_account};
use nats_agent_api::fake::{Answers, FakeAgent};
use terraform_provider_nats::provider::NatsProvider;
use tfplug::testing::{Harness, Instance};
use tfplug::{Diagnostics, Value};

pub(crate) const ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// Hosts whose `nats_cluster` is staged, so that their ledgers name each other.
pub(crate) struct Rig {
    pub(crate) authority: Authority,
    pub(crate) agents: Vec<FakeAgent>,
    pub(crate) addresses: Vec<String>,
    /// What Terraform has of the cluster.
    pub(crate) cluster: Instance,
}

impl Rig {
    /// Three hosts.
    pub(crate) async fn new() -> Rig {
        Rig::of(3).await
    }

    pub(crate) async fn of(hosts: usize) -> Rig {
        let root: RootKey = ROOT.parse().unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let mut agents = Vec::new();
        for number in 1..=hosts {
            let host = format!("east-{number}").parse().unwrap();
            agents.push(FakeAgent::unclaimed(authority.enrollment(host, 1)).await);
        }
        let addresses: Vec<String> = agents.iter().map(FakeAgent::address).collect();
        let process = process(&addresses).await;
        let name = Value::object([("name", Value::from("acme"))]);
        let trust = process.apply("nats_authority", None, name).await.unwrap();
        let block = cluster(trust.state.attr("trust").clone(), &addresses);
        let cluster = process.apply("nats_cluster", None, block).await.unwrap();
        Rig { authority, agents, addresses, cluster }
    }

    /// The cluster's block, with its last node marked `absent`.
    pub(crate) fn without_the_last(&self) -> Value {
        let mut block = cluster(self.cluster.state.attr("authority").clone(), &self.addresses);
        let mut nodes = block.attr("nodes").clone();
        if let Value::Map(nodes) = &mut nodes {
            let mut last = nodes.last_entry().unwrap();
            *last.get_mut() = last.get().clone().with("absent", true);
        }
        block.set_attr("nodes", nodes);
        block
    }

    /// A new provider process that knows every agent.
    pub(crate) async fn process(&self) -> Harness {
        process(&self.addresses).await
    }

    /// Answers of every agent's nats-server.
    pub(crate) fn answer(&self, answers: Answers) {
        for agent in &self.agents {
            agent.script(|script| script.answers = answers.clone());
        }
    }

    /// The generation and content of the claims of one agent.
    pub(crate) fn claims(&self, agent: usize) -> Option<(u64, ClaimsSection)> {
        let sections = self.agents[agent].sections();
        let section = sections.into_iter().find(|section| section.header.section == SectionKind::Claims)?;
        Some((section.header.generation, section.body().unwrap()))
    }

    /// One account as an agent has it.
    pub(crate) fn account(&self, agent: usize, name: &str) -> Option<(ClaimEntry, AccountClaims)> {
        let key = self.authority.account_key(&name.parse().unwrap());
        let entry = self.claims(agent)?.1.accounts.get(key.as_str())?.clone();
        let claims = decode_account(&entry.jwt.parse().unwrap(), &self.authority.trust()).unwrap().claims;
        Some((entry, claims))
    }

    /// Names of the users of `orders` as each agent has them.
    pub(crate) fn users(&self) -> Vec<Vec<String>> {
        let users = |agent| {
            let (_, claims) = self.account(agent, "orders").unwrap();
            claims.scopes.keys().map(ToString::to_string).collect()
        };
        (0..self.agents.len()).map(users).collect()
    }
}

fn cluster(trust: Value, addresses: &[String]) -> Value {
    let node = |(index, agent): (usize, &String)| {
        let node = Value::object([
            ("agent", Value::from(agent.as_str())),
            ("address", format!("10.0.1.{}", index + 1).into()),
            ("store_dir", format!("/data/{index}").into()),
        ]);
        (format!("east-{}", index + 1), node)
    };
    let jetstream = [("max_memory", "1GB"), ("max_storage", "10GB"), ("store_dir", "/data")];
    Value::object([
        ("authority", trust),
        ("name", "east".into()),
        ("gateway", true.into()),
        ("nodes", Value::map(addresses.iter().enumerate().map(node))),
        ("jetstream", Value::object(jetstream.map(|(name, value)| (name, Value::from(value))))),
    ])
}

/// A new provider process that knows `agents`.
pub(crate) async fn process(agents: &[String]) -> Harness {
    process_with(agents, "root_key", ROOT).await
}

/// The same with another key.
pub(crate) async fn process_with(agents: &[String], attribute: &'static str, key: &str) -> Harness {
    let harness = Harness::new(NatsProvider::without_environment()).await.unwrap();
    let agents = Value::list(agents.iter().map(|agent| agent.as_str().into()));
    harness.configure(Value::object([(attribute, key.into()), ("agents", agents)])).await.unwrap();
    harness
}

/// A provider process whose only agent does not answer.
pub(crate) async fn lonely() -> Harness {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    process(&[nobody]).await
}

/// A block from attributes in JSON's words: texts, numbers, bools, arrays (as lists) and objects.
pub(crate) fn block(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => truth.into(),
        serde_json::Value::Number(number) => number.as_i64().unwrap().into(),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(elements) => Value::set(elements.into_iter().map(block)),
        serde_json::Value::Object(entries) => {
            let entries: BTreeMap<String, Value> =
                entries.into_iter().map(|(key, value)| (key, block(value))).collect();
            Value::Object(entries)
        }
    }
}

pub(crate) fn account(name: &str) -> Value {
    block(serde_json::json!({
        "system": "acme/east", "name": name, "jetstream": {"max_storage": "1GB", "max_memory": "64MB"},
    }))
}

pub(crate) fn unprotected(block: Value) -> Value {
    block.with("deletion_protection", false)
}

/// Makes `orders` and answers it.
pub(crate) async fn orders(process: &Harness) -> Instance {
    process.apply("nats_account", None, account("orders")).await.unwrap()
}

/// Fails unless the text of `diagnostics` holds all of `parts`.
#[track_caller]
pub(crate) fn tells(diagnostics: &Diagnostics, parts: &[&str]) {
    let text = diagnostics.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
