//! Each call, and each way in which an agent refuses one.

use std::time::Duration;

use host_state::report::{ApplyEvent, Outcome, RunStatus};
use identity::Role;
use nats_agent_api::fake::FakeAgent;
use nats_agent_api::order::{ApplyMode, ApplyOrder, LeaseAction, ProbeOrder, TrialOrder};
use nats_agent_api::server::{Method, ServiceError};
use nats_agent_api::{AgentClient, CallError, Expected, Timeouts};

use crate::world::{authority, caller, claims, lease, names, operator};

fn roll(sections: Vec<host_state::SignedSection>) -> ApplyOrder {
    ApplyOrder { sections, mode: ApplyMode::Roll, lease_id: String::new() }
}

#[tokio::test]
async fn sections_are_taken_in_by_the_rules_of_admission() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let client = operator(&acme, &agent.address()).await;
    assert_eq!(client.claims().await.unwrap(), None);
    let first = claims(&acme, 1, None);
    for _ in 0..2 {
        let stream = client.apply(roll(vec![first.clone()])).await.unwrap();
        let (outcome, report) = stream.finish(|_| ()).await.unwrap();
        assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Empty));
    }
    let second = claims(&acme, 2, Some(&first));
    client.apply(roll(vec![second.clone()])).await.unwrap().finish(|_| ()).await.unwrap();
    assert_eq!(client.claims().await.unwrap(), Some(second.clone()));
    let fork = claims(&acme, 3, Some(&first));
    let error = client.apply(roll(vec![fork])).await.unwrap().finish(|_| ()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "agent `{}` has a newer document: generation 3 of `nats_authority/acme` was not made from generation 2, \
             which writer 2 wrote meanwhile; refresh and apply again",
            agent.address()
        )
    );
    let mut forged = claims(&acme, 3, Some(&second));
    forged.signature = claims(&authority(2), 3, Some(&second)).signature;
    let error = client.preview(vec![forged]).await.unwrap_err();
    assert!(matches!(error, CallError::Invalid { .. }), "{error:?}");
    assert_eq!(agent.sections(), [second]);
}

#[tokio::test]
async fn each_refusal_of_an_agent_is_an_error_of_its_own() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let client = operator(&acme, &agent.address()).await;
    let word = |error: &CallError| match error {
        CallError::Denied { .. } => "denied",
        CallError::NotClaimed { .. } => "not claimed",
        CallError::Invalid { .. } => "invalid",
        CallError::Conflict { .. } => "conflict",
        CallError::Leased { .. } => "leased",
        CallError::Frozen { .. } => "frozen",
        CallError::Failed { .. } => "failed",
        CallError::Lost { .. } => "lost",
        CallError::Timeout { .. } => "timeout",
        CallError::Unreadable { .. } => "unreadable",
    };
    let text = "grün, and `why`".to_owned();
    for (refusal, expected) in [
        (ServiceError::NotClaimed(text.clone()), "not claimed"),
        (ServiceError::Invalid(text.clone()), "invalid"),
        (ServiceError::Conflict(text.clone()), "conflict"),
        (ServiceError::Leased(text.clone()), "leased"),
        (ServiceError::Frozen(text.clone()), "frozen"),
        (ServiceError::Denied(text.clone()), "denied"),
        (ServiceError::Failed(text.clone()), "failed"),
    ] {
        agent.script(|script| {
            script.fail.insert(Method::Observe, refusal.clone());
            script.fail.insert(Method::Apply, refusal);
        });
        let observed = client.observe().await.unwrap_err();
        let applied = client.apply(roll(Vec::new())).await.unwrap().finish(|_| ()).await.unwrap_err();
        assert_eq!((word(&observed), word(&applied)), (expected, expected));
        assert!(observed.to_string().contains(&text), "{observed}");
    }
}

#[tokio::test]
async fn one_holder_has_the_lease_and_a_roll_needs_it() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let client = operator(&acme, &agent.address()).await;
    let repair = |id: &str| ApplyOrder { lease_id: id.to_owned(), ..roll(Vec::new()) };
    let error = client.apply(repair("")).await.unwrap().finish(|_| ()).await.unwrap_err();
    assert!(matches!(error, CallError::Leased { .. }), "{error:?}");
    let mine = client.lease(lease(&acme, 'a', "me", LeaseAction::Acquire)).await.unwrap();
    assert!(mine.granted && mine.remaining_ms > 29_000, "{mine:?}");
    let theirs = client.lease(lease(&acme, 'b', "them", LeaseAction::Acquire)).await.unwrap();
    assert_eq!((theirs.granted, theirs.holder.as_str()), (false, "me"));
    client.apply(repair(&"a".repeat(32))).await.unwrap().finish(|_| ()).await.unwrap();
    let freed = client.lease(lease(&acme, 'a', "me", LeaseAction::Release)).await.unwrap();
    assert_eq!((freed.granted, freed.holder.as_str()), (false, ""));
    let forged = client.lease(lease(&authority(2), 'c', "x", LeaseAction::Acquire)).await.unwrap_err();
    assert!(matches!(forged, CallError::Invalid { .. }), "{forged:?}");
}

#[tokio::test]
async fn a_scripted_roll_back_comes_out_as_one() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let client = operator(&acme, &agent.address()).await;
    let outcome = Outcome::RolledBack { step: "reload nats-server".to_owned(), reason: "no".to_owned() };
    agent.script(|script| script.outcome = Some(outcome.clone()));
    let mut stream = client.apply(roll(vec![claims(&acme, 1, None)])).await.unwrap();
    let Some(ApplyEvent::Finished { outcome: found, report }) = stream.next().await.unwrap() else {
        panic!()
    };
    assert_eq!(found, outcome);
    assert_eq!(report.sections.values().next().unwrap().confirmed, None);
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn probes_tell_what_is_not_reached() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    agent.script(|script| script.unreachable = names(&["127.0.0.1:2"]));
    let client = operator(&acme, &agent.address()).await;
    let targets = vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let order = ProbeOrder { targets: targets.clone(), timeout: Duration::from_secs(1) };
    let results = client.probe(order).await.unwrap();
    let reached: Vec<_> = results.iter().map(|result| result.reached.is_ok()).collect();
    assert_eq!(reached, [true, false]);
    assert_eq!(results[1].reached, Err("connection refused".to_owned()));
    let many = ProbeOrder { targets: vec!["a:1".to_owned(); 257], timeout: Duration::from_secs(1) };
    let error = client.probe(many).await.unwrap_err();
    assert!(error.to_string().contains("at most 256 are accepted"), "{error}");
}

#[tokio::test]
async fn a_reader_reads_and_is_told_what_it_may_not() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let identity = caller(&acme, Role::Reader);
    let host_ca = acme.trust().host_ca_bundle();
    let client =
        AgentClient::connect(&agent.address(), &identity, &host_ca, Expected::default(), Timeouts::default())
            .await
            .unwrap();
    client.observe().await.unwrap();
    client.preview(Vec::new()).await.unwrap();
    let error = client.apply(roll(Vec::new())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("agent `{}` does not allow `Apply`: role `reader` may not call `Apply`", agent.address())
    );
    assert_eq!(agent.calls(), [Method::Observe, Method::Preview]);
}

#[tokio::test]
async fn a_slow_agent_times_out_and_an_unknown_trial_is_refused() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let timeouts = Timeouts { connect: Duration::from_secs(5), call: Duration::from_millis(300) };
    let (identity, host_ca) = (caller(&acme, Role::Operator), acme.trust().host_ca_bundle());
    let client = AgentClient::connect(&agent.address(), &identity, &host_ca, Expected::default(), timeouts)
        .await
        .unwrap();
    let order = TrialOrder { trial_id: "7".to_owned(), signature: String::new() };
    for result in [client.confirm(order.clone()).await, client.cancel(order).await] {
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("is not signed by this authority's document key"), "{error}");
    }
    agent.script(|script| script.delay = Duration::from_secs(2));
    let error = client.observe().await.unwrap_err();
    assert_eq!(error.to_string(), format!("agent `{}` did not answer `Observe` in time", agent.address()));
}

#[tokio::test]
async fn an_apply_runs_to_its_end_when_the_caller_has_gone() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    agent.script(|script| script.delay = Duration::from_millis(300));
    let client = operator(&acme, &agent.address()).await;
    drop(client.apply(roll(vec![claims(&acme, 1, None)])).await.unwrap());
    drop(client);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while agent.sections().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the apply was dropped with its caller");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
