//! `nats_user`: a scope in its account's claims.

mod block;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use identity::{UserName, UserScope};
use tfplug::{
    CreateRequest, Created, DeleteRequest, Deleted, Diagnostic, Diagnostics, Failure, ImportRequest,
    Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse, Resource, Schema,
    UpdateRequest, Updated, Value,
};

use self::block::Declared;
use super::meaning::generation_problem;
use super::natural_id::{IdError, UserId};
use crate::claims::{ClaimsWriter, Edit, Wanted};

/// See the module.
pub struct UserResource {
    claims: Arc<ClaimsWriter>,
}

impl UserResource {
    /// Over this writer of claims.
    #[must_use]
    pub fn new(claims: Arc<ClaimsWriter>) -> UserResource {
        UserResource { claims }
    }

    /// Puts the scope into the account's claims and waits until every host that answers enforces it.
    async fn write(&self, planned: &Value) -> Result<(Value, Diagnostics), Failure> {
        let (declared, id) = whole(planned)?;
        let Declared { generation, template, .. } = declared;
        let account = &id.account;
        let system = self.claims.system(&account.authority).await?;
        let scope = system.authority()?.user_scope(&account.account, &id.user, generation, template);
        let state = planned.clone().with("id", id.to_string());
        let (user, whose) = (id.user.clone(), account.clone());
        let edit = Edit::new(account.account.clone(), move |current| {
            let mut account = current.cloned().ok_or_else(|| no_account(&whose))?;
            let is_new = !account.claims.scopes.contains_key(&user);
            if let Some(retired) =
                account.retired(&user).filter(|retired| is_new && *retired >= scope.generation)
            {
                return Err(came_back(&whose, &user, retired));
            }
            account.claims.scopes.insert(user.clone(), scope.clone());
            Ok(Wanted::Account(Box::new(account)))
        });
        let diagnostics = self.claims.write(&account.authority, edit).await?;
        Ok((state, diagnostics))
    }
}

#[async_trait]
impl Resource for UserResource {
    fn type_name(&self) -> &str {
        "nats_user"
    }

    fn schema(&self) -> Schema {
        schema::schema()
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        block::parse(config).1
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let (declared, problems) = block::parse(&response.planned);
        response.diagnostics.extend(problems);
        if let Some(id) = declared.id {
            response.planned.set_attr("id", id.to_string());
        }
        if let Some(prior) = prior.filter(|prior| prior.attr("id") == response.planned.attr("id")) {
            let (before, after) = (prior.attr("generation"), response.planned.attr("generation"));
            response.diagnostics.extend(generation_problem(before, after, "A key"));
        }
        response
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let (state, diagnostics) = self.write(&request.planned).await?;
        Ok(Created { state, private: PrivateState::new(), diagnostics })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let Some(id) = request.state.attr("id").as_str().and_then(|id| id.parse::<UserId>().ok()) else {
            let problem = Diagnostic::error("State without id", "The user's `id` in state cannot be read.");
            return ReadResponse::unanswered(problem.into());
        };
        match self.claims.read(&id.account).await {
            Ok(account) => match account.as_ref().and_then(|account| account.claims.scopes.get(&id.user)) {
                Some(scope) => ReadResponse::found(state_of(&id, scope, request.state), request.private),
                None => ReadResponse::gone(),
            },
            Err(problem) => ReadResponse::unanswered(super::kept(problem).into()),
        }
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let (state, diagnostics) = self.write(&request.planned).await?;
        Ok(Updated { state, private: request.private, diagnostics })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        let (_, id) = whole(&request.prior)?;
        let user = id.user.clone();
        let edit = Edit::new(id.account.account.clone(), move |current| {
            let Some(mut account) = current.cloned() else { return Ok(Wanted::Unchanged) };
            account.retire(&user);
            Ok(Wanted::Account(Box::new(account)))
        });
        let diagnostics = self.claims.write(&id.account.authority, edit).await?;
        Ok(Deleted { diagnostics })
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let id: UserId = request
            .id
            .parse()
            .map_err(|error: IdError| Failure::new("Wrong import id", format!("{error}.")))?;
        Ok(Value::object([
            ("id", id.to_string().into()),
            ("account", id.account.to_string().into()),
            ("name", id.user.to_string().into()),
        ])
        .into())
    }
}

/// State keeps its form where it means what the claims hold.
fn state_of(id: &UserId, scope: &UserScope, before: Value) -> Value {
    let (declared, problems) = block::parse(&before);
    let whole = before.attr("generation").as_u64().is_some() && problems.is_empty();
    if whole && declared.template == scope.template && declared.generation == scope.generation {
        before
    } else {
        block::state(id, scope)
    }
}

fn whole(block: &Value) -> Result<(Declared, UserId), Failure> {
    let (declared, problems) = block::parse(block);
    if problems.has_errors() {
        return Err(problems.into());
    }
    let id = declared.id.clone().ok_or_else(|| Failure::new("Account or name is not known", ""))?;
    Ok((declared, id))
}

/// A destroyed user is out for good: its name may be used again, its keys may not.
fn came_back(account: &super::natural_id::AccountId, user: &UserName, retired: u32) -> Diagnostic {
    let next = retired.saturating_add(1);
    Diagnostic::error(
        format!("User `{account}/{user}` was destroyed before"),
        format!(
            "Credentials of its generation {retired} may still be out there and would be let in again. Set \
             `generation = {next}`: new credentials are minted under it, the old ones stay refused."
        ),
    )
    .at(Path::root("generation"))
}

fn no_account(account: &super::natural_id::AccountId) -> Diagnostic {
    Diagnostic::error(
        format!("Account `{account}` does not exist"),
        "It was deleted, or never made. Let the user refer to it by `nats_account.<name>.id`, so that it is made first.",
    )
    .at(Path::root("account"))
}
