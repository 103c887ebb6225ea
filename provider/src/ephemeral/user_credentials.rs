//! `nats_user_credentials`: credentials of a user, minted for this run and never stored.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{UserName, UserPublicKey};
use nats_config::NatsDuration;
use tfplug::{
    Attribute, Diagnostic, Diagnostics, EphemeralResource, Failure, OpenRequest, Opened, Path, Schema, Value,
};
use time::OffsetDateTime;

use crate::agents::random_bytes;
use crate::claims::ClaimsWriter;
use crate::resources::natural_id::{AccountId, UserId};
use crate::resources::reading::Reading;

/// Life of credentials when the block does not say.
const DEFAULT_LIFE: NatsDuration = NatsDuration::from_secs(3600);

/// See the module.
pub struct UserCredentials {
    claims: Arc<ClaimsWriter>,
}

impl UserCredentials {
    /// Over this reader of claims.
    #[must_use]
    pub fn new(claims: Arc<ClaimsWriter>) -> UserCredentials {
        UserCredentials { claims }
    }
}

/// A block whose every known value was checked; unknown ones read as absent.
struct Declared {
    id: Option<UserId>,
    /// Absent: they end only with the user.
    expires: Option<NatsDuration>,
    public_key: Option<UserPublicKey>,
}

fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reading = Reading::new();
    let account = reading.text::<AccountId>(block.attr("account"), &Path::root("account"));
    let user = reading.text::<UserName>(block.attr("user"), &Path::root("user"));
    let path = Path::root("expires");
    let expires = match block.attr("expires").as_str() {
        Some("never") => None,
        Some(_) => reading.text::<NatsDuration>(block.attr("expires"), &path),
        None => Some(DEFAULT_LIFE),
    };
    if expires.is_some_and(|expires| expires.as_duration().as_secs() == 0) {
        let detail = "Credentials live at least a second; `never` lets them live as long as the user.";
        reading.push(Diagnostic::error("No life at all", detail).at(path));
    }
    let public_key = reading.text::<UserPublicKey>(block.attr("public_key"), &Path::root("public_key"));
    let id = account.zip(user).map(|(account, user)| UserId { account, user });
    (Declared { id, expires, public_key }, reading.into_problems())
}

#[async_trait]
impl EphemeralResource for UserCredentials {
    fn type_name(&self) -> &str {
        "nats_user_credentials"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "Credentials of a `nats_user`, minted when Terraform needs them and in no state and no plan: for write-only \
                 arguments of secret stores, for provisioners and for providers. Each opening makes new ones; what they may do \
                 is what the user may do at any time, and destroying the user ends them at once.",
            )
            .attributes([
                Attribute::string("account").required().description("Id of the `nats_account`."),
                Attribute::string("user").required().description("Name of the `nats_user` in it."),
                Attribute::string("expires").description(
                    "How long they live, like `1h` (the default) or `720h`; `never` for as long as the user does.",
                ),
                Attribute::string("public_key").description(
                    "Public user nkey (`U...`) of somebody who keeps the seed: then only `jwt` is made.",
                ),
                Attribute::string("credentials").computed().sensitive().description(
                    "Text of a credentials file (`.creds`); null when `public_key` is given.",
                ),
                Attribute::string("jwt").computed().sensitive().description("The user JWT."),
                Attribute::string("user_public_key").computed().description("Public user nkey that the JWT is for."),
            ])
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        parse(config).1
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure> {
        let (Declared { id, expires, public_key }, problems) = parse(&request.config);
        if problems.has_errors() {
            return Err(problems.into());
        }
        let id = id.ok_or_else(|| Failure::new("Account or user is not known", ""))?;
        let account = self.claims.read(&id.account).await?;
        let scope = account.as_ref().and_then(|account| account.claims.scopes.get(&id.user));
        let generation = scope.ok_or_else(|| unknown_user(&id))?.generation;
        let system = self.claims.system(&id.account.authority).await?;
        let authority = &system.authority;
        let now = OffsetDateTime::now_utc();
        let end = expires.map(|expires| now + expires.as_duration());
        let (account, user) = (&id.account.account, &id.user);
        let (credentials, jwt, key) = match public_key {
            Some(key) => (None, authority.user_jwt_for_key(account, user, generation, &key, now, end), key),
            None => {
                let made = authority.user_credentials(account, user, generation, &random_bytes()?, now, end);
                (Some(made.creds().to_string()), made.jwt.clone(), made.user.clone())
            }
        };
        let result = request
            .config
            .with("credentials", credentials)
            .with("jwt", jwt.to_string())
            .with("user_public_key", key.to_string());
        Ok(result.into())
    }
}

fn unknown_user(id: &UserId) -> Diagnostic {
    Diagnostic::error(
        format!("User `{id}` does not exist"),
        "Let `user` refer to `nats_user.<name>.name`, so that the user is made before its credentials.",
    )
    .at(Path::root("user"))
}
