//! A host's life, seen from outside: claimed, changed, looked at and asked through the agent's port, with the border
//! between those who listen there and those who act.

use std::time::Duration;

use host_state::report::{Outcome, RunStatus};
use identity::Role;
use nats_agent::roles::{Applier, ClaimState, LeaseAction};
use nats_agent::testing::{authority, caller};
use nats_agent_api::{AgentClient, ClaimBinding, Expected, Timeouts, claim};
use time::OffsetDateTime;

use crate::scripted;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_claimed_changed_and_asked_over_the_border() {
    let mut world = World::new();
    let applier_side = world.applier().await;
    let front_side = world.front().await;
    let applier = front_side.applier.as_ref();
    assert!(matches!(*applier.claim_state().borrow(), ClaimState::Open(_)));
    assert_eq!(applier.host_keys(), applier_side.applier.host_keys());

    // Claimed through the port, with the token that crossed the border.
    let address = world.listen().to_string();
    let (operator, enrollment) = (
        scripted::caller(&authority(), &Role::Operator),
        authority().enrollment("east-1".parse().unwrap(), 1),
    );
    let claimed = claim(&address, &operator, &enrollment, Duration::from_secs(5), |offer| {
        let (names, now) = (world.author.names(), OffsetDateTime::now_utc());
        let issuer = authority().issuer(&offer.host_keys, &names, now, 24 * scripted::HOUR)?;
        let claim_id = world.author.claim_id.clone();
        Ok(ClaimBinding { trust: authority().trust(), issuer, claim_id, names })
    });
    claimed.await.unwrap();
    assert!(matches!(*applier.claim_state().borrow(), ClaimState::Claimed(_)), "told before the answer");
    assert!(applier.api_identity().borrow().is_some());

    let section = world.cluster(applier, |_| {});
    let plan = applier.preview(vec![section.clone()]).await.unwrap();
    assert!(!plan.is_empty());
    let (steps, outcome, report) = world.roll(applier, vec![section.clone()]).await.unwrap();
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Running), "{report:#?}");
    assert!(steps.iter().any(|step| step.contains("start nats-server")), "{steps:?}");
    assert_eq!(applier.sections().await.unwrap(), [section]);
    assert!(
        !applier
            .lease(world.author.lease(&"2".repeat(32), LeaseAction::Acquire), caller())
            .await
            .unwrap()
            .granted
    );

    // Looked at and tunnelled through the port.
    let host_ca = authority().trust().host_ca_bundle();
    let client =
        AgentClient::connect(&address, &operator, &host_ca, Expected::default(), Timeouts::default()).await;
    let client = client.unwrap();
    let seen = client.observe().await.unwrap().report;
    assert_eq!((seen.drift, seen.findings.len()), (Vec::new(), report.findings.len()));
    assert_eq!(seen.mesh.unwrap().probed, 0);
    let tunnel = client.monitor().await.unwrap();
    assert_eq!(tunnel.server_name(), "east-1");

    let claims = world.author.claims(&[("orders", 1_800_000_000)]);
    assert!(applier.take_claims(claims.clone()).await.unwrap());
    assert!(!applier.take_claims(claims).await.unwrap(), "it is known");
    let other = world.cluster(applier, |section| section.cluster = "west".to_owned());
    let mut tampered = other.clone();
    tampered.signature = "AAAA".to_owned();
    let error = applier.preview(vec![tampered]).await.unwrap_err();
    assert!(matches!(error, nats_agent::roles::ApplierError::InvalidDocument(_)), "{error:?}");

    front_side.front.stop().await;
    applier_side.end().await;
}
