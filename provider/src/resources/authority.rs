//! `nats_authority`: operator, certificate authorities and account keys of one supercluster, all derived from the
//! root key. Dials nobody.

use async_trait::async_trait;
use identity::{AuthorityName, Trust};
use tfplug::{
    Attribute, CreateRequest, Created, DeleteRequest, Deleted, Diagnostic, Diagnostics, Failure,
    ImportRequest, Imported, Path, PlanRequest, PlanResponse, PrivateState, ReadRequest, ReadResponse,
    Resource, Schema, UpdateRequest, Updated, Value,
};

use super::reading::Reading;
use super::trust::{self, GENERATIONS, trust_type, trust_value};
use crate::keys::Keys;
use crate::session::SessionSlot;

/// The resource.
#[derive(Debug)]
pub struct AuthorityResource {
    sessions: SessionSlot,
}

impl AuthorityResource {
    /// One that asks `sessions` for the root key.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Self {
        Self { sessions }
    }

    /// The public side of what `block` declares; `None` when the root key or something in the block is not known.
    fn trust(&self, block: &Value) -> Result<Option<Trust>, Diagnostics> {
        let mut reading = Reading::new();
        let name = reading.text::<AuthorityName>(block.attr("name"), &Path::root("name"));
        let generations =
            trust::generations(block.attr("generations"), &Path::root("generations"), &mut reading);
        let (true, Some(name), Some(generations)) = (reading.is_whole(), name, generations) else {
            let problems = reading.into_problems();
            return if problems.has_errors() { Err(problems) } else { Ok(None) };
        };
        let session = self.sessions.session()?;
        match session.keys() {
            Keys::Root(_) => Ok(Some(session.authority(&name, generations)?.trust())),
            Keys::Account(_) | Keys::Reader(_) | Keys::Unknown | Keys::Missing => Ok(None),
        }
    }

    /// The state to keep after an apply.
    fn made(&self, planned: Value) -> Result<Value, Failure> {
        let Some(trust) = self.trust(&planned)? else {
            let session = self.sessions.session()?;
            let name: AuthorityName = planned
                .attr("name")
                .as_str()
                .unwrap_or_default()
                .parse()
                .map_err(|why| Failure::new("The authority's name cannot be used", format!("{why}.")))?;
            // Says which of the two it is and what to do.
            return Err(session
                .authority(&name, identity::Generations::default())
                .err()
                .unwrap_or_else(|| Diagnostic::error("The authority is not wholly known", "Apply again."))
                .into());
        };
        Ok(planned.with("id", trust.authority.as_str()).with("trust", trust_value(&trust)))
    }
}

/// What may not differ between what is kept and what the root key gives: identities, which are for ever.
fn wrong_root_key(prior: &Value, trust: &Trust) -> Option<Diagnostic> {
    let kept = prior.attr("trust");
    let identities = [
        ("operator", trust.operator.as_str()),
        ("system_account", trust.system_account.as_str()),
        ("probe_account", trust.probe_account.as_str()),
    ];
    let differs =
        |(name, derived): &(&str, &str)| kept.attr(name).as_str().is_some_and(|kept| kept != *derived);
    let (name, derived) = identities.into_iter().find(differs)?;
    let kept = kept.attr(name).as_str().unwrap_or_default();
    Some(
        Diagnostic::error(
            format!("This is not the root key of authority `{}`", trust.authority),
            format!(
                "State knows its {} as `{kept}`, and this root key gives `{derived}`. Identities name directories \
                 on the servers' disks and are for ever: with other ones every stream would be lost. Use the root \
                 key that the authority was made with.",
                name.replace('_', " ")
            ),
        )
        .at(Path::root("name")),
    )
}

/// What is wrong with generations that go down, or up by more than one: only two that follow each other overlap.
fn generation_problems(prior: &Value, planned: &Value) -> Diagnostics {
    let path = Path::root("generations");
    let mut reading = Reading::new();
    let before = trust::generations(prior.attr("generations"), &path, &mut reading);
    let after = trust::generations(planned.attr("generations"), &path, &mut reading);
    let Some((before, after)) = before.zip(after) else { return Diagnostics::new() };
    let pairs = trust::counts(before).into_iter().zip(trust::counts(after));
    let problem = |(name, (before, after)): (&str, (u32, u32))| {
        let detail = if after < before {
            format!("It was {before} and would be {after}. A key that was given up is not used again.")
        } else if after - before > 1 {
            format!(
                "It was {before} and would be {after}. Each generation is trusted together with the one before it only: \
                 apply {} first.",
                before + 1
            )
        } else {
            return None;
        };
        Some(Diagnostic::error("Generations count up one by one", detail).at(path.attr(name)))
    };
    GENERATIONS.into_iter().zip(pairs).filter_map(problem).collect()
}

#[async_trait]
impl Resource for AuthorityResource {
    fn type_name(&self) -> &str {
        "nats_authority"
    }

    fn schema(&self) -> Schema {
        let generation = |name: &str, of: &str| {
            Attribute::number(name).description(format!("Generation of {of}, from 1. Default 1."))
        };
        Schema::new(0)
            .description(
                "The operator, certificate authorities and account keys of one supercluster, all derived from the \
                 provider's root key. State holds public keys, certificates and JWTs only. Dials nobody.",
            )
            .attribute(
                Attribute::string("name")
                    .required()
                    .description("Lower-case DNS label, 1 to 63 characters. Part of every key, so never to be changed."),
            )
            .attribute(
                Attribute::object(
                    "generations",
                    [
                        generation(GENERATIONS[0], "the operator's signing key"),
                        generation(GENERATIONS[1], "the signing key of the system and probe account"),
                        generation(GENERATIONS[2], "the certificate authority of callers"),
                        generation(GENERATIONS[3], "the certificate authority of hosts"),
                        generation(GENERATIONS[4], "the key that signs documents"),
                    ],
                )
                .description(
                    "Raise one to rotate that key. The generation before stays trusted until the next rotation.",
                ),
            )
            .attribute(
                Attribute::string("id").computed().use_state_for_unknown().description("The authority's name."),
            )
            .attribute(Attribute::new("trust", trust_type()).computed().description(
                "The public side of the authority, for `nats_cluster` and `nats_host_enrollment`: `name`, `operator`, \
                 `operator_jwt`, `system_account`, `system_account_jwt`, `probe_account`, `probe_account_jwt`, \
                 `fleet_ca` and `host_ca` (PEM), `document_key`, `generations`, and `revision`, which changes with \
                 any of them.",
            ))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut reading = Reading::new();
        reading.text::<AuthorityName>(config.attr("name"), &Path::root("name"));
        trust::generations(config.attr("generations"), &Path::root("generations"), &mut reading);
        reading.into_problems()
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        let prior = request.prior.clone();
        let mut response = PlanResponse::from(request);
        let name = response.planned.attr("name").clone();
        if let Some(prior) = &prior
            && name.is_known()
            && prior.attr("name") != &name
        {
            let problem = Diagnostic::error(
                "An authority cannot be renamed",
                "Its name is part of every key, and another name is another authority. Declare a new one.",
            );
            response.diagnostics.push(problem.at(Path::root("name")));
            return response;
        }
        response.planned.set_attr("id", name);
        if let Some(prior) = &prior {
            response.diagnostics.extend(generation_problems(prior, &response.planned));
        }
        match self.trust(&response.planned) {
            Err(problems) => response.diagnostics.extend(problems),
            Ok(Some(trust)) => {
                if let Some(problem) = prior.as_ref().and_then(|prior| wrong_root_key(prior, &trust)) {
                    response.diagnostics.push(problem);
                }
                response.planned.set_attr("trust", trust_value(&trust));
            }
            Ok(None) => {
                // Without the key nothing can have changed that the block does not say.
                let same = |prior: &&Value| prior.attr("generations") == response.planned.attr("generations");
                let kept = prior.as_ref().filter(same).map(|prior| prior.attr("trust").clone());
                response.planned.set_attr("trust", kept.unwrap_or_else(Value::unknown));
            }
        }
        response
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let CreateRequest { planned, private, .. } = request;
        Ok(Created { state: self.made(planned)?, private, diagnostics: Diagnostics::new() })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let ReadRequest { mut state, private, stop: _ } = request;
        if state.attr("trust").is_null() {
            match self.made(state.clone()) {
                Ok(made) => state = made,
                Err(failure) => return ReadResponse::unanswered(failure.diagnostics),
            }
        }
        ReadResponse::found(state, private)
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let UpdateRequest { planned, private, .. } = request;
        Ok(Updated { state: self.made(planned)?, private, diagnostics: Diagnostics::new() })
    }

    async fn delete(&self, _request: DeleteRequest) -> Result<Deleted, Failure> {
        // Everything derives from the root key, so there is nothing to remove.
        Ok(Deleted::default())
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        let name: AuthorityName = request.id.parse().map_err(|why| {
            Failure::new(format!("`{}` is no authority name", request.id), format!("{why}."))
        })?;
        let state = self.made(Value::object([("name", Value::from(name.as_str()))]))?;
        Ok(Imported { state, private: PrivateState::new(), diagnostics: Diagnostics::new() })
    }
}
