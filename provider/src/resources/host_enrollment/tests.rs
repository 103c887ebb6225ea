//! The resource as Terraform drives it. What stands in its texts is the script's own test.

use tfplug::testing::{Action, Harness, Instance};
use tfplug::{PrivateState, Resource, UpdateRequest, Value};

use crate::provider::NatsProvider;

const ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const KIND: &str = "nats_host_enrollment";

async fn harness(root_key: &str) -> Harness {
    let harness = Harness::new(NatsProvider::without_environment()).await.unwrap();
    harness.configure(Value::object([("root_key", Value::from(root_key))])).await.unwrap();
    harness
}

async fn trust(harness: &Harness, fleet_ca: u64) -> Value {
    let generations = Value::object([("fleet_ca", Value::from(fleet_ca))]);
    let block = Value::object([("name", Value::from("acme")), ("generations", generations)]);
    harness.apply("nats_authority", None, block).await.unwrap().state.attr("trust").clone()
}

fn block(trust: &Value) -> Value {
    let package = [("url", Value::from("https://x.example/a.deb")), ("sha256", "ab".repeat(32).into())];
    Value::object([
        ("authority", trust.clone()),
        ("name", "east-1".into()),
        ("package", Value::object(package)),
    ])
}

fn texts(instance: &Instance) -> [String; 3] {
    super::TEXTS.map(|name| instance.state.attr(name).as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_token_is_unknown_at_plan_and_the_texts_stay_as_they_were() {
    let harness = harness(ROOT).await;
    let trust = trust(&harness, 1).await;
    let plan = harness.plan(KIND, None, block(&trust)).await.unwrap();
    assert_eq!(plan.planned.attr("id").as_str(), Some("acme/east-1/1"));
    assert!(super::TEXTS.iter().all(|name| !plan.planned.attr(name).is_known()));
    let made = harness.apply(KIND, None, block(&trust)).await.unwrap();
    let [enrollment, user_data, script] = texts(&made);
    assert!(script.contains(&format!("enrollment='{enrollment}'\n")) && user_data.contains(&enrollment));
    let again = harness.plan(KIND, Some(&made), block(&trust)).await.unwrap();
    assert_eq!((again.action, &again.planned), (Action::NoOp, &made.state));
    assert_eq!(
        texts(&harness.apply(KIND, None, block(&trust)).await.unwrap()),
        texts(&made),
        "a pure function"
    );
}

#[tokio::test]
async fn a_rotated_authority_replaces_no_machine() {
    let harness = harness(ROOT).await;
    let made = harness.apply(KIND, None, block(&trust(&harness, 1).await)).await.unwrap();
    let rotated = block(&trust(&harness, 2).await);
    let plan = harness.plan(KIND, Some(&made), rotated.clone()).await.unwrap();
    assert_eq!(plan.action, Action::Update);
    assert_eq!(
        super::TEXTS.map(|name| plan.planned.attr(name).as_str().map(str::to_owned)),
        texts(&made).map(Some)
    );
    let after = harness.apply(KIND, Some(&made), rotated.clone()).await.unwrap();
    assert_eq!(texts(&after), texts(&made));
    assert_eq!(harness.plan(KIND, Some(&after), rotated).await.unwrap().action, Action::NoOp);
}

#[tokio::test]
async fn an_authority_that_is_unknown_yet_replaces_no_machine_and_must_be_the_same() {
    let harness = harness(ROOT).await;
    let known = trust(&harness, 1).await;
    let made = harness.apply(KIND, None, block(&known)).await.unwrap();
    let of_other = known.clone().with("operator", Value::unknown()).with("revision", Value::unknown());
    for authority in [Value::unknown(), of_other] {
        let plan = harness.plan(KIND, Some(&made), block(&authority)).await.unwrap();
        for name in ["id"].iter().chain(&super::TEXTS) {
            assert_eq!(plan.planned.attr(name), made.state.attr(name), "{name}");
        }
    }
    let raised = block(&Value::unknown()).with("generation", 2);
    let plan = harness.plan(KIND, Some(&made), raised).await.unwrap();
    assert!(["id"].iter().chain(&super::TEXTS).all(|name| !plan.planned.attr(name).is_known()));
    let other_name = known.clone().with("name", "other").with("operator", Value::unknown());
    let plan = harness.plan(KIND, Some(&made), block(&other_name)).await.unwrap();
    assert!(super::TEXTS.iter().all(|name| !plan.planned.attr(name).is_known()));

    let resource = super::HostEnrollmentResource::new(crate::session::SessionSlot::default());
    let update = |authority: Value| UpdateRequest {
        prior: made.state.clone(),
        planned: made.state.clone().with("authority", authority.clone()),
        config: block(&authority),
        private: PrivateState::new(),
        stop: tfplug::Stop::new(),
    };
    let rotated = trust(&harness, 2).await;
    assert!(resource.update(update(rotated)).await.is_ok());
    let failure = resource.update(update(known.with("operator", "OB"))).await.unwrap_err();
    assert!(failure.diagnostics.to_string().contains("turned out to be another one"), "{failure:?}");
}

#[tokio::test]
async fn a_raised_generation_is_another_token_and_never_goes_down() {
    let harness = harness(ROOT).await;
    let first = block(&trust(&harness, 1).await);
    let made = harness.apply(KIND, None, first.clone()).await.unwrap();
    let second = first.clone().with("generation", 2);
    let plan = harness.plan(KIND, Some(&made), second.clone()).await.unwrap();
    assert_eq!(plan.action, Action::Update);
    assert!(super::TEXTS.iter().all(|name| !plan.planned.attr(name).is_known()));
    let after = harness.apply(KIND, Some(&made), second).await.unwrap();
    assert_eq!(after.state.attr("id").as_str(), Some("acme/east-1/2"));
    assert!(texts(&after).iter().zip(texts(&made)).all(|(after, before)| *after != before));
    let problems = harness.plan(KIND, Some(&after), first).await.unwrap_err().to_string();
    assert!(problems.contains("Generations only count up"), "{problems}");
}

#[tokio::test]
async fn an_import_plans_empty() {
    let harness = harness(ROOT).await;
    let full = block(&trust(&harness, 1).await).with("listen", "[fd00::1]:8442");
    let mut plain = full.clone();
    plain.set_attr("package", Value::Null);
    plain.set_attr("listen", Value::Null);
    let sum = "ab".repeat(32);
    let json = serde_json::json!({
        "id": "acme/east-1/1", "listen": "[fd00::1]:8442",
        "package": { "url": "https://x.example/a.deb", "sha256": sum },
    });
    for (id, block) in [("acme/east-1/1".to_owned(), plain), (json.to_string(), full)] {
        let made = harness.apply(KIND, None, block.clone()).await.unwrap();
        let imported = harness.import(KIND, &id).await.unwrap();
        assert_eq!(imported.state, made.state, "{id}");
        assert_eq!(harness.plan(KIND, Some(&imported), block).await.unwrap().action, Action::NoOp);
    }
    let rotated = block(&trust(&harness, 2).await);
    let made = harness.apply(KIND, None, rotated).await.unwrap();
    let id = serde_json::json!({
        "id": "acme/east-1/1", "fleet_ca": 2, "package": { "url": "https://x.example/a.deb", "sha256": sum },
    });
    assert_eq!(harness.import(KIND, &id.to_string()).await.unwrap().state, made.state);
    for (id, why) in [
        ("{\"id\":\"acme/east-1/1\",\"fleet_ca\":0}", "`fleet_ca`"),
        ("east-1/1", "it has the form `<authority>/<name>/<generation>`"),
        ("acme/east-1/0", "it has the form `<authority>/<name>/<generation>`"),
        ("{\"name\":1}", "As JSON it is an object of `id`"),
    ] {
        let problems = harness.import(KIND, id).await.unwrap_err().to_string();
        assert!(problems.contains(why), "{problems}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_its_place() {
    let harness = harness(ROOT).await;
    let trust = trust(&harness, 1).await;
    let package = |url: &str, sum: &str| Value::object([("url", Value::from(url)), ("sha256", sum.into())]);
    let sum = "ab".repeat(32);
    for (name, value, why) in [
        ("name", "East 1".into(), "`name` cannot be used (at name)"),
        ("generation", 0.into(), "`generation` cannot be used (at generation)"),
        ("listen", "8442".into(), "`listen` cannot be used (at listen)"),
        ("package", package("https://x/a.tar.gz", &sum), "`url` names no package (at package.url)"),
        ("package", package("ftp://x/a.deb", &sum), "`url` cannot be used (at package.url)"),
        ("package", package("https://x/a.deb", "12"), "`sha256` cannot be used (at package.sha256)"),
    ] {
        let problems =
            harness.plan(KIND, None, block(&trust).with(name, value)).await.unwrap_err().to_string();
        assert!(problems.contains(why), "{problems}");
    }
    let other = self::harness("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyE=").await;
    let problems = other.plan(KIND, None, block(&trust)).await.unwrap_err().to_string();
    assert!(problems.contains("This is not the root key of authority `acme` (at authority)"), "{problems}");
}

#[tokio::test]
async fn a_destroy_forgets() {
    let harness = harness(ROOT).await;
    let made = harness.apply(KIND, None, block(&trust(&harness, 1).await)).await.unwrap();
    harness.destroy(KIND, &made).await.unwrap();
}
