//! `nats_account`: one entry of the claims, on every server of the authority.

mod block;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use identity::Authority;
use nats_config::NatsDuration;
use tfplug::{
    CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, Value,
};

use self::block::Declared;
use super::meaning::generation_problem;
use super::natural_id::{AccountId, IdError};
use crate::claims::{Account, ClaimsWriter, Edit, Wanted};
use crate::jetstream::JetStreamAccess;
use crate::timeouts::{Operation, Timeouts};

/// How long operations may take when the block does not say.
const TIMEOUTS: Timeouts = Timeouts {
    create: NatsDuration::from_secs(120),
    update: NatsDuration::from_secs(120),
    delete: NatsDuration::from_secs(120),
};

/// See the module.
pub struct AccountResource {
    claims: Arc<ClaimsWriter>,
    jetstream: Arc<JetStreamAccess>,
}

impl AccountResource {
    /// Over this writer of claims and this way to JetStream.
    #[must_use]
    pub fn new(claims: Arc<ClaimsWriter>, jetstream: Arc<JetStreamAccess>) -> AccountResource {
        AccountResource { claims, jetstream }
    }

    /// Writes limits and signing keys, keeps users and revocations, and waits until the hosts have them.
    async fn write(&self, planned: &Value, operation: Operation) -> Result<(Value, Diagnostics), Failure> {
        let (declared, id) = whole(planned)?;
        let work = async {
            let system = self.claims.system(&id.authority).await?;
            let authority = system.authority()?;
            let key = authority.account_key(&id.account);
            let edit = edit(authority, &declared, &id);
            Ok::<_, Diagnostic>((key, self.claims.write(&id.authority, edit).await?))
        };
        let (key, diagnostics) =
            TIMEOUTS.within(work, planned, operation, &format!("Account `{id}`")).await?;
        let state = planned
            .clone()
            .with("id", id.to_string())
            .with("public_key", key.as_str())
            .with("drift", Value::list([]));
        Ok((state, diagnostics))
    }

    /// Makes sure that no stream goes with the account.
    async fn check_empty(&self, id: &AccountId) -> Result<(), Diagnostic> {
        let account = self.claims.read(id).await?;
        if account.is_none_or(|account| account.claims.limits.jetstream.is_none()) {
            return Ok(());
        }
        self.jetstream.listings().forget(&id.to_string()).await;
        let counted = async {
            let api = self.jetstream.api(id).await?;
            api.list(0)
                .await
                .map_err(|error| Diagnostic::error("", format!("{}.", host_state::chain(&error))))
        };
        let detail = match counted.await {
            Ok(page) if page.total == 0 => return Ok(()),
            Ok(page) => format!(
                "It still has {} streams that this configuration does not delete with it. Delete or move them first: with \
                 the account their messages would be lost.",
                page.total
            ),
            Err(problem) => format!(
                "Whether it still has streams cannot be said: {} Without JetStream it has none: apply without its \
                 `jetstream` block first, if that is so.",
                problem.detail
            ),
        };
        Err(Diagnostic::error(format!("Account `{id}` is not known to be empty"), detail))
    }
}

#[async_trait]
impl Resource for AccountResource {
    fn type_name(&self) -> &str {
        "nats_account"
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
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let (declared, problems) = block::parse(&response.planned);
        response.diagnostics.extend(problems);
        response.planned.set_attr("drift", Value::list([]));
        let Some(id) = declared.id else { return response };
        response.planned.set_attr("id", id.to_string());
        if let Some(prior) = prior {
            let (before, after) = (prior.attr("generation"), response.planned.attr("generation"));
            let problem = match another(&block::parse(&prior).0, &id) {
                Identity::Same => generation_problem(before, after, "A signing key"),
                Identity::Other(problem) => problem,
            };
            response.diagnostics.extend(problem);
        }
        if let Some(authority) = self.claims.derivable(&id.authority) {
            let key = authority.account_key(&id.account);
            response.planned.set_attr("public_key", key.as_str());
        }
        response
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        let (declared, _) = block::parse(&request.prior);
        let Some(id) = declared.id.filter(|_| declared.deletion_protection) else {
            return Diagnostics::new();
        };
        protected(&id).into()
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let (state, diagnostics) = self.write(&request.planned, Operation::Create).await?;
        Ok(Created { state, private: PrivateState::new(), diagnostics })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let Some(id) = request.state.attr("id").as_str().and_then(|id| id.parse::<AccountId>().ok()) else {
            let problem =
                Diagnostic::error("State without id", "The account's `id` in state cannot be read.");
            return ReadResponse::unanswered(problem.into());
        };
        let account = match self.claims.read(&id).await {
            Ok(Some(account)) => account,
            Ok(None) => return ReadResponse::gone(),
            Err(problem) => return ReadResponse::unanswered(super::kept(problem).into()),
        };
        let (drift, diagnostics) = drift_of(self.claims.drift(&id).await, &id);
        let mut response =
            ReadResponse::found(state_of(&id, &account, request.state, drift), request.private);
        response.diagnostics = diagnostics;
        response
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let (state, diagnostics) = self.write(&request.planned, Operation::Update).await?;
        Ok(Updated { state, private: request.private, diagnostics })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        let (declared, id) = whole(&request.prior)?;
        if declared.deletion_protection {
            return Err(protected(&id).into());
        }
        let work = async {
            self.check_empty(&id).await?;
            self.claims.write(&id.authority, Edit::new(id.account.clone(), |_| Ok(Wanted::Tombstone))).await
        };
        let diagnostics =
            TIMEOUTS.within(work, &request.prior, Operation::Delete, &format!("Account `{id}`")).await?;
        self.jetstream.reconnect(&id).await;
        Ok(Deleted { diagnostics })
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let id: AccountId = request
            .id
            .parse()
            .map_err(|error: IdError| Failure::new("Wrong import id", format!("{error}.")))?;
        Ok(Value::object([("id", id.to_string().into()), ("name", id.account.to_string().into())]).into())
    }
}

/// Sets limits and signing keys of the declared generation and the one before it; users and revocations stay.
fn edit(authority: &Authority, declared: &Declared, id: &AccountId) -> Edit {
    let fresh = authority.account_claims(id.account.clone(), declared.limits.clone());
    let generations =
        [Some(declared.generation), declared.generation.checked_sub(1).filter(|before| *before > 0)];
    let signing_keys: BTreeMap<_, _> = generations
        .into_iter()
        .flatten()
        .map(|generation| (generation, authority.account_signing_key(&id.account, generation)))
        .collect();
    let kept = declared.to_json();
    Edit::new(id.account.clone(), move |current| {
        let new = || Account { claims: fresh.clone(), declared: serde_json::Value::Null };
        let mut account = current.cloned().unwrap_or_else(new);
        account.claims.limits = fresh.limits.clone();
        account.claims.signing_keys = signing_keys.clone();
        account.declare(kept.clone());
        Ok(Wanted::Account(Box::new(account)))
    })
}

/// One line a host whose server has other claims.
fn drift_of(drift: Result<Vec<String>, Diagnostic>, id: &AccountId) -> (Value, Diagnostics) {
    match drift {
        Ok(lines) => (lines.into(), Diagnostics::new()),
        Err(mut problem) => {
            problem.severity = tfplug::Severity::Warning;
            problem.summary = format!("Drift of account `{id}` was not looked at: {}", problem.summary);
            (Value::list([]), problem.into())
        }
    }
}

/// State keeps its form where it means what the claims hold.
fn state_of(id: &AccountId, account: &Account, before: Value, drift: Value) -> Value {
    let (declared, problems) = block::parse(&before);
    let whole = problems.is_empty() && declared.id.as_ref() == Some(id);
    let generation = account.claims.signing_keys.keys().next_back().copied();
    if whole && declared.limits == account.claims.limits && Some(declared.generation) == generation {
        return before.with("drift", drift);
    }
    let timeouts = before.attr("timeouts").clone();
    let mut state = block::state(id, account, &timeouts, drift);
    if whole {
        for kept in ["system", "deletion_protection"] {
            state.set_attr(kept, before.attr(kept).clone());
        }
    }
    state
}

/// Whether a change keeps the account, and when it does not, why it is refused.
enum Identity {
    Same,
    Other(Option<Diagnostic>),
}

fn another(prior: &Declared, id: &AccountId) -> Identity {
    let Some(old) = prior.id.as_ref().filter(|old| *old != id) else { return Identity::Same };
    if old.authority != id.authority {
        let detail = format!(
            "It is `{old}`, and `system` names authority `{}`. Declare another account there.",
            id.authority
        );
        let problem = Diagnostic::error("An account stays with its authority", detail);
        return Identity::Other(Some(problem.at(Path::root("system"))));
    }
    Identity::Other(prior.deletion_protection.then(|| protected(old)))
}

fn whole(block: &Value) -> Result<(Declared, AccountId), Failure> {
    let (declared, problems) = block::parse(block);
    if problems.has_errors() {
        return Err(problems.into());
    }
    let id = declared.id.clone().ok_or_else(|| Failure::new("System or name is not known", ""))?;
    Ok((declared, id))
}

fn protected(id: &AccountId) -> Diagnostic {
    Diagnostic::error(
        format!("Account `{id}` is protected from deletion"),
        "With it go its users at once, on live connections too. To allow it, apply `deletion_protection = false` first.",
    )
    .at(Path::root("deletion_protection"))
}
