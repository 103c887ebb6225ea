//! NATS requests through an agent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::{AdminPurpose, AdminUser, Authority};
use nats_agent_api::fake::FakeAgent;
use nats_agent_api::{CallError, OpenError, RequestError};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::world::{authority, operator};

const TIMEOUT: Duration = Duration::from_secs(5);

fn user(authority: &Authority) -> AdminUser {
    let seed = Zeroizing::new([9; 32]);
    authority.admin_user(&AdminPurpose::SystemMonitor, &seed, OffsetDateTime::now_utc(), 5).unwrap()
}

async fn echo(authority: &Authority) -> FakeAgent {
    let agent = FakeAgent::claimed(authority, "east-1").await;
    agent.script(|script| {
        script.answers = Arc::new(|subject, payload| match subject {
            "slow" => {
                std::thread::sleep(Duration::from_millis(700));
                vec![b"late".to_vec()]
            }
            "everybody" => vec![b"1".to_vec(), b"2".to_vec(), b"3".to_vec()],
            "nobody" => Vec::new(),
            _ => vec![payload.to_vec()],
        });
    });
    agent
}

#[tokio::test]
async fn many_requests_run_side_by_side_and_find_their_own_replies() {
    let acme = authority(1);
    let agent = echo(&acme).await;
    let client = operator(&acme, &agent.address()).await;
    let user = user(&acme);
    let tunnel = client.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.unwrap();
    assert_eq!((tunnel.server_name(), tunnel.max_payload()), ("east-1", 1024 * 1024));
    let slow = tokio::spawn({
        let tunnel = tunnel.clone();
        async move { tunnel.request("slow", Vec::new(), TIMEOUT).await }
    });
    let started = Instant::now();
    let calls = (0..200_u32).map(|number| {
        let tunnel = tunnel.clone();
        async move { (number, tunnel.request("echo", number.to_be_bytes().to_vec(), TIMEOUT).await) }
    });
    let mut calls: tokio::task::JoinSet<_> = calls.collect();
    while let Some(done) = calls.join_next().await {
        let (number, reply) = done.unwrap();
        assert_eq!(reply.unwrap().payload, number.to_be_bytes());
    }
    assert!(started.elapsed() < TIMEOUT);
    assert_eq!(slow.await.unwrap().unwrap().payload, b"late");
}

#[tokio::test]
async fn a_scatter_ends_at_its_count_and_nobody_is_told_from_silence() {
    let acme = authority(1);
    let agent = echo(&acme).await;
    let client = operator(&acme, &agent.address()).await;
    let user = user(&acme);
    let tunnel = client.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.unwrap();
    for (wanted, found) in [(2, 2), (9, 3)] {
        let replies = tunnel.scatter("everybody", Vec::new(), TIMEOUT, wanted).await.unwrap();
        assert_eq!(replies.len(), found);
    }
    let error = tunnel.request("nobody", Vec::new(), TIMEOUT).await.unwrap_err();
    assert_eq!(error, RequestError::NoResponders { subject: "nobody".to_owned() });
}

#[tokio::test]
async fn a_user_of_another_key_gets_no_tunnel() {
    let acme = authority(1);
    let agent = echo(&acme).await;
    let client = operator(&acme, &agent.address()).await;
    let user = user(&acme);
    let error = client.tunnel(user.jwt.as_str(), |_| [0; 64]).await.unwrap_err();
    assert!(matches!(error, OpenError::Call(CallError::Denied { .. })), "{error:?}");
    let error = client.tunnel("no JWT", |_| [0; 64]).await.unwrap_err();
    assert!(matches!(error, OpenError::Call(CallError::Invalid { .. })), "{error:?}");
}

#[tokio::test]
async fn an_ended_tunnel_says_so() {
    let acme = authority(1);
    let agent = echo(&acme).await;
    let client = operator(&acme, &agent.address()).await;
    let user = user(&acme);
    let tunnel = client.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.unwrap();
    tunnel.request("echo", Vec::new(), TIMEOUT).await.unwrap();
    drop(agent);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        match tunnel.request("echo", Vec::new(), TIMEOUT).await {
            Ok(_) => assert!(tokio::time::Instant::now() < deadline, "the tunnel outlived its agent"),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(error, RequestError::Closed { .. }), "{error:?}");
}
