//! Claiming a host over real TLS: what opens the door, and everything that does not.

use std::time::Duration;

use identity::{Authority, Role};
use nats_agent_api::{
    AgentClient, ClaimBinding, ClaimDone, ClaimError, ConnectError, Expected, Timeouts, claim,
};
use time::OffsetDateTime;

use crate::scripted::{HOUR, Scripted, authority, caller};

const HOST: &str = "east-1";
const CLAIM_ID: &str = "00112233445566778899aabbccddeeff";

/// Claims the host at `address` as `by`, with a token of `token_of`, over a certificate of `role`.
async fn attempt(
    address: &str,
    by: &Authority,
    token_of: &Authority,
    role: Role,
) -> Result<ClaimDone, ClaimError> {
    let enrollment = token_of.enrollment(HOST.parse().unwrap(), 1);
    let ip = address.split(':').next().unwrap();
    claim(address, &caller(by, &role), &enrollment, Duration::from_secs(5), |offer| {
        let names = Scripted::names(HOST, ip);
        let issuer = by.issuer(&offer.host_keys, &names, OffsetDateTime::now_utc(), 24 * HOUR)?;
        Ok(ClaimBinding { trust: by.trust(), issuer, claim_id: CLAIM_ID.to_owned(), names })
    })
    .await
}

fn far() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + 3600
}

async fn connect(address: &str, by: &Authority, role: Role) -> Result<AgentClient, ConnectError> {
    let timeouts = Timeouts { connect: Duration::from_secs(5), call: Duration::from_secs(5) };
    let host_ca = by.trust().host_ca_bundle();
    AgentClient::connect(address, &caller(by, &role), &host_ca, Expected::default(), timeouts).await
}

#[tokio::test]
async fn a_host_is_claimed_once_and_then_serves_its_authority() {
    let (acme, folder, host) = (authority(1), tempfile::tempdir().unwrap(), Scripted::new(1));
    host.open_door(&acme, HOST, far());
    let address = "127.72.1.1:8442";
    let front = host.serve(address, folder.path()).await;

    let early = connect(address, &acme, Role::Operator).await.unwrap_err();
    assert!(matches!(early, ConnectError::NotClaimed { .. }), "{early}");

    let done = attempt(address, &acme, &acme, Role::Operator).await.unwrap();
    assert_eq!((done.claim_id.as_str(), done.offer.host.as_str()), (CLAIM_ID, HOST));
    assert_eq!(done.offer.host_keys, host.secret.keys());

    let client = connect_soon(address, &acme, Role::Operator).await;
    assert_eq!(client.observe().await.unwrap().report.agent_version, "0.0.0");

    let again = attempt(address, &acme, &acme, Role::Operator).await.unwrap_err();
    assert!(matches!(again, ClaimError::Connect(ConnectError::Claimed { .. })), "{again}");
    front.stop().await;
}

/// The listener changes over within a moment of the claim.
async fn connect_soon(address: &str, by: &Authority, role: Role) -> AgentClient {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match connect(address, by, role.clone()).await {
            Ok(client) => return client,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn a_wrong_token_or_caller_claims_nothing() {
    let (acme, other) = (authority(1), authority(101));
    let (folder, host) = (tempfile::tempdir().unwrap(), Scripted::new(2));
    host.open_door(&acme, HOST, far());
    let address = "127.72.1.2:8442";
    let front = host.serve(address, folder.path()).await;

    let token = attempt(address, &acme, &other, Role::Operator).await.unwrap_err();
    assert!(matches!(token, ClaimError::WrongToken { .. }), "{token}");
    let fleet_ca = attempt(address, &other, &acme, Role::Operator).await.unwrap_err();
    assert!(matches!(fleet_ca, ClaimError::Connect(ConnectError::Refused { .. })), "{fleet_ca}");
    let reader = attempt(address, &acme, &acme, Role::Reader).await.unwrap_err();
    assert!(matches!(reader, ClaimError::Connect(ConnectError::Refused { .. })), "{reader}");
    assert!(host.identity.borrow().is_none(), "nothing was bound");

    attempt(address, &acme, &acme, Role::Operator).await.unwrap();
    front.stop().await;
}

#[tokio::test]
async fn a_dead_token_says_what_to_do() {
    let (acme, folder, host) = (authority(1), tempfile::tempdir().unwrap(), Scripted::new(3));
    host.open_door(&acme, HOST, OffsetDateTime::now_utc().unix_timestamp() - 1);
    let address = "127.72.1.3:8442";
    let front = host.serve(address, folder.path()).await;
    let error = attempt(address, &acme, &acme, Role::Operator).await.unwrap_err();
    let text = "agent `127.72.1.3:8442` does not take the token any more: the enrolment token has died; \
                run `nats-agent enroll` on the host, or enrol it anew";
    assert_eq!(error.to_string(), text);
    front.stop().await;
}

#[tokio::test]
async fn a_closed_door_closes_the_connection_and_opens_without_a_restart() {
    let (acme, folder, host) = (authority(1), tempfile::tempdir().unwrap(), Scripted::new(4));
    let address = "127.72.1.4:8442";
    let front = host.serve(address, folder.path()).await;
    let shut = attempt(address, &acme, &acme, Role::Operator).await.unwrap_err();
    assert!(matches!(shut, ClaimError::Connect(ConnectError::Closed { .. })), "{shut}");
    assert!(shut.is_temporary());

    host.open_door(&acme, HOST, far());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = attempt(address, &acme, &acme, Role::Operator).await {
        assert!(tokio::time::Instant::now() < deadline && error.is_temporary(), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    front.stop().await;
}
