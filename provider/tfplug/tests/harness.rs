//! The harness drives a provider whose resource misbehaves on demand: each broken rule is caught, said to
//! be the provider's fault, and leaves truthful state.

#![expect(clippy::unwrap_used, reason = "a test may end on any surprise")]

use std::sync::Arc;

use async_trait::async_trait;
use tfplug::testing::{Action, Harness, Instance};
use tfplug::{
    Attribute, ConfigureRequest, CreateRequest, Created, DeleteRequest, Deleted, Diagnostics, Failure,
    ImportRequest, Imported, MoveRequest, Moved, Path, PlanRequest, PlanResponse, PrivateState, Provider,
    ReadRequest, ReadResponse, Resource, Schema, UpdateRequest, Updated, Value,
};

/// What the resource does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    PlansAnotherName,
    PlansWrongType,
    PlansReplacementOfNothing,
    PlansSomethingNewEachTime,
    CreatesAnotherName,
    CreatesUnknown,
    CreatesNothing,
    CreateFails,
    UpdateFails,
    UpdateFailsHalfWay,
    UpdateReturnsAnotherName,
    DeleteFails,
    ReadFindsNobody,
    ReadReturnsUnknown,
    ReadLeaksSecret,
    ImportFindsNothing,
    Panics,
}

struct Faulty(Fault);

#[async_trait]
impl Provider for Faulty {
    fn schema(&self) -> Schema {
        Schema::new(0).attribute(Attribute::string("region").required())
    }

    fn resources(&self) -> Vec<Arc<dyn Resource>> {
        vec![Arc::new(Thing(self.0))]
    }

    async fn configure(&self, _: ConfigureRequest) -> Diagnostics {
        Diagnostics::new()
    }
}

struct Thing(Fault);

fn made(planned: Value) -> Value {
    planned.with("id", "made")
}

#[async_trait]
impl Resource for Thing {
    fn type_name(&self) -> &str {
        "faulty_thing"
    }

    fn schema(&self) -> Schema {
        Schema::new(3)
            .attribute(Attribute::string("id").computed().use_state_for_unknown())
            .attribute(Attribute::string("stamp").computed().use_state_for_unknown())
            .attribute(Attribute::string("name").required())
            .attribute(Attribute::string("kind").optional().requires_replace())
            .attribute(Attribute::string("secret").write_only())
    }

    async fn plan(&self, request: PlanRequest) -> PlanResponse {
        assert!(self.0 != Fault::Panics, "planned to panic");
        let mut plan = PlanResponse::from(request);
        match self.0 {
            Fault::PlansAnotherName => plan.planned.set_attr("name", "other"),
            Fault::PlansWrongType => plan.planned.set_attr("id", true),
            Fault::PlansReplacementOfNothing => plan.requires_replace.push(Path::root("nothing")),
            Fault::PlansSomethingNewEachTime => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                plan.planned.set_attr("stamp", format!("{now:?}"));
            }
            _ => plan.planned.set_attr("stamp", "s"),
        }
        plan
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        assert_eq!(request.config.attr("secret").as_str(), Some("hush"), "write-only values reach apply");
        assert!(request.planned.attr("secret").is_null());
        let state = match self.0 {
            Fault::CreatesAnotherName => made(request.planned).with("name", "other"),
            Fault::CreatesUnknown => request.planned,
            Fault::CreatesNothing => Value::Null,
            Fault::CreateFails => {
                return Err(Failure::new("No room", "").with_state(made(request.planned)));
            }
            // Leaking the secret is not a fault: it is nulled on the way out.
            _ => made(request.planned).with("secret", "hush"),
        };
        Ok(Created { state, private: b"p1".to_vec().into(), diagnostics: Diagnostics::new() })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let ReadRequest { state, private, stop: _ } = request;
        match self.0 {
            Fault::ReadFindsNobody => {
                let mut found = Diagnostics::new();
                found.warning("Host does not answer", "State is kept.");
                ReadResponse::unanswered(found)
            }
            Fault::ReadReturnsUnknown => ReadResponse::found(state.with("id", Value::unknown()), private),
            Fault::ReadLeaksSecret => ReadResponse::found(state.with("secret", "hush"), private),
            Fault::ImportFindsNothing => ReadResponse::gone(),
            _ => ReadResponse::found(state, private),
        }
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let half = request.prior.clone().with("stamp", "half");
        let state = match self.0 {
            Fault::UpdateFails => return Err(Failure::new("Refused", "")),
            Fault::UpdateFailsHalfWay => {
                let progress = PrivateState::from(b"half".to_vec());
                return Err(Failure::new("Stopped half-way", "").with_state(half).with_private(progress));
            }
            Fault::UpdateReturnsAnotherName => request.planned.with("name", "other"),
            _ => request.planned,
        };
        Ok(Updated { state, private: request.private, diagnostics: Diagnostics::new() })
    }

    async fn delete(&self, _: DeleteRequest) -> Result<Deleted, Failure> {
        match self.0 {
            Fault::DeleteFails => Err(Failure::new("Still in use", "")),
            _ => Ok(Deleted::default()),
        }
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        Ok(Value::object([("id", Value::from("made")), ("name", request.id.into())]).into())
    }

    async fn move_state(&self, request: MoveRequest) -> Result<Moved, Failure> {
        let name = String::from_utf8(request.source_json).unwrap_or_default();
        let state = Value::object([("name", Value::from(name))]);
        Ok(Moved { state, private: request.source_private, diagnostics: Diagnostics::new() })
    }
}

const THING: &str = "faulty_thing";

fn config(name: &str) -> Value {
    Value::object([("name", Value::from(name)), ("secret", "hush".into())])
}

async fn harness(fault: Fault) -> Harness {
    let harness = Harness::new(Faulty(fault)).await.unwrap();
    harness.configure(Value::object([("region", Value::from("x"))])).await.unwrap();
    harness
}

/// An object as a well-behaved provider leaves it.
async fn healthy() -> Instance {
    harness(Fault::None).await.apply(THING, None, config("one")).await.unwrap()
}

#[tokio::test]
async fn a_good_resource_lives_its_whole_life() {
    let harness = harness(Fault::None).await;
    let one = harness.apply(THING, None, config("one")).await.unwrap();
    assert_eq!(one.state.attr("id").as_str(), Some("made"));
    assert!(one.state.attr("secret").is_null(), "nulled on the way out");
    assert_eq!(one.private.as_bytes(), b"p1");
    assert_eq!(harness.plan(THING, Some(&one), config("one")).await.unwrap().action, Action::NoOp);
    assert_eq!(harness.plan(THING, Some(&one), config("two")).await.unwrap().action, Action::Update);
    let replaced = harness.plan(THING, Some(&one), config("one").with("kind", "k")).await.unwrap();
    assert_eq!((replaced.action, replaced.requires_replace), (Action::Replace, vec![Path::root("kind")]));
    let two = harness.apply(THING, Some(&one), config("two")).await.unwrap();
    assert_eq!(harness.read(THING, &two).await.unwrap().0, Some(two.clone()));
    harness.destroy(THING, &two).await.unwrap();
    let imported = harness.import(THING, "seven").await.unwrap();
    assert_eq!(imported.state.attr("name").as_str(), Some("seven"));
    let moved = harness.move_state(THING, "other_thing", "eight").await.unwrap();
    assert_eq!(moved.state.attr("name").as_str(), Some("eight"));
    let upgraded = harness.upgrade(THING, 1, r#"{"name":"old","dropped":1}"#).await.unwrap();
    assert_eq!(upgraded.attr("name").as_str(), Some("old"));
    let error = harness.upgrade(THING, 1, r#"{"name":[]}"#).await.unwrap_err().to_string();
    assert!(error.contains("schema version 1; this provider has version 3: `name` is an array"), "{error}");
    assert_eq!(harness.offers().await, ["faulty_thing"]);
}

#[tokio::test]
async fn blocks_are_checked_like_core_does() {
    let harness = harness(Fault::None).await;
    let error = harness.validate(THING, Value::object([("id", Value::from("x"))])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: Value for unconfigurable attribute (at id)\nerror: Missing required argument (at name)"
    );
}

#[tokio::test]
async fn every_broken_plan_is_caught() {
    for (fault, expected) in [
        (Fault::PlansAnotherName, r#"name: is planned `"other"`, but configured `"one"`"#),
        (Fault::PlansWrongType, "id: is bool, but the schema says string"),
        (Fault::PlansReplacementOfNothing, "nothing: asks for replacement, but is no attribute"),
        (Fault::Panics, "while answering plan_resource_change"),
    ] {
        let error = harness(fault).await.plan(THING, None, config("one")).await.unwrap_err().to_string();
        assert!(error.contains("Bug in the provider") && error.contains(expected), "{fault:?}: {error}");
        assert!(error.contains("not caused by your configuration"), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_plan_that_changes_between_plan_and_apply_is_caught() {
    let error = harness(Fault::PlansSomethingNewEachTime).await.apply(THING, None, config("one")).await;
    let error = error.unwrap_err().diagnostics.to_string();
    assert!(error.contains("Provider produced inconsistent final plan (at stamp)"), "{error}");
}

#[tokio::test]
async fn a_failed_or_broken_create_leaves_no_state() {
    for (fault, expected) in [
        (Fault::CreatesAnotherName, r#"name: was `"one"`, but now `"other"`"#),
        (Fault::CreatesUnknown, "id: is unknown where all must be known"),
        (Fault::CreatesNothing, "the state is null"),
        (Fault::CreateFails, "No room"),
    ] {
        let error = harness(fault).await.apply(THING, None, config("one")).await.unwrap_err();
        assert_eq!(error.left, None, "{fault:?}");
        assert!(error.diagnostics.to_string().contains(expected), "{fault:?}: {}", error.diagnostics);
    }
}

#[tokio::test]
async fn a_failed_or_broken_update_leaves_the_truth() {
    let one = healthy().await;
    for (fault, expected) in [
        (Fault::UpdateFails, "Refused"),
        (Fault::UpdateReturnsAnotherName, r#"name: was `"two"`, but now `"other"`"#),
    ] {
        let error = harness(fault).await.apply(THING, Some(&one), config("two")).await.unwrap_err();
        assert_eq!(error.left, Some(one.clone()), "{fault:?}");
        assert!(error.diagnostics.to_string().contains(expected), "{fault:?}: {}", error.diagnostics);
    }
    let half = harness(Fault::UpdateFailsHalfWay).await.apply(THING, Some(&one), config("two")).await;
    let left = half.unwrap_err().left.unwrap();
    assert_eq!(left.state.attr("stamp").as_str(), Some("half"));
    assert_eq!(left.state.attr("name").as_str(), Some("one"));
    assert_eq!(left.private.as_bytes(), b"half");
    let error = harness(Fault::DeleteFails).await.destroy(THING, &one).await.unwrap_err();
    assert_eq!(error.left, Some(one));
    assert_eq!(error.diagnostics.to_string(), "error: Still in use");
}

#[tokio::test]
async fn reads_tell_unanswered_from_gone() {
    let one = healthy().await;
    let (kept, found) = harness(Fault::ReadFindsNobody).await.read(THING, &one).await.unwrap();
    assert_eq!(kept, Some(one.clone()));
    assert_eq!(found.to_string(), "warning: Host does not answer: State is kept.");
    let (clean, _) = harness(Fault::ReadLeaksSecret).await.read(THING, &one).await.unwrap();
    assert_eq!(clean, Some(one.clone()));
    let error = harness(Fault::ReadReturnsUnknown).await.read(THING, &one).await.unwrap_err().to_string();
    assert!(error.contains("id: is unknown where all must be known"), "{error}");
    let error = harness(Fault::ImportFindsNothing).await.import(THING, "x").await.unwrap_err();
    assert_eq!(error.to_string(), "error: Cannot import non-existent remote object");
}

#[tokio::test]
async fn a_broken_schema_is_refused_with_all_its_problems() {
    struct Broken;
    #[async_trait]
    impl Provider for Broken {
        fn schema(&self) -> Schema {
            Schema::new(0).attribute(Attribute::string("Bad")).attribute(Attribute::string("wo").write_only())
        }
        fn resources(&self) -> Vec<Arc<dyn Resource>> {
            Vec::new()
        }
        async fn configure(&self, _: ConfigureRequest) -> Diagnostics {
            Diagnostics::new()
        }
    }
    let error = Harness::new(Broken).await.err().unwrap().to_string();
    assert!(error.contains("`Bad` is no name") && error.contains("`wo` is write-only outside"), "{error}");
}
