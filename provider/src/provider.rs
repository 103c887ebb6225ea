//! The provider block: schema, checks and lazy configuration. Configuring dials nobody.

use std::sync::Arc;

use async_trait::async_trait;
use nats_config::HostPort;
use tfplug::{
    Attribute, ConfigureRequest, DataSource, Diagnostics, EphemeralResource, Function, Path, Provider,
    Resource, Schema, Type, Value,
};

use crate::claims::ClaimsWriter;
use crate::data_sources::preflight::Preflight;
use crate::data_sources::supercluster::Supercluster;
use crate::ephemeral::account_key::AccountKeyResource;
use crate::ephemeral::host_enrollment::HostEnrollment;
use crate::ephemeral::reader_credentials::ReaderCredentials;
use crate::ephemeral::user_credentials::UserCredentials;
use crate::functions::{bytes::Bytes, duration::Duration};
use crate::jetstream::JetStreamAccess;
use crate::keys::{self, Kind};
use crate::resources::account::AccountResource;
use crate::resources::authority::AuthorityResource;
use crate::resources::cluster::ClusterResource;
use crate::resources::gated::Gated;
use crate::resources::gateway::GatewayResource;
use crate::resources::host_enrollment::HostEnrollmentResource;
use crate::resources::reading::Reading;
use crate::resources::stream::StreamResource;
use crate::resources::user::UserResource;
use crate::session::{Session, SessionSlot, Settings};
use crate::whoami::whoami;

/// The provider; one per process.
pub struct NatsProvider {
    sessions: SessionSlot,
    claims: Arc<ClaimsWriter>,
    jetstream: Arc<JetStreamAccess>,
    environment: Environment,
    writer: String,
}

/// Whether the process's environment is asked for what the block leaves out.
#[derive(Debug, Clone, Copy)]
enum Environment {
    Asked,
    Ignored,
}

impl Default for NatsProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl NatsProvider {
    /// One as Terraform runs it.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Environment::Asked, whoami())
    }

    /// One that takes nothing from the process's environment, for tests.
    #[must_use]
    pub fn without_environment() -> Self {
        Self::writing_as(&whoami())
    }

    /// The same, known to agents and other writers as `writer`: tests hold several in one process.
    #[must_use]
    pub fn writing_as(writer: &str) -> Self {
        Self::with(Environment::Ignored, writer.to_owned())
    }

    fn with(environment: Environment, writer: String) -> Self {
        let sessions = SessionSlot::new();
        let claims = ClaimsWriter::new(sessions.clone());
        let jetstream = JetStreamAccess::new(sessions.clone(), Arc::clone(&claims));
        Self { sessions, claims, jetstream, environment, writer }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match self.environment {
            Environment::Asked => std::env::var(name).ok().filter(|text| !text.is_empty()),
            Environment::Ignored => None,
        }
    }
}

/// Addresses of the seeds that are known, and whether some are not.
fn seeds(config: &Value, reading: &mut Reading) -> (Vec<HostPort>, bool) {
    let agents = reading.texts::<HostPort>(config.attr("agents"), &Path::root("agents"));
    (agents, !config.attr("agents").is_wholly_known())
}

#[async_trait]
impl Provider for NatsProvider {
    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "Manages NATS JetStream superclusters through an agent on each host. One provider configuration \
                 is one supercluster.",
            )
            .attribute(Attribute::list("agents", Type::String).description(
                "`host:port` of agents to ask first. Any one that answers knows all others; clusters dial their own \
                 nodes too.",
            ))
            .attribute(Attribute::string(Kind::Root.attribute()).sensitive().description(
                "The one secret to keep, base64 of 32 bytes: `openssl rand -base64 32`. Use an ephemeral variable. \
                 May also come from the environment variable `NATS_ROOT_KEY`. At most one of this and the five below is set.",
            ))
            .attribute(Attribute::string(Kind::Root.file_attribute()).description("File that holds the root key."))
            .attribute(Attribute::string(Kind::Account.attribute()).sensitive().description(
                "Instead of the root key: the key of one account, made by `nats-agent creds --role account:NAME` or \
                 `nats_account_key`. It manages the `nats_stream` of that account and mints credentials of its users, and \
                 nothing else. May also come from `NATS_ACCOUNT_KEY`.",
            ))
            .attribute(Attribute::string(Kind::Account.file_attribute()).description("File that holds the account key."))
            .attribute(Attribute::string(Kind::Reader.attribute()).sensitive().description(
                "Instead of the root key: PEM of a reader, made by `nats-agent creds --role reader` or \
                 `nats_reader_credentials`. It plans everything and changes nothing. May also come from \
                 `NATS_READER_CREDENTIALS`.",
            ))
            .attribute(
                Attribute::string(Kind::Reader.file_attribute())
                    .description("File that holds the reader's credentials."),
            )
    }

    fn resources(&self) -> Vec<Arc<dyn Resource>> {
        let sessions = &self.sessions;
        let resources: [Arc<dyn Resource>; 7] = [
            Arc::new(AuthorityResource::new(sessions.clone())),
            Arc::new(HostEnrollmentResource::new(sessions.clone())),
            Arc::new(ClusterResource::new(sessions.clone(), Arc::clone(&self.claims))),
            Arc::new(GatewayResource::new(sessions.clone())),
            Arc::new(AccountResource::new(Arc::clone(&self.claims), Arc::clone(&self.jetstream))),
            Arc::new(UserResource::new(Arc::clone(&self.claims))),
            Arc::new(StreamResource::new(Arc::clone(&self.claims), Arc::clone(&self.jetstream))),
        ];
        let gated = |inner| Arc::new(Gated::new(inner, sessions.clone())) as Arc<dyn Resource>;
        resources.into_iter().map(gated).collect()
    }

    fn data_sources(&self) -> Vec<Arc<dyn DataSource>> {
        vec![
            Arc::new(Preflight::new(self.sessions.clone())),
            Arc::new(Supercluster::new(self.sessions.clone())),
        ]
    }

    fn ephemeral_resources(&self) -> Vec<Arc<dyn EphemeralResource>> {
        vec![
            Arc::new(HostEnrollment::new(self.sessions.clone())),
            Arc::new(UserCredentials::new(self.sessions.clone(), self.claims.clone())),
            Arc::new(AccountKeyResource::new(self.claims.clone())),
            Arc::new(ReaderCredentials::new(self.sessions.clone())),
        ]
    }

    fn functions(&self) -> Vec<Arc<dyn Function>> {
        vec![Arc::new(Bytes), Arc::new(Duration)]
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        seeds(config, &mut reading);
        let mut problems = reading.into_problems();
        problems.extend(keys::several(config));
        problems
    }

    async fn configure(&self, request: ConfigureRequest) -> Diagnostics {
        let ConfigureRequest { terraform_version: _, config, stop } = request;
        let mut reading = Reading::new();
        let (agents, agents_unknown) = seeds(&config, &mut reading);
        let mut problems = reading.into_problems();
        match keys::read(&config, |name| self.variable(name)).await {
            Ok(keys) if !problems.has_errors() => {
                let settings = Settings { keys, agents, agents_unknown };
                self.sessions.fill(Session::writing_as(settings, stop, self.writer.clone()));
            }
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
        problems
    }
}
