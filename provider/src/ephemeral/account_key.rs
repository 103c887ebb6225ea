//! `nats_account_key`: what a team needs to manage one account's streams, made for this run and never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use identity::UserName;
use tfplug::{
    Attribute, Diagnostic, Diagnostics, EphemeralResource, Failure, OpenRequest, Opened, Path, Schema, Value,
};
use time::OffsetDateTime;

use super::{key_order, ordered, uncertified, unopened};
use crate::agents::random_bytes;
use crate::claims::ClaimsWriter;
use crate::resources::natural_id::AccountId;

/// See the module.
pub struct AccountKeyResource {
    claims: Arc<ClaimsWriter>,
}

impl AccountKeyResource {
    /// Over this reader of claims.
    #[must_use]
    pub fn new(claims: Arc<ClaimsWriter>) -> AccountKeyResource {
        AccountKeyResource { claims }
    }
}

#[async_trait]
impl EphemeralResource for AccountKeyResource {
    fn type_name(&self) -> &str {
        "nats_account_key"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "What a team needs to manage the streams of one account and to mint credentials of its users: a client \
                 certificate with role `account:<name>`, the account's signing key, and the keys of the users that it has \
                 now. In no state and no plan; for write-only arguments of secret stores. The same as `nats-agent creds \
                 --role account:NAME` makes. A user that is made or rotated later is not in it.",
            )
            .attributes([
                Attribute::string("account").required().description("Id of the `nats_account`."),
                Attribute::string("expires").description("How long its certificate lives, like `24h` (the default)."),
                Attribute::string("account_key")
                    .computed()
                    .sensitive()
                    .description("Text for the attribute of this name in the provider block."),
            ])
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        key_order::<AccountId>(config, "account").1
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure> {
        let (id, expires) = ordered::<AccountId>(&request.config, "account")?;
        if self.claims.is_reader()? {
            return Ok(unopened(self.type_name(), request.config));
        }
        let system = self.claims.system(&id.authority).await?;
        let account = self.claims.read(&id).await?.ok_or_else(|| unknown_account(&id))?;
        let users: BTreeMap<UserName, u32> =
            account.claims.scopes.iter().map(|(user, scope)| (user.clone(), scope.generation)).collect();
        let generation = account.claims.signing_keys.keys().next_back().copied().unwrap_or(1);
        let (seed, now) = (random_bytes()?, OffsetDateTime::now_utc());
        let key = system
            .authority()?
            .issue_account_key(&id.account, generation, &users, &seed, now, expires.as_duration())
            .map_err(|why| uncertified(&why))?;
        Ok(request.config.with("account_key", key.to_text().as_str()).into())
    }
}

fn unknown_account(id: &AccountId) -> Diagnostic {
    Diagnostic::error(
        format!("Account `{id}` does not exist"),
        "Let `account` refer to `nats_account.<name>.id`, so that the account is made before its key.",
    )
    .at(Path::root("account"))
}
