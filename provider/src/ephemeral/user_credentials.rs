//! `nats_user_credentials`: credentials of a user, minted for this run and never stored.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{AccountKey, Credentials, Jwt, UserName, UserPublicKey};
use nats_config::NatsDuration;
use tfplug::{
    Attribute, Diagnostic, Diagnostics, EphemeralResource, Failure, OpenRequest, Opened, Path, Schema, Value,
};
use time::OffsetDateTime;

use super::{account_key, life, unopened};
use crate::agents::random_bytes;
use crate::claims::ClaimsWriter;
use crate::keys::Keys;
use crate::resources::natural_id::{AccountId, UserId};
use crate::resources::reading::Reading;
use crate::session::{Session, SessionSlot};

/// Life of credentials when the block does not say.
const DEFAULT_LIFE: NatsDuration = NatsDuration::from_secs(3600);

/// See the module.
pub struct UserCredentials {
    sessions: SessionSlot,
    claims: Arc<ClaimsWriter>,
}

impl UserCredentials {
    /// With the keys of this session, over this reader of claims.
    #[must_use]
    pub fn new(sessions: SessionSlot, claims: Arc<ClaimsWriter>) -> UserCredentials {
        UserCredentials { sessions, claims }
    }

    async fn by_root_key(&self, id: &UserId, wanted: Wanted) -> Result<Minted, Diagnostic> {
        let account = self.claims.read(&id.account).await?;
        let scope = account.as_ref().and_then(|account| account.claims.scopes.get(&id.user));
        let generation = scope.ok_or_else(|| unknown_user(id))?.generation;
        let system = self.claims.system(&id.account.authority).await?;
        let authority = system.authority()?;
        let (now, end) = wanted.times();
        let (account, user) = (&id.account.account, &id.user);
        Ok(match wanted.public_key {
            Some(key) => {
                let jwt = authority.user_jwt_for_key(account, user, generation, &key, now, end);
                Minted { credentials: None, jwt, key }
            }
            None => Minted::whole(&authority.user_credentials(
                account,
                user,
                generation,
                &random_bytes()?,
                now,
                end,
            )),
        })
    }
}

impl Wanted {
    /// From when and until when.
    fn times(&self) -> (OffsetDateTime, Option<OffsetDateTime>) {
        let now = OffsetDateTime::now_utc();
        (now, self.expires.map(|expires| now + expires.as_duration()))
    }
}

/// By the user's key in an account key. A login with a user of a minute tells whether the account still has it.
async fn by_account_key(
    session: &Session,
    key: &AccountKey,
    id: &UserId,
    wanted: Wanted,
) -> Result<Minted, Diagnostic> {
    let unknown = || not_in_account_key(id);
    let (now, end) = wanted.times();
    let minute = Some(now + std::time::Duration::from_secs(60));
    let trial = key.user_credentials(&id.user, &random_bytes()?, now, minute).ok_or_else(unknown)?;
    session.account_key_login(key, &trial).await.map_err(|why| dead_user(id, &why))?;
    match wanted.public_key {
        Some(public) => {
            let jwt = key.user_jwt_for_key(&id.user, &public, now, end).ok_or_else(unknown)?;
            Ok(Minted { credentials: None, jwt, key: public })
        }
        None => {
            let made = key.user_credentials(&id.user, &random_bytes()?, now, end).ok_or_else(unknown)?;
            Ok(Minted::whole(&made))
        }
    }
}

fn not_in_account_key(id: &UserId) -> Diagnostic {
    Diagnostic::error(
        format!("`account_key` does not know user `{id}`"),
        "It holds the keys of the users that were there, or named, when it was made. Have a new one made.",
    )
    .at(Path::root("user"))
}

fn dead_user(id: &UserId, why: &Diagnostic) -> Diagnostic {
    Diagnostic::error(
        format!("Credentials of user `{id}` would not be let in"),
        format!(
            "A trial of them was refused, so none were made: the user was destroyed or rotated since `account_key` was \
             made, or may not connect as a plain NATS client. {}",
            why.detail
        ),
    )
    .at(Path::root("user"))
}

/// A block whose every known value was checked; unknown ones read as absent.
struct Declared {
    id: Option<UserId>,
    wanted: Wanted,
}

/// What is to be minted.
struct Wanted {
    /// Absent: they end only with the user.
    expires: Option<NatsDuration>,
    /// Of somebody who keeps the seed.
    public_key: Option<UserPublicKey>,
}

/// What was minted.
struct Minted {
    /// Absent for somebody who keeps the seed.
    credentials: Option<String>,
    jwt: Jwt,
    key: UserPublicKey,
}

impl Minted {
    fn whole(made: &Credentials) -> Minted {
        let credentials = Some(made.creds().to_string());
        Minted { credentials, jwt: made.jwt.clone(), key: made.user.clone() }
    }
}

fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reading = Reading::new();
    let account = reading.text::<AccountId>(block.attr("account"), &Path::root("account"));
    let user = reading.text::<UserName>(block.attr("user"), &Path::root("user"));
    let expires = match block.attr("expires").as_str() {
        Some("never") => None,
        _ => life(block, DEFAULT_LIFE, &mut reading),
    };
    let public_key = reading.text::<UserPublicKey>(block.attr("public_key"), &Path::root("public_key"));
    let id = account.zip(user).map(|(account, user)| UserId { account, user });
    (Declared { id, wanted: Wanted { expires, public_key } }, reading.into_problems())
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
        let (Declared { id, wanted }, problems) = parse(&request.config);
        if problems.has_errors() {
            return Err(problems.into());
        }
        let id = id.ok_or_else(|| Failure::new("Account or user is not known", ""))?;
        let session = self.sessions.session()?;
        if matches!(session.keys(), Keys::Reader(_)) {
            return Ok(unopened(self.type_name(), request.config));
        }
        let minted = match account_key(session.keys(), &id.account.authority) {
            Some(key) if key.account() == &id.account.account => {
                by_account_key(&session, key, &id, wanted).await?
            }
            _ => self.by_root_key(&id, wanted).await?,
        };
        let Minted { credentials, jwt, key } = minted;
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
