//! `nats_host_enrollment`: what a bare host needs to join. Dials nobody.

use async_trait::async_trait;
use identity::HostName;
use tfplug::{
    Attribute, Diagnostic, Diagnostics, EphemeralResource, Failure, OpenRequest, Opened, Path, Schema, Value,
};

use super::unopened;
use crate::keys::Keys;
use crate::resources::reading::Reading;
use crate::resources::trust::{MAX_GENERATION, read_trust, trust_type};
use crate::session::SessionSlot;

/// The ephemeral resource.
#[derive(Debug)]
pub struct HostEnrollment {
    sessions: SessionSlot,
}

impl HostEnrollment {
    /// One that asks `sessions` for the root key.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Self {
        Self { sessions }
    }
}

#[async_trait]
impl EphemeralResource for HostEnrollment {
    fn type_name(&self) -> &str {
        "nats_host_enrollment"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "What a bare host needs to join: the authority that may claim it and a one-time token, derived from \
                 the root key. The same host and generation always give the same text, so user data does not churn; \
                 it is dead once the host is claimed.",
            )
            .attribute(
                Attribute::new("authority", trust_type())
                    .required()
                    .description("The `trust` of the `nats_authority` that will claim the host."),
            )
            .attribute(
                Attribute::string("name")
                    .required()
                    .description("Name of the host: the key it has in the `nodes` of its `nats_cluster`."),
            )
            .attribute(
                Attribute::number("generation")
                    .optional()
                    .description("Which enrolment of this host it is, as in its node. Raise both to enrol a host anew. Default 1."),
            )
            .attribute(
                Attribute::string("fleet_ca")
                    .computed()
                    .description("Certificate authority of those who may claim the host, PEM."),
            )
            .attribute(Attribute::string("token").computed().sensitive().description("The one-time token."))
            .attribute(
                Attribute::string("text")
                    .computed()
                    .sensitive()
                    .description("All of it in one line, for `nats-agent enroll --enrollment -` or user data."),
            )
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        reading.text::<HostName>(config.attr("name"), &Path::root("name"));
        reading.number::<u32>(config.attr("generation"), &Path::root("generation"), 1..=MAX_GENERATION);
        reading.into_problems()
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure> {
        let config = request.config;
        let mut reading = Reading::new();
        let trust = read_trust(config.attr("authority"), &Path::root("authority"), &mut reading);
        let host = reading.text::<HostName>(config.attr("name"), &Path::root("name"));
        let generation =
            reading.number::<u32>(config.attr("generation"), &Path::root("generation"), 1..=MAX_GENERATION);
        let (true, Some(trust), Some(host)) = (reading.is_whole(), trust, host) else {
            let mut problems = reading.into_problems();
            if !problems.has_errors() {
                problems.error(
                    "The enrolment is not wholly known",
                    "`authority` and `name` must be known when it is opened.",
                );
            }
            return Err(problems.into());
        };
        let session = self.sessions.session()?;
        if matches!(session.keys(), Keys::Reader(_)) {
            return Ok(unopened(self.type_name(), config));
        }
        let authority = session.authority(&trust.name, trust.generations)?;
        let found = authority.trust().operator;
        if found.as_str() != trust.operator {
            return Err(Diagnostic::error(
                format!("This is not the root key of authority `{}`", trust.name),
                format!(
                    "Its operator is `{}`, and this root key gives `{found}`. A host enrolled with this token could \
                     never be claimed.",
                    trust.operator
                ),
            )
            .at(Path::root("authority"))
            .into());
        }
        let enrollment = authority.enrollment(host, generation.unwrap_or(1));
        let result = config
            .with("fleet_ca", enrollment.fleet_ca.as_str())
            .with("token", enrollment.token.to_text().as_str())
            .with("text", enrollment.to_text().as_str());
        Ok(result.into())
    }
}
