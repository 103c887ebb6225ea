//! The provider block: schema, checks and lazy configuration. Configuring dials nobody.

use std::sync::Arc;

use async_trait::async_trait;
use identity::RootKey;
use nats_config::HostPort;
use tfplug::{
    Attribute, ConfigureRequest, DataSource, Diagnostic, Diagnostics, EphemeralResource, Function, Path,
    Provider, Resource, Schema, Type, Value,
};

use crate::claims::ClaimsWriter;
use crate::data_sources::supercluster::Supercluster;
use crate::ephemeral::host_enrollment::HostEnrollment;
use crate::ephemeral::user_credentials::UserCredentials;
use crate::functions::{bytes::Bytes, duration::Duration};
use crate::jetstream::JetStreamAccess;
use crate::resources::account::AccountResource;
use crate::resources::authority::AuthorityResource;
use crate::resources::cluster::ClusterResource;
use crate::resources::gateway::GatewayResource;
use crate::resources::reading::Reading;
use crate::resources::stream::StreamResource;
use crate::resources::user::UserResource;
use crate::session::{RootKeyInput, Session, SessionSlot, Settings};
use crate::whoami::whoami;

/// Where the root key is looked for when the block names none.
pub const ROOT_KEY_VARIABLE: &str = "NATS_ROOT_KEY";

/// Longest root key file that is read, in bytes; a key has 44.
const MAX_ROOT_KEY_FILE: u64 = 1024;

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
        let jetstream = JetStreamAccess::new(sessions.clone());
        Self { sessions, claims, jetstream, environment, writer }
    }

    async fn root_key(&self, config: &Value) -> Result<RootKeyInput, Diagnostic> {
        let (key, file) = (config.attr("root_key"), config.attr("root_key_file"));
        if !key.is_known() || !file.is_known() {
            return Ok(RootKeyInput::Unknown);
        }
        if let Some(text) = key.as_str() {
            return parse_root_key(text).map_err(|problem| problem.at(Path::root("root_key")));
        }
        if let Some(file) = file.as_str() {
            let told = |problem: Diagnostic| problem.at(Path::root("root_key_file"));
            let text = read_root_key_file(file).await.map_err(told)?;
            return parse_root_key(&text).map_err(told);
        }
        let variable = match self.environment {
            Environment::Asked => std::env::var(ROOT_KEY_VARIABLE).ok().filter(|text| !text.is_empty()),
            Environment::Ignored => None,
        };
        match variable {
            Some(text) => parse_root_key(&text),
            None => Ok(RootKeyInput::Missing),
        }
    }
}

fn parse_root_key(text: &str) -> Result<RootKeyInput, Diagnostic> {
    // The error never shows the text.
    text.parse::<RootKey>()
        .map(RootKeyInput::Known)
        .map_err(|why| Diagnostic::error("The root key cannot be used", format!("{why}.")))
}

async fn read_root_key_file(file: &str) -> Result<zeroize::Zeroizing<String>, Diagnostic> {
    let failed = |why: &dyn std::fmt::Display| {
        Diagnostic::error("The root key file cannot be read", format!("`{file}`: {why}."))
    };
    let found = tokio::fs::metadata(file).await.map_err(|why| failed(&why))?;
    if !found.is_file() || found.len() > MAX_ROOT_KEY_FILE {
        return Err(failed(&format!("not a file of at most {MAX_ROOT_KEY_FILE} bytes")));
    }
    tokio::fs::read_to_string(file).await.map(Into::into).map_err(|why| failed(&why))
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
            .attribute(Attribute::string("root_key").sensitive().description(
                "The one secret to keep, base64 of 32 bytes: `openssl rand -base64 32`. Use an ephemeral variable. \
                 May also come from the environment variable `NATS_ROOT_KEY`.",
            ))
            .attribute(
                Attribute::string("root_key_file")
                    .description("File that holds the root key. At most one of `root_key` and `root_key_file`."),
            )
    }

    fn resources(&self) -> Vec<Arc<dyn Resource>> {
        let sessions = &self.sessions;
        vec![
            Arc::new(AuthorityResource::new(sessions.clone())),
            Arc::new(ClusterResource::new(sessions.clone())),
            Arc::new(GatewayResource::new(sessions.clone())),
            Arc::new(AccountResource::new(Arc::clone(&self.claims), Arc::clone(&self.jetstream))),
            Arc::new(UserResource::new(Arc::clone(&self.claims))),
            Arc::new(StreamResource::new(Arc::clone(&self.jetstream))),
        ]
    }

    fn data_sources(&self) -> Vec<Arc<dyn DataSource>> {
        vec![Arc::new(Supercluster::new(self.sessions.clone()))]
    }

    fn ephemeral_resources(&self) -> Vec<Arc<dyn EphemeralResource>> {
        vec![
            Arc::new(HostEnrollment::new(self.sessions.clone())),
            Arc::new(UserCredentials::new(self.claims.clone())),
        ]
    }

    fn functions(&self) -> Vec<Arc<dyn Function>> {
        vec![Arc::new(Bytes), Arc::new(Duration)]
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        seeds(config, &mut reading);
        let mut problems = reading.into_problems();
        if config.attr("root_key").as_str().is_some() && config.attr("root_key_file").as_str().is_some() {
            problems.error_at(
                Path::root("root_key_file"),
                "The root key is given twice",
                "Set at most one of `root_key` and `root_key_file`.",
            );
        }
        problems
    }

    async fn configure(&self, request: ConfigureRequest) -> Diagnostics {
        let ConfigureRequest { terraform_version: _, config, stop } = request;
        let mut reading = Reading::new();
        let (agents, agents_unknown) = seeds(&config, &mut reading);
        let mut problems = reading.into_problems();
        match self.root_key(&config).await {
            Ok(root_key) if !problems.has_errors() => {
                let settings = Settings { root_key, agents, agents_unknown };
                self.sessions.fill(Session::writing_as(settings, stop, self.writer.clone()));
            }
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
        problems
    }
}
