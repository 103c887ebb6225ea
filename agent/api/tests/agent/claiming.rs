//! Making a bare host ours, and everything that must not make it so.

use std::time::Duration;

use identity::{Authority, ClientIdentity, Enrollment, Role};
use nats_agent_api::fake::{FakeAgent, host_name, host_names};
use nats_agent_api::order::ClaimOffer;
use nats_agent_api::{AgentClient, ClaimBinding, ClaimDone, ClaimError, ConnectError, Expected, claim};
use time::OffsetDateTime;

use crate::world::{authority, caller, timeouts};

const TIMEOUT: Duration = Duration::from_secs(5);

fn binding(authority: &Authority, offer: &ClaimOffer) -> ClaimBinding {
    let names = host_names(offer.host.as_str());
    let (now, year) = (OffsetDateTime::now_utc(), Duration::from_secs(365 * 86_400));
    let issuer = authority.issuer(&offer.host_keys, &names, now, year).unwrap();
    ClaimBinding { trust: authority.trust(), issuer, claim_id: "ab".repeat(16), names }
}

async fn claimed(
    agent: &FakeAgent,
    identity: &ClientIdentity,
    enrollment: &Enrollment,
    authority: &Authority,
) -> Result<ClaimDone, ClaimError> {
    claim(&agent.address(), identity, enrollment, TIMEOUT, |offer| Ok(binding(authority, offer))).await
}

#[tokio::test]
async fn a_bare_host_is_claimed_once_and_serves_at_once() {
    let acme = authority(1);
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    let identity = caller(&acme, Role::Operator);
    let done = claimed(&agent, &identity, &enrollment, &acme).await.unwrap();
    assert_eq!(done.offer.host_keys, *agent.host_keys());
    assert_eq!(agent.claim().unwrap().claim_id, done.claim_id);

    let expected = Expected { host: Some(host_name("east-1")), pin: Some(agent.host_keys().leaf_pin()) };
    let host_ca = acme.trust().host_ca_bundle();
    let client =
        AgentClient::connect(&agent.address(), &identity, &host_ca, expected, timeouts()).await.unwrap();
    let status = client.observe().await.unwrap().report.claim.unwrap();
    assert_eq!((status.claim_id, status.generation), (done.claim_id, 1));

    let again = claimed(&agent, &identity, &enrollment, &acme).await.unwrap_err();
    assert!(matches!(again, ClaimError::Connect(ConnectError::Claimed { .. })), "{again:?}");
    assert!(!again.is_temporary());
}

#[tokio::test]
async fn a_wrong_token_claims_nothing() {
    let acme = authority(1);
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    let identity = caller(&acme, Role::Operator);
    let other = acme.enrollment(host_name("east-2"), 1);
    let wrong = Enrollment { token: other.token, ..enrollment.clone() };
    let error = claimed(&agent, &identity, &wrong, &acme).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "agent `{}` does not take the token: the token is not the one this host was enrolled with",
            agent.address()
        )
    );
    let next = acme.enrollment(host_name("east-1"), 2);
    let error = claimed(&agent, &identity, &next, &acme).await.unwrap_err();
    assert!(matches!(error, ClaimError::WrongToken { .. }), "{error:?}");
    assert_eq!(agent.claim(), None);
    // The right one still works.
    claimed(&agent, &identity, &enrollment, &acme).await.unwrap();
}

#[tokio::test]
async fn a_dead_token_is_told_from_a_wrong_one() {
    let acme = authority(1);
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    agent.script(|script| script.token_expired = true);
    let error = claimed(&agent, &caller(&acme, Role::Operator), &enrollment, &acme).await.unwrap_err();
    assert!(matches!(error, ClaimError::TokenExpired { .. }), "{error:?}");
    assert_eq!(agent.claim(), None);
}

#[tokio::test]
async fn only_an_operator_of_the_enrolments_authority_gets_to_the_proof() {
    let (acme, other) = (authority(1), authority(2));
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    for (identity, reason) in [
        (caller(&acme, Role::Reader), "it carries no role that the agent takes"),
        (caller(&other, Role::Operator), "it is not under the fleet CA that the agent trusts"),
    ] {
        let error = claimed(&agent, &identity, &enrollment, &acme).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("agent `{}` refused our certificate: {reason}", agent.address())
        );
    }
    assert_eq!(agent.claim(), None);
}

#[tokio::test]
async fn a_binding_that_does_not_fit_the_enrolment_is_refused_with_all_its_problems() {
    let (acme, other) = (authority(1), authority(2));
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    let bind = |offer: &ClaimOffer| {
        let good = binding(&other, offer);
        Ok(ClaimBinding { names: host_names("east-9"), claim_id: "short".to_owned(), ..good })
    };
    let identity = caller(&acme, Role::Operator);
    let error = claim(&agent.address(), &identity, &enrollment, TIMEOUT, bind).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "agent `{}` refused the claim: the claim does not fit the enrolment: its fleet CA is not the one of the \
             enrolment; host `east-9` is not `east-1`; its id is not 32 lower-case hex digits",
            agent.address()
        )
    );
    assert_eq!(agent.claim(), None);
}

#[tokio::test]
async fn a_binding_that_cannot_be_made_leaves_the_host_bare() {
    let acme = authority(1);
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let agent = FakeAgent::unclaimed(enrollment.clone()).await;
    let identity = caller(&acme, Role::Operator);
    let error = claim(&agent.address(), &identity, &enrollment, TIMEOUT, |_| Err("no such host".into()))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("host at `{}` cannot be bound", agent.address()));
    assert_eq!(agent.claim(), None);
    claimed(&agent, &identity, &enrollment, &acme).await.unwrap();
}

#[tokio::test]
async fn a_claimed_host_does_not_look_bare_to_its_owner() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let enrollment = acme.enrollment(host_name("east-1"), 1);
    let error = claimed(&agent, &caller(&acme, Role::Operator), &enrollment, &acme).await.unwrap_err();
    assert_eq!(error.to_string(), format!("agent `{}` is claimed already", agent.address()));
}
