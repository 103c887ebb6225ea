//! `nats_supercluster`: every server as the supercluster itself reports it, and its deep health.

use async_trait::async_trait;
use tfplug::{
    Attribute, DataRead, DataSource, DataSourceRequest, Diagnostic, Diagnostics, Failure, Schema, Type, Value,
};

use super::system_id;
use crate::health::{self, ExpectedTopology, Health, ServerHealth};
use crate::resources::natural_id::SystemId;
use crate::session::SessionSlot;

/// See the module.
pub struct Supercluster {
    sessions: SessionSlot,
}

impl Supercluster {
    /// In this session.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Supercluster {
        Supercluster { sessions }
    }

    async fn health(&self, id: &SystemId) -> Result<Health, Diagnostic> {
        let system = self.sessions.session()?.system(&id.authority).await?;
        health::check_patiently(&system, &ExpectedTopology::of(&system)).await
    }
}

#[async_trait]
impl DataSource for Supercluster {
    fn type_name(&self) -> &str {
        "nats_supercluster"
    }

    fn schema(&self) -> Schema {
        let text = |name: &str, text: &str| Attribute::string(name).computed().description(text);
        let number = |name: &str, text: &str| Attribute::number(name).computed().description(text);
        let jetstream = Attribute::object(
            "jetstream",
            [
                number("memory", "Bytes of memory in use by streams."),
                number("max_memory", "Most bytes of memory."),
                number("storage", "Bytes of storage in use by streams."),
                number("max_storage", "Most bytes of storage."),
            ],
        );
        let server = [
            text("name", "Server name, which is its host's name."),
            text("cluster", "Its cluster."),
            text("version", "Version of nats-server; null when it does not answer."),
            text("uptime", "How long it runs, in NATS's words; null when it does not answer."),
            number("connections", "Client connections; null when it does not answer."),
            Attribute::bool("meta_leader")
                .computed()
                .description("Whether it leads the JetStream meta group."),
            jetstream
                .computed()
                .description("Its JetStream use; null when it does not answer or JetStream is off."),
            Attribute::list("problems", Type::String).computed().description("What is wrong with it."),
        ];
        Schema::new(0)
            .description(
                "The running system: each server, who leads, and health that looks deeper than `/healthz`: members of the meta \
                 group as their leader sees them, replicas of each stream as its leader sees them, routes and gateways against \
                 what is declared, every server reaching every other one in the system account and in a probe account, and \
                 what each agent tells of certificates, accounts and the store of its host. When nobody answers it says so \
                 in `problems` and with a warning; a plan never fails for it.",
            )
            .attributes([
                Attribute::string("system").required().description("Id of the `nats_gateway` or `nats_cluster`."),
                Attribute::list_of("servers", server)
                    .computed()
                    .description("Every declared server and every other one that answers, by name."),
                text("meta_leader", "Server that leads the JetStream meta group; null when none does."),
                number("meta_peers", "Members of the meta group as its leader counts them; null without a leader."),
                Attribute::bool("healthy").computed().description("Whether nothing is wrong."),
                Attribute::list("problems", Type::String)
                    .computed()
                    .description("Everything that is wrong, the whole first, then each server's."),
            ])
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        system_id(config).err().into_iter().collect()
    }

    async fn read(&self, request: DataSourceRequest) -> Result<DataRead, Failure> {
        let id = system_id(&request.config)?.ok_or_else(|| Failure::new("`system` is not known", ""))?;
        match self.health(&id).await {
            Ok(health) => Ok(state(&id, &health).into()),
            Err(problem) => {
                let state = unanswered(&id, &problem);
                let summary = format!("`{id}` does not answer: {}", problem.summary);
                Ok(DataRead { state, diagnostics: Diagnostic::warning(summary, problem.detail).into() })
            }
        }
    }
}

fn state(id: &SystemId, health: &Health) -> Value {
    let servers = health.servers.iter().map(|(name, server)| {
        let leads = health.meta_leader.as_ref() == Some(name);
        server_state(name, server, leads)
    });
    Value::object([
        ("system", id.to_string().into()),
        ("servers", Value::list(servers)),
        ("meta_leader", health.meta_leader.clone().into()),
        ("meta_peers", health.meta_peers.into()),
        ("healthy", health.is_healthy().into()),
        ("problems", health.all_problems().into()),
    ])
}

fn unanswered(id: &SystemId, problem: &Diagnostic) -> Value {
    Value::object([
        ("system", id.to_string().into()),
        ("servers", Value::list([])),
        ("meta_leader", Value::Null),
        ("meta_peers", Value::Null),
        ("healthy", false.into()),
        ("problems", vec![problem.summary.clone()].into()),
    ])
}

fn server_state(name: &str, server: &ServerHealth, leads: bool) -> Value {
    let problems: Vec<String> = server.all_problems().cloned().collect();
    let ServerHealth { cluster, seen, problems: _, told: _ } = server;
    let seen = seen.as_ref();
    let jetstream = seen.and_then(|seen| seen.jetstream).map(|jetstream| {
        Value::object([
            ("memory", jetstream.memory.into()),
            ("max_memory", jetstream.max_memory.into()),
            ("storage", jetstream.storage.into()),
            ("max_storage", jetstream.max_storage.into()),
        ])
    });
    Value::object([
        ("name", name.into()),
        ("cluster", cluster.as_str().into()),
        ("version", seen.map(|seen| seen.version.clone()).into()),
        ("uptime", seen.map(|seen| seen.uptime.clone()).into()),
        ("connections", seen.map(|seen| seen.connections).into()),
        ("meta_leader", leads.into()),
        ("jetstream", jetstream.unwrap_or(Value::Null)),
        ("problems", problems.into()),
    ])
}
