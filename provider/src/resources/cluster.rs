//! `nats_cluster`: one cluster of nats-servers, each on a host with an agent.

mod block;
mod conduct;
mod hold;
mod look;
mod schema;
mod server_config;

pub(in crate::resources) use block::read_rollout;
pub(in crate::resources) use conduct::{findings, heads, new_lineage, pasts, replace_heads};
pub(in crate::resources) use look::{Look, card, kept_for_silent, look_again, look_at, texts, unanswered};
pub(in crate::resources) use schema::{deletion_protection, observations, rollout};

use std::sync::Arc;

use async_trait::async_trait;
use tfplug::{
    CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, Value,
};

use self::block::{Declared, declared_json};
use self::conduct::Conduct;
use self::schema::TIMEOUTS;
use super::members::member_value;
use super::reading::Reading;
use super::trust::TrustRef;
use crate::claims::ClaimsWriter;
use crate::rollout::progress::Bounds;
use crate::session::SessionSlot;
use crate::timeouts::{Operation, Timeouts};
use crate::topology::{Cluster, cluster_problems, member, revision};

/// The resource.
pub struct ClusterResource {
    sessions: SessionSlot,
    claims: Arc<ClaimsWriter>,
}

impl ClusterResource {
    /// One that asks `sessions` for keys and connections, over this writer of claims.
    #[must_use]
    pub fn new(sessions: SessionSlot, claims: Arc<ClaimsWriter>) -> Self {
        Self { sessions, claims }
    }

    /// Brings about what `planned` declares; the state afterwards.
    async fn apply(
        &self,
        planned: Value,
        private: &PrivateState,
        bounds: &Bounds,
    ) -> Result<Created, Failure> {
        let whole = whole(&planned)?;
        let session = self.sessions.session()?;
        let conduct = Conduct::new(&session, &whole, private, bounds);
        let (findings, private, diagnostics) = conduct.ended(conduct.run(&self.claims).await)?;
        let mut state = planned;
        if !state.attr("findings").is_known() {
            state.set_attr("findings", findings);
        }
        let (trust, cluster, declared) = &whole;
        state.set_attr("members", members(trust, cluster, declared));
        Ok(Created { state, private, diagnostics })
    }
}

/// A block that must be wholly known.
fn whole(block: &Value) -> Result<(TrustRef, Cluster, serde_json::Value), Diagnostics> {
    let mut reading = Reading::new();
    let Declared { trust, cluster } = block::read(block, &mut reading);
    match (trust, cluster, declared_json(block)) {
        (Some(trust), Some(cluster), Some(declared)) if reading.is_whole() => Ok((trust, cluster, declared)),
        _ => {
            let mut problems = reading.into_problems();
            if !problems.has_errors() {
                problems.error(
                    "The cluster is not wholly known",
                    "Something that it is made from is still unknown.",
                );
            }
            Err(problems)
        }
    }
}

fn members(trust: &TrustRef, cluster: &Cluster, declared: &serde_json::Value) -> Value {
    let revision = revision(&trust.revision, declared);
    member_value(trust, &member(cluster, trust.name.as_str(), revision))
}

/// What of `members` can be told while something is unknown: the revision and everything below it cannot.
fn partly_known(planned: &Value) -> Value {
    let unknown = |_: &str| Value::unknown();
    let authority = planned.attr("authority");
    let part = |value: &Value| if value.is_known() { value.clone() } else { Value::unknown() };
    let generations = authority.attr("generations");
    Value::object([
        ("id", id(planned)),
        ("authority", part(authority.attr("name"))),
        ("operator", part(authority.attr("operator"))),
        ("generations", if generations.is_wholly_known() { generations.clone() } else { Value::unknown() }),
        ("cluster", part(planned.attr("name"))),
        ("profile", part(planned.attr("profile"))),
        ("gateway", part(planned.attr("gateway"))),
        ("revision", unknown("revision")),
        ("nodes", unknown("nodes")),
    ])
}

fn id(planned: &Value) -> Value {
    match (planned.attr("authority").attr("name").as_str(), planned.attr("name").as_str()) {
        (Some(authority), Some(name)) => format!("{authority}/{name}").into(),
        _ => Value::unknown(),
    }
}

/// Names that stand in every store and can only belong to another cluster.
fn kept_names(prior: &Value, planned: &Value, problems: &mut Diagnostics) {
    let told = [
        ("name", prior.attr("name"), planned.attr("name")),
        ("authority", prior.attr("authority").attr("operator"), planned.attr("authority").attr("operator")),
    ];
    for (attribute, before, after) in told {
        if before.is_known() && after.is_known() && before != after && !before.is_null() {
            problems.error_at(
                Path::root(attribute),
                format!("The {attribute} of a cluster cannot be changed"),
                "It stands in every store, and with another one every stream would be lost. Declare a new cluster.",
            );
        }
    }
}

#[async_trait]
impl Resource for ClusterResource {
    fn type_name(&self) -> &str {
        "nats_cluster"
    }

    fn schema(&self) -> Schema {
        schema::schema()
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        block::read(config, &mut reading);
        let mut problems = reading.into_problems();
        problems.extend(Timeouts::problems(config));
        problems
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let mut reading = Reading::new();
        let Declared { trust, cluster } = block::read(&response.planned, &mut reading);
        if let Some(cluster) = &cluster {
            let found = cluster_problems(cluster, prior.is_none());
            response.diagnostics.extend(found.into_iter().map(Diagnostic::from));
        }
        let is_whole = reading.is_whole();
        response.diagnostics.extend(reading.into_problems());
        if let Some(prior) = &prior {
            kept_names(prior, &response.planned, &mut response.diagnostics);
        }
        response.planned.set_attr("id", id(&response.planned));
        response.planned.set_attr("drift", Vec::<String>::new());
        let findings = prior.as_ref().map_or_else(Value::unknown, |prior| prior.attr("findings").clone());
        response.planned.set_attr("findings", findings);
        let declared = declared_json(&response.planned);
        let planned = match (&trust, &cluster, &declared) {
            (Some(trust), Some(cluster), Some(declared)) if is_whole => members(trust, cluster, declared),
            _ => partly_known(&response.planned),
        };
        response.planned.set_attr("members", planned);
        let Some(prior) = prior else { return response };
        if response.diagnostics.has_errors() || prior == response.planned {
            return response;
        }
        if let (Some(trust), Some(cluster), Some(declared), Ok(session)) =
            (trust, cluster, declared, self.sessions.session())
        {
            let told = look::foretell(&session, &trust, &cluster, &declared).await;
            response.diagnostics.extend(told);
        }
        response
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        protected(&request.prior, "nats_cluster", "its servers stop, and their stores are kept")
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let CreateRequest { planned, stop, .. } = request;
        let bounds = Bounds::new(TIMEOUTS.of(&planned, Operation::Create), stop);
        self.apply(planned, &PrivateState::default(), &bounds).await
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let ReadRequest { state, private, stop: _ } = request;
        let session = match self.sessions.session() {
            Ok(session) => session,
            Err(problem) => return ReadResponse::unanswered(problem.into()),
        };
        look::read(&session, state, private).await
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let UpdateRequest { planned, private, stop, .. } = request;
        let bounds = Bounds::new(TIMEOUTS.of(&planned, Operation::Update), stop);
        let Created { state, private, diagnostics } = self.apply(planned, &private, &bounds).await?;
        Ok(Updated { state, private, diagnostics })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        let DeleteRequest { prior, private, stop } = request;
        let bounds = Bounds::new(TIMEOUTS.of(&prior, Operation::Delete), stop);
        let whole = whole(&prior)?;
        let session = self.sessions.session()?;
        let conduct = Conduct::new(&session, &whole, &private, &bounds);
        // Of what is gone nothing is kept.
        let (mut diagnostics, _, told) = conduct.ended(conduct.hold().await)?;
        diagnostics.extend(told);
        Ok(Deleted { diagnostics })
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let session = self.sessions.session()?;
        look::import(&session, &request.id, &self.schema()).await
    }
}

/// Refuses a destroy that was not allowed.
pub(in crate::resources) fn protected(prior: &Value, what: &str, effect: &str) -> Diagnostics {
    let mut problems = Diagnostics::new();
    if prior.attr("deletion_protection").as_bool() != Some(false) {
        let id = prior.attr("id").as_str().unwrap_or_default();
        problems.error_at(
            Path::root("deletion_protection"),
            format!("`{what}` `{id}` is protected"),
            format!(
                "Destroying it means: {effect}. If that is meant, set `deletion_protection = false`, apply, and destroy \
                 then."
            ),
        );
    }
    problems
}
