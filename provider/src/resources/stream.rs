//! `nats_stream`: a JetStream stream, made and edited through the agents' tunnel.

mod block;
mod change;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nats_config::NatsDuration;
use tfplug::{
    CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, Value,
};
use tokio::time::Instant;

use self::block::Declared;
use super::natural_id::{AccountId, StreamId};
use crate::claims::ClaimsWriter;
use crate::jetstream::settings::{is_protected, owner};
use crate::jetstream::{ApiError, JetStreamAccess, JetStreamApi, StreamInfo, Way};
use crate::timeouts::{Operation, Timeouts};

/// How long operations may take when the block does not say.
const TIMEOUTS: Timeouts = Timeouts {
    create: NatsDuration::from_secs(120),
    update: NatsDuration::from_secs(120),
    delete: NatsDuration::from_secs(60),
};

/// How long a create waits for JetStream of an account that is perhaps just made.
const ENABLING: Duration = Duration::from_secs(10);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub struct StreamResource {
    claims: Arc<ClaimsWriter>,
    access: Arc<JetStreamAccess>,
}

impl StreamResource {
    /// Over these claims, which say whether its account is there, and this way to JetStream.
    #[must_use]
    pub fn new(claims: Arc<ClaimsWriter>, access: Arc<JetStreamAccess>) -> StreamResource {
        StreamResource { claims, access }
    }

    /// What was `found` of an account; `None` when it was deleted, and with it all that it had: no server lets anybody in to
    /// ask.
    async fn unless_deleted<T>(
        &self,
        account: &AccountId,
        found: Result<T, Diagnostic>,
    ) -> Result<Option<T>, Diagnostic> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(_) if matches!(self.claims.is_deleted(account).await, Ok(true)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// The stream as the account's listing shows it; `None` when the server says there is none, or the claims that its
    /// account was deleted. That it is not listed
    /// says nothing: a listing leaves out streams whose leader does not answer.
    async fn find(&self, id: &StreamId) -> Result<Option<StreamInfo>, Diagnostic> {
        let way = self.access.way(&id.account).await;
        let api = match self.unless_deleted(&id.account, way).await? {
            None => return Ok(None),
            Some(Way::Api(api)) => api,
            Some(Way::Monitor(seen)) => return seen.find(&id.stream),
        };
        let listing = self.access.listings().read(&id.account.to_string(), &api).await;
        let listed = listing.map(|listing| listing.get(&id.stream).cloned());
        let found = match listed {
            Ok(Some(info)) => Ok(Some(info)),
            Ok(None) => match api.info(&id.stream).await {
                Err(error) if error.is_not_found() => Ok(None),
                answer => answer.map(Some),
            },
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => Ok(found),
            Err(error) => {
                self.access.reconnect(&id.account).await;
                Err(explain("cannot be read", id, &error))
            }
        }
    }

    /// What the change would delete, or that it could not be counted; an error while protection is on.
    async fn judge_losses(&self, prior: &Declared, next: &Declared, id: &StreamId) -> Option<Diagnostic> {
        if !change::may_lose(&prior.settings, &next.settings) {
            return None;
        }
        let losses = match self.find(id).await {
            Ok(Some(info)) => change::losses(&prior.settings, &next.settings, &info),
            Ok(None) => return None,
            Err(_) => vec!["nobody answers, so what the stricter limits delete cannot be counted".to_owned()],
        };
        if losses.is_empty() {
            return None;
        }
        let detail = format!("{}.", losses.join("; "));
        Some(if next.deletion_protection {
            let remedy = "Set `deletion_protection = false` on this stream to allow it.";
            Diagnostic::error(format!("The change deletes messages of `{id}`"), format!("{detail} {remedy}"))
        } else {
            Diagnostic::warning(format!("The change deletes messages of `{id}`"), detail)
        })
    }
}

#[async_trait]
impl Resource for StreamResource {
    fn type_name(&self) -> &str {
        "nats_stream"
    }

    fn schema(&self) -> Schema {
        schema::schema(TIMEOUTS)
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut problems = block::parse(config).1;
        problems.extend(Timeouts::problems(config));
        problems
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.as_ref().map(|prior| block::parse(prior).0);
        let config_window = request.config.attr("duplicate_window").clone();
        let mut response = PlanResponse::from(request);
        if config_window.is_null() {
            let without = response.planned.clone().with("duplicate_window", Value::Null);
            let age_known = without.attr("max_age").is_known();
            let window = block::parse(&without).0.settings.default_duplicate_window();
            let window = window.map(|window| window.to_string());
            response
                .planned
                .set_attr("duplicate_window", if age_known { window.into() } else { Value::unknown() });
        }
        let (next, problems) = block::parse(&response.planned);
        response.diagnostics.extend(problems);
        let Some(id) = next.id() else { return response };
        response.planned.set_attr("id", id.to_string());
        if let Some(old) = prior.as_ref().filter(|prior| prior.deletion_protection).and_then(Declared::id)
            && old != id
        {
            let why = format!("It would be deleted with its messages and `{id}` be made in its place. ");
            response.diagnostics.push(protected(format!("`{old}` must be replaced"), &why));
        }
        let Some(prior) = prior.filter(|prior| prior.id().as_ref() == Some(&id)) else {
            return response;
        };
        if response.planned.is_wholly_known() {
            let replaced = plan_replacement(&prior, &next, &id, &mut response);
            if !replaced {
                response.diagnostics.extend(self.judge_losses(&prior, &next, &id).await);
            }
        }
        response
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        let (declared, _) = block::parse(&request.prior);
        let Some(id) = declared.id().filter(|_| declared.deletion_protection) else {
            return Diagnostics::new();
        };
        let held = match self.find(&id).await {
            Ok(Some(info)) => format!("It holds {} messages. ", info.messages),
            Ok(None) | Err(_) => String::new(),
        };
        protected(format!("`{id}` is protected from deletion"), &held).into()
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let (declared, id) = whole(&request.planned)?;
        let made = async {
            let api = self.access.api(&id.account).await?;
            let _permit = self.access.create_permit().await;
            create_or_adopt(&api, &declared, &id).await
        };
        let made =
            TIMEOUTS.within(made, &request.planned, Operation::Create, &format!("Stream `{id}`")).await;
        self.access.listings().forget(&id.account.to_string()).await;
        let state = taken_in(&made?, &declared, &id, request.planned)?;
        Ok(Created { state, private: PrivateState::new(), diagnostics: Diagnostics::new() })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let Some(id) = request.state.attr("id").as_str().and_then(|id| id.parse::<StreamId>().ok()) else {
            let problem = Diagnostic::error("State without id", "The stream's `id` in state cannot be read.");
            return ReadResponse::unanswered(problem.into());
        };
        match self.find(&id).await {
            Ok(None) => ReadResponse::gone(),
            Ok(Some(info)) => match state_of(&id, &info, request.state) {
                Ok(state) => ReadResponse::found(state, request.private),
                Err(problem) => ReadResponse::unanswered(problem.into()),
            },
            Err(problem) => ReadResponse::unanswered(super::kept(problem).into()),
        }
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let (declared, id) = whole(&request.planned)?;
        let changed = async { update(&self.access.api(&id.account).await?, &declared, &id).await };
        let changed =
            TIMEOUTS.within(changed, &request.planned, Operation::Update, &format!("Stream `{id}`")).await;
        self.access.listings().forget(&id.account.to_string()).await;
        let state = taken_in(&changed?, &declared, &id, request.planned)?;
        Ok(Updated { state, private: request.private, diagnostics: Diagnostics::new() })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        let (declared, id) = whole(&request.prior)?;
        if declared.deletion_protection {
            return Err(protected(format!("`{id}` is protected from deletion"), "").into());
        }
        let deleted = async {
            let api = self.access.api(&id.account).await;
            let Some(api) = self.unless_deleted(&id.account, api).await? else { return Ok(()) };
            api.delete(&id.stream).await.map_err(|error| explain("cannot be deleted", &id, &error))
        };
        let deleted =
            TIMEOUTS.within(deleted, &request.prior, Operation::Delete, &format!("Stream `{id}`")).await;
        self.access.listings().forget(&id.account.to_string()).await;
        deleted?;
        Ok(Deleted::default())
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let id: StreamId = request.id.parse().map_err(|error: super::natural_id::IdError| {
            Failure::new("Wrong import id", format!("{error}."))
        })?;
        let StreamId { account, stream } = &id;
        Ok(Value::object([
            ("id", id.to_string().into()),
            ("account", account.to_string().into()),
            ("name", stream.as_str().into()),
        ])
        .into())
    }
}

/// Plans a replacement where the server cannot edit in place; true when it does.
fn plan_replacement(prior: &Declared, next: &Declared, id: &StreamId, response: &mut PlanResponse) -> bool {
    let reasons = change::replacements(&prior.settings, &next.settings);
    if reasons.is_empty() {
        return false;
    }
    let why = reasons.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("; ");
    let summary = format!("`{id}` must be replaced");
    if prior.deletion_protection {
        response.diagnostics.push(protected(summary, &format!("NATS cannot edit this in place: {why}. ")));
    } else {
        let detail = format!("NATS cannot edit this in place: {why}. Its messages are deleted.");
        response.diagnostics.push(Diagnostic::warning(summary, detail));
    }
    response.requires_replace.extend(reasons.iter().map(|(attribute, _)| Path::root(*attribute)));
    true
}

fn protected(summary: String, why: &str) -> Diagnostic {
    Diagnostic::error(
        summary,
        format!("{why}To allow it, apply `deletion_protection = false` on this stream first."),
    )
    .at(Path::root("deletion_protection"))
}

/// A wholly known block and its id.
fn whole(block: &Value) -> Result<(Declared, StreamId), Failure> {
    let (declared, problems) = block::parse(block);
    if problems.has_errors() {
        return Err(problems.into());
    }
    let id = declared.id().ok_or_else(|| Failure::new("Account or name is not known", ""))?;
    Ok((declared, id))
}

/// Makes the stream, or takes over one that carries our mark.
///
/// A crash after the server's create leaves a stream with our mark, which the next create adopts.
async fn create_or_adopt(
    api: &JetStreamApi,
    declared: &Declared,
    id: &StreamId,
) -> Result<StreamInfo, Diagnostic> {
    let cannot = |error: ApiError| explain("cannot be created", id, &error);
    let found = match once_enabled(|| api.info(&id.stream)).await {
        Ok(info) => info,
        Err(error) if error.is_not_found() => {
            let config = declared.settings.to_json(&id.to_string(), declared.deletion_protection);
            return once_enabled(|| api.create(config.clone())).await.map_err(cannot);
        }
        Err(error) => return Err(cannot(error)),
    };
    let owner = owner(&found.config);
    if owner.as_deref() != Some(id.to_string().as_str()) {
        let whose = owner.map_or_else(
            || "It was not made by Terraform".to_owned(),
            |owner| format!("It belongs to another configuration, as `{owner}`"),
        );
        return Err(Diagnostic::error(
            format!("`{id}` exists already"),
            format!(
                "{whose}; it holds {} messages. Take it over with `terraform import nats_stream.<name> {id}`, or choose \
                 another name.",
                found.messages
            ),
        )
        .at(Path::root("name")));
    }
    write(api, declared, id, found).await.map_err(cannot)
}

/// What JetStream answers once the account has it: the server that answers may have taken in the account's claims a moment
/// later than the server that was asked.
async fn once_enabled<T, F>(ask: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let end = Instant::now() + ENABLING;
    loop {
        match ask().await {
            Err(error) if error.is_not_enabled() && Instant::now() < end => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

async fn update(api: &JetStreamApi, declared: &Declared, id: &StreamId) -> Result<StreamInfo, Diagnostic> {
    let cannot = |error: ApiError| explain("cannot be changed", id, &error);
    let found = api.info(&id.stream).await.map_err(cannot)?;
    write(api, declared, id, found).await.map_err(cannot)
}

/// Brings a stream that exists to what is declared, keeping every setting we do not know.
async fn write(
    api: &JetStreamApi,
    declared: &Declared,
    id: &StreamId,
    found: StreamInfo,
) -> Result<StreamInfo, ApiError> {
    let mut config = found.config.clone();
    declared.settings.write_into(&mut config, &id.to_string(), declared.deletion_protection);
    if config == found.config { Ok(found) } else { api.update(config).await }
}

/// State after a write: what was planned, once the server has just that.
fn taken_in(
    info: &StreamInfo,
    declared: &Declared,
    id: &StreamId,
    planned: Value,
) -> Result<Value, Diagnostic> {
    let settings = info.settings().map_err(|error| explain("cannot be understood", id, &error))?;
    if settings == declared.settings {
        return Ok(planned.with("id", id.to_string()));
    }
    let differences = declared.settings.differences(&settings).join("; ");
    let detail = format!(
        "The server took the request and made something else of it: {differences}. Apply again: what is there is \
         taken over and set anew."
    );
    Err(Diagnostic::error(format!("Stream `{id}` is not what was asked for"), detail))
}

/// State of what the server has; it keeps its form where it means the same.
fn state_of(id: &StreamId, info: &StreamInfo, before: Value) -> Result<Value, Diagnostic> {
    let settings = info.settings().map_err(|error| explain("cannot be understood", id, &error))?;
    let (declared, problems) = block::parse(&before);
    let whole = problems.is_empty() && !before.attr("subjects").is_null();
    if whole && declared.settings == settings {
        return Ok(before);
    }
    let protected = if whole { declared.deletion_protection } else { is_protected(&info.config) };
    Ok(block::state(id, &settings, protected, before.attr("timeouts")))
}

fn explain(what: &str, id: &StreamId, error: &ApiError) -> Diagnostic {
    let chain = host_state::chain(error);
    Diagnostic::error(format!("Stream `{id}` {what}"), format!("{chain}. {}", error.remedy()))
}
