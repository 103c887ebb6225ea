//! Requests to a real nats-server under a user whose key the agent never sees.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use identity::{AccountLimits, AdminPurpose, AdminUser, Authority};
use nats_agent::front::tunnel::{self, Login, Target, TunnelError};
use nats_agent_api::order::{NO_RESPONDERS, TunnelCall, TunnelReply, TunnelRequest, TunnelResponse};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

use crate::nats::Server;
use crate::scripted::authority;

struct Tunnel {
    ask: mpsc::Sender<TunnelRequest>,
    answers: mpsc::Receiver<TunnelResponse>,
    serving: JoinHandle<Result<(), TunnelError>>,
}

impl Tunnel {
    fn open(target: Target, user: &AdminUser) -> Tunnel {
        let (ask, asked) = mpsc::channel(64);
        let (say, answers) = mpsc::channel(64);
        let login = Login::Caller { user_jwt: user.jwt.as_str().to_owned() };
        let serving =
            tokio::spawn(async move { tunnel::serve(&target, login, ReceiverStream::new(asked), say).await });
        Tunnel { ask, answers, serving }
    }

    async fn next(&mut self) -> TunnelResponse {
        tokio::time::timeout(Duration::from_secs(10), self.answers.recv()).await.unwrap().unwrap()
    }

    /// Signs the nonce; the next answer tells whether that was good.
    async fn log_in(&mut self, user: &AdminUser) {
        let TunnelResponse::Nonce(nonce) = self.next().await else { panic!("a nonce comes first") };
        self.ask.send(TunnelRequest::Signature(user.sign(&nonce))).await.unwrap();
    }

    async fn call(&mut self, call: TunnelCall) -> Vec<TunnelResponse> {
        let id = call.id;
        self.ask.send(TunnelRequest::Call(call)).await.unwrap();
        let mut answers = Vec::new();
        loop {
            let answer = self.next().await;
            let over = matches!(&answer, TunnelResponse::End { id: ended, .. } if *ended == id);
            answers.push(answer);
            if over {
                return answers;
            }
        }
    }
}

fn call(id: u64, subject: &str, max_replies: u32) -> TunnelCall {
    TunnelCall {
        id,
        subject: subject.to_owned(),
        payload: Vec::new(),
        headers: BTreeMap::new(),
        timeout: Duration::from_secs(1),
        max_replies,
    }
}

fn user(authority: &Authority, purpose: &AdminPurpose) -> AdminUser {
    authority.admin_user(purpose, &Zeroizing::new([3; 32]), OffsetDateTime::now_utc(), 5).unwrap()
}

fn end(answers: &[TunnelResponse]) -> (u32, Option<&str>) {
    match answers.last() {
        Some(TunnelResponse::End { replies, error, .. }) => (*replies, error.as_deref()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_scatters_of_the_system_account() {
    let acme = authority(1);
    let routes = ["127.72.6.1", "127.72.6.2"];
    let server = Server::start(&acme, "east-1", routes[0], &routes).await;
    let _other = Server::start(&acme, "east-2", routes[1], &routes).await;
    let monitor = user(&acme, &AdminPurpose::SystemMonitor);
    let mut tunnel = Tunnel::open(server.target(), &monitor);
    tunnel.log_in(&monitor).await;
    let opened = TunnelResponse::Opened { server_name: "east-1".to_owned(), max_payload: 65536 };
    assert_eq!(tunnel.next().await, opened);

    // Routes may still be forming: a level to wait for, as each answer names its server.
    let mut names = Vec::new();
    for id in 0..20 {
        let answers = tunnel.call(call(id, "$SYS.REQ.SERVER.PING.HEALTHZ", 2)).await;
        names = answers.iter().filter_map(name_of).collect();
        if names.len() == 2 {
            assert_eq!(end(&answers), (2, None));
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["east-1", "east-2"], "a scatter ends when all have answered");

    let answers = tunnel.call(call(100, "$SYS.REQ.SERVER.PING.HEALTHZ", 9)).await;
    assert_eq!(end(&answers), (2, None), "more were wanted than are there: the deadline ends it");

    let answers = tunnel.call(call(101, "$SYS.REQ.CLAIMS.UPDATE", 1)).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(end(&answers), (0, Some("permissions violation")), "the monitor may not push claims");

    let large = TunnelCall { payload: vec![b'x'; 65_537], ..call(102, "$SYS.REQ.SERVER.PING.HEALTHZ", 1) };
    let error = Some("maximum payload exceeded: 65537 bytes, at most 65536");
    assert_eq!(end(&tunnel.call(large).await), (0, error));

    drop(tunnel.ask);
    let ended = tokio::time::timeout(Duration::from_secs(5), tunnel.serving).await.unwrap().unwrap();
    assert!(ended.is_ok(), "a caller that leaves is no error: {ended:?}");
}

fn name_of(answer: &TunnelResponse) -> Option<String> {
    let TunnelResponse::Reply(TunnelReply { payload, .. }) = answer else { return None };
    let body: serde_json::Value = serde_json::from_slice(payload).unwrap();
    Some(body["server"]["name"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_jetstream_has_no_responders() {
    let acme = authority(1);
    let server = Server::start(&acme, "east-1", "127.72.6.11", &["127.72.6.11"]).await;
    push_account(&acme, &server).await;
    let orders = user(&acme, &AdminPurpose::JetStream("orders".parse().unwrap(), 1));
    let mut tunnel = Tunnel::open(server.target(), &orders);
    tunnel.log_in(&orders).await;
    assert!(matches!(tunnel.next().await, TunnelResponse::Opened { .. }));
    assert_eq!(end(&tunnel.call(call(1, "$JS.API.INFO", 1)).await), (0, Some(NO_RESPONDERS)));
    let refused = tunnel.call(call(2, "$JS.API.*", 1)).await;
    assert_eq!(end(&refused), (0, Some("invalid call: its subject is not one that can be published to")));

    tunnel.ask.send(TunnelRequest::Signature([0; 64])).await.unwrap();
    let ended = tunnel.serving.await.unwrap().unwrap_err().to_string();
    assert_eq!(ended, "out of turn: a signature nobody asked for");
}

async fn push_account(authority: &Authority, server: &Server) {
    let claims = authority.account_claims("orders".parse().unwrap(), AccountLimits::unlimited());
    let jwt = authority.account_jwt(&claims, OffsetDateTime::now_utc().unix_timestamp()).unwrap();
    let resolver = nats_agent::front::resolver::Resolver::new(std::sync::Arc::default());
    resolver.push(&server.local(), jwt.as_str()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_signature_user_or_server_opens_nothing() {
    let acme = authority(1);
    let server = Server::start(&acme, "east-1", "127.72.6.21", &["127.72.6.21"]).await;
    let monitor = user(&acme, &AdminPurpose::SystemMonitor);

    let mut tunnel = Tunnel::open(server.target(), &monitor);
    let TunnelResponse::Nonce(_) = tunnel.next().await else { panic!("a nonce comes first") };
    tunnel.ask.send(TunnelRequest::Signature([7; 64])).await.unwrap();
    let error = tunnel.serving.await.unwrap().unwrap_err();
    assert!(matches!(error, TunnelError::AuthorizationViolation), "{error:?}");

    let stranger = user(&authority(55), &AdminPurpose::SystemMonitor);
    let mut tunnel = Tunnel::open(server.target(), &stranger);
    tunnel.log_in(&stranger).await;
    let error = tunnel.serving.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "authorization violation");

    let elsewhere = Target { address: "127.72.6.99".parse().unwrap(), ..server.target() };
    let tunnel = Tunnel::open(elsewhere, &monitor);
    let error = host_state::chain(&tunnel.serving.await.unwrap().unwrap_err());
    assert!(error.starts_with("cannot reach the local nats-server at `127.72.6.21:4222`: "), "{error}");
    assert!(error.contains("certificate not valid for name"), "{error}");

    let foreign = Target { host_ca_pem: authority(55).trust().host_ca_bundle(), ..server.target() };
    let tunnel = Tunnel::open(foreign, &monitor);
    let error = host_state::chain(&tunnel.serving.await.unwrap().unwrap_err());
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_ends_the_tunnel_without_asking_to_sign_again() {
    let acme = authority(1);
    let server = Server::start(&acme, "east-1", "127.72.6.31", &["127.72.6.31"]).await;
    let monitor = user(&acme, &AdminPurpose::SystemMonitor);
    let mut tunnel = Tunnel::open(server.target(), &monitor);
    tunnel.log_in(&monitor).await;
    assert!(matches!(tunnel.next().await, TunnelResponse::Opened { .. }));
    drop(server);
    let ended =
        tokio::time::timeout(Duration::from_secs(5), tunnel.serving).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.to_string(), "the local nats-server ended the connection: disconnected");
    let left: Vec<_> = ReceiverStream::new(tunnel.answers).collect().await;
    assert_eq!(left, [], "nothing more was asked");
}
