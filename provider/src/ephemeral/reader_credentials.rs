//! `nats_reader_credentials`: what a pipeline needs that plans and may change nothing, made for this run and never
//! stored. Asks agents nothing but which system it is.

use async_trait::async_trait;
use identity::Role;
use tfplug::{Attribute, Diagnostics, EphemeralResource, Failure, OpenRequest, Opened, Schema, Value};
use time::OffsetDateTime;

use super::{key_order, ordered, uncertified, unopened};
use crate::agents::random_bytes;
use crate::keys::Keys;
use crate::resources::natural_id::SystemId;
use crate::session::SessionSlot;

/// See the module.
pub struct ReaderCredentials {
    sessions: SessionSlot,
}

impl ReaderCredentials {
    /// One that asks `sessions` for the root key.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> ReaderCredentials {
        ReaderCredentials { sessions }
    }
}

#[async_trait]
impl EphemeralResource for ReaderCredentials {
    fn type_name(&self) -> &str {
        "nats_reader_credentials"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "What a pipeline needs that plans everything and may change nothing: a client certificate with role \
                 `reader`, its key and the host CAs. In no state and no plan; for write-only arguments of secret stores. \
                 The same as `nats-agent creds --role reader` makes.",
            )
            .attributes([
                Attribute::string("system").required().description("Id of the `nats_gateway` or `nats_cluster`."),
                Attribute::string("expires").description("How long they live, like `24h` (the default) or `720h`."),
                Attribute::string("reader_credentials")
                    .computed()
                    .sensitive()
                    .description("PEM text for the attribute of this name in the provider block."),
            ])
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        key_order::<SystemId>(config, "system").1
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure> {
        let (id, expires) = ordered::<SystemId>(&request.config, "system")?;
        let session = self.sessions.session()?;
        if matches!(session.keys(), Keys::Reader(_)) {
            return Ok(unopened(self.type_name(), request.config));
        }
        let system = session.system(&id.authority).await?;
        let (now, life) = (OffsetDateTime::now_utc(), expires.as_duration());
        let caller = system
            .authority()?
            .caller_pem(&Role::Reader, &random_bytes()?, now, life)
            .map_err(|why| uncertified(&why))?;
        Ok(request.config.with("reader_credentials", caller.to_text().as_str()).into())
    }
}
