//! Which agents are taken for the one that is meant, and what is said of the others.

use std::time::Duration;

use identity::{Authority, Role};
use nats_agent_api::fake::{FakeAgent, host_name};
use nats_agent_api::{AgentClient, ConnectError, Expected};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::world::{authority, caller, timeouts};

async fn connect(
    address: &str,
    identity_of: &Authority,
    roots_of: &Authority,
    host: Option<&str>,
    pin: Option<String>,
) -> Result<AgentClient, ConnectError> {
    let identity = caller(identity_of, Role::Operator);
    let expected = Expected { host: host.map(host_name), pin };
    let host_ca = roots_of.trust().host_ca_bundle();
    AgentClient::connect(address, &identity, &host_ca, expected, timeouts()).await
}

#[tokio::test]
async fn the_right_host_is_taken_by_name_key_both_or_authority_alone() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let pin = agent.host_keys().leaf_pin();
    for (host, pin) in
        [(None, None), (Some("east-1"), None), (None, Some(pin.clone())), (Some("east-1"), Some(pin))]
    {
        let client = connect(&agent.address(), &acme, &acme, host, pin).await.unwrap();
        let observation = client.observe().await.unwrap();
        assert_eq!(observation.report.claim.unwrap().host, "east-1");
    }
}

#[tokio::test]
async fn another_host_and_another_key_are_named() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let address = agent.address();
    let error = connect(&address, &acme, &acme, Some("east-2"), None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("agent `{address}` is host `east-1`, not `east-2`"));
    let pin = "0".repeat(64);
    let error = connect(&address, &acme, &acme, Some("east-1"), Some(pin.clone())).await.unwrap_err();
    let ConnectError::WrongKey { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected, found), (pin, agent.host_keys().leaf_pin()));
}

#[tokio::test]
async fn another_authority_is_refused_from_both_sides() {
    let (acme, other) = (authority(1), authority(2));
    let agent = FakeAgent::claimed(&other, "east-1").await;
    let address = agent.address();
    let error = connect(&address, &acme, &acme, Some("east-1"), None).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error:?}");
    assert!(!error.is_temporary());
    // Somebody who knows the host CA and has another authority's certificate.
    let error = connect(&address, &acme, &other, Some("east-1"), None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "agent `{address}` refused our certificate: it is not under the fleet CA that the agent trusts"
        )
    );
    assert_eq!(agent.calls(), []);
}

#[tokio::test]
async fn a_long_chain_is_refused_unread() {
    let (acme, other) = (authority(1), authority(2));
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let host_ca = acme.trust().host_ca_bundle();
    let connect = async |above: usize| {
        let mut identity = caller(&acme, Role::Operator);
        let more = caller(&other, Role::Operator).chain;
        identity.chain.extend(std::iter::repeat_n(more, above).flatten());
        AgentClient::connect(&agent.address(), &identity, &host_ca, Expected::default(), timeouts()).await
    };
    connect(2).await.unwrap().observe().await.unwrap();
    let error = connect(3).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn an_expired_leaf_is_taken_for_exactly_the_pinned_key() {
    let acme = authority(1);
    let (then, hour) = (OffsetDateTime::now_utc() - Duration::from_secs(86_400), Duration::from_secs(3600));
    let agent = FakeAgent::claimed_at(&acme, "east-1", then, hour).await;
    let (address, pin) = (agent.address(), agent.host_keys().leaf_pin());
    let error = connect(&address, &acme, &acme, Some("east-1"), None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Expired { .. }), "{error:?}");
    let error = connect(&address, &acme, &acme, Some("east-1"), Some("0".repeat(64))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Expired { .. }), "{error:?}");
    // The pin forgives the time and nothing else.
    let error = connect(&address, &acme, &acme, Some("east-2"), Some(pin.clone())).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongHost { .. }), "{error:?}");
    let error = connect(&address, &acme, &authority(2), Some("east-1"), Some(pin.clone())).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongAuthority { .. }), "{error:?}");
    let client = connect(&address, &acme, &acme, Some("east-1"), Some(pin)).await.unwrap();
    client.observe().await.unwrap();
}

#[tokio::test]
async fn an_unclaimed_agent_says_so_and_hears_nothing() {
    let acme = authority(1);
    let agent = FakeAgent::unclaimed(acme.enrollment(host_name("east-1"), 1)).await;
    let error = connect(&agent.address(), &acme, &acme, None, None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("agent `{}` is not claimed yet", agent.address()));
    assert_eq!(agent.calls(), []);
}

#[tokio::test]
async fn silence_refusal_and_hanging_up_are_temporary_and_told_apart() {
    let acme = authority(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = connect(&address, &acme, &acme, None, None).await.unwrap_err();
    assert_eq!(silent.to_string(), format!("agent `{address}` did not answer within 5 s"));
    let hang_up = tokio::spawn(async move {
        // The silent connection is still in the queue before the new ones: a dial is tried four times.
        for _ in 0..5 {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        }
        drop(listener);
    });
    let closed = connect(&address, &acme, &acme, None, None).await.unwrap_err();
    assert!(matches!(closed, ConnectError::Closed { .. }), "{closed:?}");
    hang_up.await.unwrap();
    let refused = connect(&address, &acme, &acme, None, None).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("agent `{address}` cannot be reached"));
    assert!(silent.is_temporary() && closed.is_temporary() && refused.is_temporary());
}

#[tokio::test]
async fn a_call_over_a_broken_connection_is_made_again_over_a_new_one() {
    let acme = authority(1);
    let agent = FakeAgent::claimed(&acme, "east-1").await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (relay.local_addr().unwrap().to_string(), agent.address());
    let (cut, mut is_cut) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = relay.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = is_cut.recv() => {}
            }
        }
    });
    let client = connect(&address, &acme, &acme, Some("east-1"), None).await.unwrap();
    client.observe().await.unwrap();
    cut.send(()).await.unwrap();
    client.observe().await.unwrap();
}
