//! One port through the lives of a host: protocols, certificates, roles, a running apply at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use identity::{CertificatePem, Role};
use nats_agent::roles::{ApplyMode, ClaimState};
use nats_agent_api::order::{ApplyOrder, LeaseAction, LeaseOrder, ProbeOrder, TrialOrder};
use nats_agent_api::{AgentClient, CallError, Expected, Timeouts};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::scripted::{HOUR, Scripted, authority, caller};

async fn client(address: &str, role: Role) -> AgentClient {
    let acme = authority(1);
    let host_ca = acme.trust().host_ca_bundle();
    let expected = Expected { host: Some("east-1".parse().unwrap()), pin: None };
    let identity = caller(&acme, &role);
    AgentClient::connect(address, &identity, &host_ca, expected, Timeouts::default()).await.unwrap()
}

fn order() -> ApplyOrder {
    ApplyOrder {
        sections: Vec::new(),
        mode: nats_agent_api::order::ApplyMode::Roll,
        lease_id: "ab".to_owned(),
    }
}

async fn claimed(address: &str, seed: u8) -> (Arc<Scripted>, tempfile::TempDir, nats_agent::front::Front) {
    let (folder, host) = (tempfile::tempdir().unwrap(), Scripted::new(seed));
    host.claimed_by(&authority(1), "east-1", address.split(':').next().unwrap());
    let front = host.serve(address, folder.path()).await;
    (host, folder, front)
}

#[tokio::test]
async fn each_call_reaches_the_applier_and_each_refusal_its_caller() {
    let address = "127.72.2.1:8442";
    let (host, _folder, front) = claimed(address, 11).await;
    let operator = client(address, Role::Operator).await;

    let lease = LeaseOrder {
        lease_id: "0".repeat(32),
        holder: "ci".to_owned(),
        action: LeaseAction::Acquire,
        ttl_ms: 9_000,
        signature: "x".to_owned(),
    };
    let answer = operator.lease(lease).await.unwrap();
    assert_eq!((answer.granted, answer.holder.as_str(), answer.remaining_ms), (true, "ci", 9_000));

    let error = operator.preview(Vec::new()).await.unwrap_err();
    let text = "agent `127.72.2.1:8442` refused what `Preview` sent: its signature is wrong";
    assert_eq!(error.to_string(), text);

    let trial = TrialOrder { trial_id: "t1".to_owned(), signature: "x".to_owned() };
    let error = operator.confirm(trial.clone()).await.unwrap_err().to_string();
    assert!(error.ends_with("no change is on trial, so not `t1` either"), "{error}");
    assert!(matches!(operator.cancel(trial).await.unwrap_err(), CallError::Conflict { .. }));

    let targets = vec![address.to_owned(), "127.72.2.1:1".to_owned()];
    let probed = operator.probe(ProbeOrder { targets, timeout: Duration::from_secs(1) }).await.unwrap();
    assert_eq!(probed[0].reached, Ok(()));
    assert_eq!(probed[1].reached, Err("Connection refused (os error 111)".to_owned()));

    assert_eq!(operator.claims().await.unwrap(), None);

    let reader = client(address, Role::Reader).await;
    let error = reader.apply(order()).await.unwrap_err();
    assert!(matches!(error, CallError::Denied { .. }), "{error}");
    assert!(host.orders.lock().unwrap().is_empty());
    front.stop().await;
}

#[tokio::test]
async fn who_asks_while_a_sweep_runs_shares_the_next_one() {
    let address = "127.72.2.6:8442";
    let (host, _folder, front) = claimed(address, 17).await;
    let operator = client(address, Role::Operator).await;
    let before = host.sweeps.load(Ordering::SeqCst);
    for answer in join_all((0..60).map(|_| operator.observe())).await {
        answer.unwrap();
    }
    let swept = host.sweeps.load(Ordering::SeqCst) - before;
    assert!((2..20).contains(&swept), "{swept} sweeps for 60 questions");
    operator.observe().await.unwrap();
    assert_eq!(
        host.sweeps.load(Ordering::SeqCst) - before,
        swept + 1,
        "a later question has a sweep of its own"
    );
    front.stop().await;
}

#[tokio::test]
async fn an_apply_survives_its_caller_and_stop_waits_for_it() {
    let address = "127.72.2.2:8442";
    let (host, _folder, front) = claimed(address, 12).await;
    let operator = client(address, Role::Operator).await;
    let mut events = operator.apply(order()).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop((events, operator));
    {
        let orders = host.orders.lock().unwrap();
        let (order, caller) = orders.first().unwrap();
        assert_eq!((order.mode, order.lease_id.as_str()), (ApplyMode::Roll, "ab"));
        assert_eq!(caller.role, Role::Operator);
    }
    let stopping = tokio::spawn(front.stop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!stopping.is_finished(), "an apply is still running");
    host.may_end.add_permits(1);
    tokio::time::timeout(Duration::from_secs(10), stopping).await.unwrap().unwrap();
    assert!(host.orders.lock().unwrap().is_empty(), "it came to its end");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_renewed_leaf_is_served_to_new_connections_and_old_ones_stay() {
    let address = "127.72.2.3:8442";
    let (host, _folder, front) = claimed(address, 13).await;
    let old = client(address, Role::Operator).await;
    old.observe().await.unwrap();
    let before = leaf(address).await;

    let names = Scripted::names("east-1", "127.72.2.3");
    let issuer: CertificatePem =
        authority(1).issuer(&host.secret.keys(), &names, OffsetDateTime::now_utc(), 48 * HOUR).unwrap();
    host.renew(&issuer, &names, 2 * HOUR);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while leaf(address).await == before {
        assert!(tokio::time::Instant::now() < deadline, "the old leaf is still served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    old.observe().await.unwrap();
    front.stop().await;
}

/// SHA-256 of the leaf that is served.
async fn leaf(address: &str) -> String {
    nats_agent::front::served_leaf::served_leaf(address.parse().unwrap(), false).await.unwrap()
}

#[tokio::test]
async fn a_claim_that_becomes_unreadable_ends_every_connection() {
    let address = "127.72.2.4:8442";
    let (host, _folder, front) = claimed(address, 14).await;
    let operator = client(address, Role::Operator).await;
    operator.observe().await.unwrap();
    host.state.send_replace(ClaimState::Unreadable { reason: "its checksum is wrong".to_owned() });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while operator.observe().await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it is still served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "closed without a word");
    front.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let address = "127.72.2.5:8442";
    let (_host, _folder, front) = claimed(address, 15).await;
    let folder = tempfile::tempdir().unwrap();
    let error = nats_agent::front::Front::start(address.parse().unwrap(), folder.path(), Scripted::new(16))
        .await
        .unwrap_err();
    assert_eq!(
        host_state::chain(&error),
        "cannot listen on `127.72.2.5:8442`: Address already in use (os error 98)"
    );
    front.stop().await;
}
