//! Every create, failing at each of its steps in turn: the error says what is wrong, where, and what to do; state says
//! nothing of it; and the next apply finishes without making anything twice.
//!
//! Steps are what a create that succeeds asks of an agent, recorded anew in every run and compared with the cases in
//! [`cases`]: a step that is new has no case and fails the test.

mod cases;
mod requests;
mod world;

use futures_util::StreamExt;
use nats_agent_api::fake::{FailFrom, FakeAgent};
use nats_agent_api::server::{Method, ServiceError};
use tfplug::testing::{Action, ApplyError};

use self::cases::{Case, Effect, cases};
use self::world::{Kind, World};
use crate::rig::tells;

/// What every failing call says.
const WHY: &str = "the disk is full";
/// Words of which every error has one: what to do.
const REMEDIES: [&str; 5] = ["pply again", "An apply goes on", "Raise ", "choose others", "Check "];

/// Which agents fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The first by name, who decides claims and carries tunnels: it is gone from the step on.
    First,
    /// All, in this step alone, so that they still say how they are.
    All,
}

/// What a successful create asks of an agent, repetitions told once: each step with how many calls of the same method
/// came before it.
async fn recorded(kind: Kind, agent: usize) -> Vec<(usize, Method)> {
    let world = World::new(kind).await;
    let before = world.agents[agent].calls().len();
    let made = world.create("1m").await;
    made.unwrap_or_else(|failure| panic!("{kind:?}: {}", failure.diagnostics));
    let calls: Vec<Method> = world.agents[agent].calls().into_iter().skip(before).collect();
    // Servers and agents are asked at once and until they are well, so their order and number say nothing.
    let asks = |method: &Method| matches!(method, Method::Observe | Method::Tunnel);
    let mut steps: Vec<(usize, Method)> = Vec::new();
    for (number, method) in calls.iter().copied().enumerate() {
        let of_it = calls[..number].iter().filter(|before| **before == method).count();
        let group = steps.iter().rposition(|(_, before)| !asks(before)).map_or(0, |last| last + 1);
        let is_known = match asks(&method) {
            true => steps[group..].iter().any(|(_, before)| *before == method),
            false => steps.last().is_some_and(|(_, before)| *before == method),
        };
        if !is_known {
            steps.push((of_it, method));
            if asks(&method) {
                steps[group..].sort_by_key(|(_, method)| *method);
            }
        }
    }
    steps
}

/// One create whose calls fail from `step` on, and the one after it. Whether the first one failed.
async fn fails_from(kind: Kind, who: Who, step: usize, case: Case) {
    let method = case.method;
    let what = format!("{kind:?}: {method:?} number {step} fails for {who:?}");
    let world = World::new(kind).await;
    let failing = if who == Who::First { 1 } else { world.agents.len() };
    for agent in &world.agents[..failing] {
        let before = agent.calls().into_iter().filter(|call| *call == method).count();
        let failure = ServiceError::Failed(WHY.to_owned());
        let from = FailFrom { method, after: before + step, everything: who == Who::First, failure };
        agent.script(|script| script.fail_from = Some(from));
    }
    let created = world.create(kind.patience()).await;
    for agent in &world.agents {
        agent.script(|script| script.fail_from = None);
        agent.end_lease();
    }
    let effect = if who == Who::First { case.first } else { case.all };
    match (effect, created) {
        (Effect::Fails(words), Err(failure)) => {
            let silent = if who == Who::First || method == Method::Observe { failing } else { 0 };
            judged(&world, silent, &failure, words, &what);
        }
        (Effect::Goes, Ok(_)) => {}
        (effect, Err(failure)) => panic!("{what}: {effect:?}, and it failed: {}", failure.diagnostics),
        (effect, Ok(_)) => panic!("{what}: {effect:?}, and it did not fail"),
    }
    world.finishes(&what).await;
}

/// What holds of every failed create. The first `silent` hosts do not answer any more.
fn judged(world: &World, silent: usize, failure: &ApplyError, words: &[&str], what: &str) {
    let text = failure.diagnostics.to_string();
    assert_eq!(failure.left, None, "{what}");
    tells(&failure.diagnostics, words);
    assert!(REMEDIES.iter().any(|remedy| text.contains(remedy)), "{what}: no word of what to do in:\n{text}");
    for truths in world.truth(silent) {
        assert!(truths.iter().any(|truth| text.contains(truth)), "{what}: none of {truths:?} is in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_each_create_fails_and_the_next_apply_finishes() {
    let mut runs = Vec::new();
    for kind in Kind::ALL {
        let steps = recorded(kind, 0).await;
        let methods: Vec<Method> = steps.iter().map(|(_, method)| *method).collect();
        let cases = cases(kind);
        let known: Vec<Method> = cases.iter().map(|case| case.method).collect();
        assert_eq!(methods, known, "{kind:?}: each step of a create has a case, and each case is a step");
        for ((step, _), case) in steps.into_iter().zip(cases) {
            runs.extend([Who::First, Who::All].map(|who| (kind, who, step, *case)));
        }
    }
    let count = runs.len();
    let runs = runs.into_iter().map(|(kind, who, step, case)| fails_from(kind, who, step, case));
    // Most of each is waiting for its time to be over.
    futures_util::stream::iter(runs).buffer_unordered(16).collect::<Vec<()>>().await;
    println!("{count} failed creates");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_refused_leaves_the_host_free_and_the_others_claimed() {
    let world = World::new(Kind::Cluster).await;
    world.agents[0].script(|script| script.refuse_claim = Some(ServiceError::Failed(WHY.to_owned())));
    let failure = world.create(world.kind.patience()).await.unwrap_err();
    judged(&world, 0, &failure, &["`east-1`", WHY], "a refused claim");
    assert!(world.agents[0].claim().is_none());
    world.agents[0].script(|script| script.refuse_claim = None);
    world.finishes("a refused claim").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_do_not_reach_each_other_stay_staged_and_held() {
    for kind in [Kind::Cluster, Kind::Gateway] {
        let world = World::new(kind).await;
        let unreachable = |agent: &FakeAgent, targets: &[&str]| {
            let targets = targets.iter().map(|target| (*target).to_owned()).collect();
            agent.script(|script| script.unreachable = targets);
        };
        unreachable(&world.agents[0], &["10.0.1.2:5222", "10.0.1.2:7222"]);
        let failure = world.create(world.kind.patience()).await.unwrap_err();
        let words = ["does not reach", "10.0.1.2:", "Check routing and firewalls"];
        judged(&world, 0, &failure, &words, "hosts that do not reach each other");
        unreachable(&world.agents[0], &[]);
        world.finishes("hosts that do not reach each other").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_come_up_is_named_and_the_next_apply_releases_with_the_same_lineage() {
    for kind in [Kind::Cluster, Kind::Gateway] {
        let world = World::new(kind).await;
        world.agents[1].script(|script| script.stays_down = true);
        let failure = world.create(world.kind.patience()).await.unwrap_err();
        let name = format!("`{}`", world.hosts[1]);
        judged(&world, 0, &failure, &[&name, "Changed: "], "a server that does not come up");
        let lineages = world.lineages();
        assert_eq!(lineages.len(), 1, "{lineages:?}");
        world.agents[1].script(|script| script.stays_down = false);
        world.finishes("a server that does not come up").await;
        assert_eq!(world.lineages(), lineages, "the meta group was made anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_asks_nobody_and_fails_without_its_key() {
    use terraform_provider_nats::provider::NatsProvider;
    use tfplug::Value;
    use tfplug::testing::Harness;

    let without = Harness::new(NatsProvider::without_environment()).await.unwrap();
    without.configure(Value::object([("agents", Value::Null)])).await.unwrap();
    let block = Value::object([("name", Value::from("acme"))]);
    let failure = without.apply("nats_authority", None, block.clone()).await.unwrap_err();
    assert_eq!(failure.left, None);
    tells(&failure.diagnostics, &["There is no root key", "Set `root_key` in the provider block"]);
    let with = crate::rig::lonely().await;
    let made = with.apply("nats_authority", None, block.clone()).await.unwrap();
    assert_eq!(with.plan("nats_authority", Some(&made), block).await.unwrap().action, Action::NoOp);
}
