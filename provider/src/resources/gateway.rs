//! `nats_gateway`: the mesh that joins clusters into a supercluster, and the conductor of their changes.

mod conduct;
mod foretell;
mod hold;

use async_trait::async_trait;
use nats_config::NatsDuration;
use tfplug::{
    Attribute, CreateRequest, Created, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics,
    Failure, ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest,
    ReadResponse, Resource, Schema, UpdateRequest, Updated, Value,
};

use self::conduct::Conduct;
use super::cluster::{deletion_protection, observations, protected, read_rollout, rollout};
use super::members::{MemberRef, members_type, read_member};
use super::reading::{Reading, json_of};
use super::trust::TrustRef;
use crate::rollout::progress::Bounds;
use crate::session::SessionSlot;
use crate::timeouts::{Operation, Timeouts};
use crate::topology::{Gateway, gateway_problems};

/// How long operations may take when nothing is said.
const TIMEOUTS: Timeouts = Timeouts {
    create: NatsDuration::from_secs(600),
    update: NatsDuration::from_secs(3600),
    delete: NatsDuration::from_secs(600),
};

/// Attributes that say what is wanted; what an import finds again.
const DECLARED: [&str; 6] = ["name", "clusters", "reject_unknown", "rollout", "lost", "deletion_protection"];

/// The resource.
#[derive(Debug)]
pub struct GatewayResource {
    sessions: SessionSlot,
}

/// A block that was read.
struct Declared {
    /// `None` while something is unknown or wrong.
    gateway: Option<Gateway>,
    /// Whose; of the first cluster that is known.
    trust: Option<TrustRef>,
}

fn read(block: &Value, reading: &mut Reading) -> Declared {
    let name = reading.text(block.attr("name"), &Path::root("name"));
    let clusters = block.attr("clusters");
    let mut members = std::collections::BTreeMap::new();
    let mut trust = None;
    if reading.is_there(clusters) {
        for (key, value) in clusters.entries() {
            let path = Path::root("clusters").key(key);
            if let Some(MemberRef { trust: whose, member }) = read_member(value, &path, reading) {
                trust.get_or_insert(whose);
                members.insert(key.to_owned(), member);
            }
        }
    }
    let reject_unknown = reading.flag(block.attr("reject_unknown")).unwrap_or(true);
    let rollout = read_rollout(block.attr("rollout"), &Path::root("rollout"), reading);
    reading.flag(block.attr("lost"));
    reading.flag(block.attr("deletion_protection"));
    let gateway = name.filter(|_| reading.is_whole());
    let gateway = gateway.map(|name| Gateway { name, clusters: members, reject_unknown, rollout });
    Declared { gateway, trust }
}

fn declared_json(block: &Value) -> Option<serde_json::Value> {
    let entries = DECLARED.iter().map(|name| Some(((*name).to_owned(), json_of(block.attr(name))?)));
    entries.collect::<Option<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
}

/// A block that must be wholly known.
fn whole(block: &Value) -> Result<(TrustRef, Gateway, serde_json::Value), Diagnostics> {
    let mut reading = Reading::new();
    let Declared { gateway, trust } = read(block, &mut reading);
    match (trust, gateway, declared_json(block)) {
        (Some(trust), Some(gateway), Some(declared)) => Ok((trust, gateway, declared)),
        _ => {
            let mut problems = reading.into_problems();
            if !problems.has_errors() {
                problems.error(
                    "The gateway is not wholly known",
                    "Something that it is made from is still unknown.",
                );
            }
            Err(problems)
        }
    }
}

/// `<authority>/<name>`: the authority of any cluster, which is the same for all.
fn id(planned: &Value) -> Value {
    let authority = planned.attr("clusters").entries().find_map(|(_, one)| one.attr("authority").as_str());
    match (authority, planned.attr("name").as_str()) {
        (Some(authority), Some(name)) => format!("{authority}/{name}").into(),
        _ => Value::unknown(),
    }
}

impl GatewayResource {
    /// One that asks `sessions` for keys and connections.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Self {
        Self { sessions }
    }

    async fn apply(
        &self,
        planned: Value,
        private: &PrivateState,
        bounds: &Bounds,
    ) -> Result<Created, Failure> {
        let whole = whole(&planned)?;
        let session = self.sessions.session()?;
        let conduct = Conduct::new(&session, &whole, private, bounds);
        let (findings, private, diagnostics) = conduct.ended(conduct.run().await)?;
        let mut state = planned;
        if !state.attr("findings").is_known() {
            state.set_attr("findings", findings);
        }
        let (trust, gateway, _) = &whole;
        let state = state.with("id", format!("{}/{}", trust.name, gateway.name));
        Ok(Created { state, private, diagnostics })
    }
}

#[async_trait]
impl Resource for GatewayResource {
    fn type_name(&self) -> &str {
        "nats_gateway"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .description(
                "Joins clusters into a supercluster: it starts them together once all are staged and reach each other, \
                 and takes later changes through their servers one after the other. Destroying it stops all servers \
                 and keeps their stores.",
            )
            .attribute(Attribute::string("name").required().description("Name of the gateway. Never to be changed."))
            .attribute(
                Attribute::map("clusters", members_type())
                    .required()
                    .description("The `members` of each `nats_cluster`, by any key."),
            )
            .attribute(Attribute::bool("reject_unknown").default(true).description(
                "Whether clusters that are not listed are turned away. Then a new cluster means a rolling restart of \
                 the others; with `false` it joins without one, behind certificates and pins. Default `true`.",
            ))
            .attribute(rollout())
            .attribute(Attribute::bool("lost").description(
                "The hosts are gone for ever: a destroy then does not wait for those that do not answer. Default `false`.",
            ))
            .attribute(deletion_protection("the gateway"))
            .attribute(TIMEOUTS.attribute())
            .attribute(Attribute::string("id").computed().use_state_for_unknown().description("`<authority>/<name>`."))
            .attributes(observations())
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        read(config, &mut reading);
        let mut problems = reading.into_problems();
        problems.extend(Timeouts::problems(config));
        problems
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let mut reading = Reading::new();
        let Declared { gateway, trust } = read(&response.planned, &mut reading);
        if let Some(gateway) = &gateway {
            let found = gateway_problems(gateway, prior.is_none());
            response.diagnostics.extend(found.into_iter().map(Diagnostic::from));
        }
        if let (Some(gateway), Some(trust), Ok(session)) = (&gateway, &trust, self.sessions.session()) {
            response.diagnostics.extend(foretell::merging(&session, trust, gateway, prior.as_ref()).await);
        }
        response.diagnostics.extend(reading.into_problems());
        let name = response.planned.attr("name");
        if prior.as_ref().is_some_and(|prior| name.is_known() && prior.attr("name") != name) {
            response.diagnostics.error_at(
                Path::root("name"),
                "The name of a gateway cannot be changed",
                "It names the system to everything that refers to it. Declare a new one.",
            );
        }
        response.planned.set_attr("id", id(&response.planned));
        response.planned.set_attr("drift", Vec::<String>::new());
        let findings = prior.as_ref().map_or_else(Value::unknown, |prior| prior.attr("findings").clone());
        response.planned.set_attr("findings", findings);
        if let (Some(prior), Some(gateway)) = (&prior, &gateway) {
            response.diagnostics.extend(joining(prior, gateway));
        }
        response
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        protected(
            &request.prior,
            "nats_gateway",
            "all servers of all its clusters stop, and their stores are kept",
        )
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
        conduct::read(&session, state, private).await
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
        let is_lost = prior.attr("lost").as_bool() == Some(true);
        let conduct = Conduct::new(&session, &whole, &private, &bounds);
        // Of what is gone nothing is kept.
        let (mut diagnostics, _, told) = conduct.ended(conduct.hold(is_lost).await)?;
        diagnostics.extend(told);
        Ok(Deleted { diagnostics })
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let session = self.sessions.session()?;
        conduct::import(&session, &request.id, &self.schema()).await
    }
}

/// What a cluster that joins or a changed gate means for the servers that run.
fn joining(prior: &Value, gateway: &Gateway) -> Diagnostics {
    let known: std::collections::BTreeSet<&str> =
        prior.attr("clusters").entries().filter_map(|(_, one)| one.attr("cluster").as_str()).collect();
    let new = gateway.clusters.values().filter(|member| !known.contains(member.cluster.as_str()));
    let told = new.map(|member| {
        let how = if gateway.reject_unknown {
            "The servers of the other clusters restart one after the other, because `reject_unknown = true` makes the \
             list of clusters a setting that only a restart takes."
        } else {
            "The servers of the other clusters go on; they take the new list at their next restart."
        };
        Diagnostic::warning(format!("Cluster `{}` joins", member.cluster), how)
    });
    told.collect()
}
