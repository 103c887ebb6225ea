//! What the identity crate signs, believed by a real nats-server: operator mode boots, scopes act on live
//! connections, hosts join by pinned keys, and each user may do what it is for and no more.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acceptance_tests::rig::loopback::{Block, CLIENT_PORT, CLUSTER_PORT, Folder};
use acceptance_tests::rig::process::Process;
use acceptance_tests::tools;
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use identity::{
    AccountClaims, AccountLimits, AccountName, AdminPurpose, Authority, Generations, HostKeys, HostNames,
    HostSecret, HostSeeds, JetStreamLimits, Jwt, RootKey, SubjectPermissions, Trust, UserName, UserTemplate,
    mint_leaf,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(86_400);
const DEADLINE: Duration = Duration::from_secs(20);

fn seed(fill: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([fill; 32])
}

fn authority() -> Authority {
    let root = RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

/// A host's keys and certificates on disk, and what its server's configuration says.
struct Host {
    name: String,
    address: Ipv4Addr,
    secret: HostSecret,
    folder: std::path::PathBuf,
}

impl Host {
    fn new(name: &str, number: u8, block: &Block, folder: &Folder) -> Self {
        let address = block.address(number);
        let secret = HostSecret::from_seeds(&HostSeeds {
            issuer: seed(number * 10),
            leaf: seed(number * 10 + 1),
            system_user: seed(number * 10 + 2),
            probe_user: seed(number * 10 + 3),
        });
        let names = HostNames { host: name.parse().unwrap(), dns: [].into(), ips: [address.into()].into() };
        let now = OffsetDateTime::now_utc();
        let issuer = authority().issuer(&secret.keys(), &names, now, DAY * 365).unwrap();
        let leaf = mint_leaf(&secret, &issuer, &names, now, DAY * 30).unwrap();
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ca.pem"), authority().trust().host_ca_bundle()).unwrap();
        fs::write(folder.join("leaf.pem"), leaf.chain()).unwrap();
        let mut key = fs::File::options();
        let mut key = key.write(true).create_new(true).mode(0o600).open(folder.join("leaf-key.pem")).unwrap();
        std::io::Write::write_all(&mut key, secret.leaf_key_pem().as_bytes()).unwrap();
        Self { name: name.to_owned(), address, secret, folder }
    }

    fn keys(&self) -> HostKeys {
        self.secret.keys()
    }

    fn tls(&self) -> Value {
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        json!({"cert_file": path("leaf.pem"), "key_file": path("leaf-key.pem"), "ca_file": path("ca.pem"), "timeout": 5})
    }

    fn config(&self, trust: &Trust) -> Value {
        json!({
            "server_name": self.name,
            "listen": format!("{}:{CLIENT_PORT}", self.address),
            "operator": trust.operator_jwt,
            "system_account": trust.system_account,
            "resolver": {
                "type": "full", "dir": self.folder.join("jwt"), "allow_delete": true, "interval": "2m",
            },
            "resolver_preload": {
                trust.system_account.as_str(): trust.system_account_jwt,
                trust.probe_account.as_str(): trust.probe_account_jwt,
            },
            "tls": self.tls(),
        })
    }

    fn start(&self, config: &Value) -> Process {
        let path = self.folder.join("nats-server.json");
        fs::write(&path, serde_json::to_string_pretty(config).unwrap()).unwrap();
        let mut command = Command::new(tools::nats_server().unwrap());
        command.arg("-c").arg(&path);
        Process::start(&self.name, &mut command, &self.folder.join("log")).unwrap()
    }

    fn url(&self) -> String {
        format!("tls://{}:{CLIENT_PORT}", self.address)
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.join("ca.pem")
    }
}

/// Events that a connection reported, as text.
type Events = Arc<Mutex<Vec<String>>>;

fn options(ca: &Path) -> (ConnectOptions, Events) {
    let events = Events::default();
    let seen = events.clone();
    let options = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(ca.to_owned())
        .connection_timeout(Duration::from_secs(5))
        .max_reconnects(3)
        .event_callback(move |event: Event| {
            seen.lock().unwrap().push(event.to_string());
            async {}
        });
    (options, events)
}

/// Connects as soon as the server listens.
async fn connect(host: &Host, login: impl Fn(ConnectOptions) -> ConnectOptions) -> (Client, Events) {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        let (options, events) = options(&host.ca());
        match login(options).connect(host.url()).await {
            Ok(client) => return (client, events),
            Err(error) if tokio::time::Instant::now() > end => {
                panic!("{error}\n{}", fs::read_to_string(host.folder.join("log")).unwrap_or_default())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Why a login is refused.
async fn refused(host: &Host, login: impl Fn(ConnectOptions) -> ConnectOptions) -> String {
    let (options, _) = options(&host.ca());
    login(options).connect(host.url()).await.expect_err("the login is refused").to_string()
}

fn with_key(
    options: ConnectOptions,
    jwt: &Jwt,
    sign: impl Fn(&[u8]) -> [u8; 64] + Send + Sync + 'static,
) -> ConnectOptions {
    let sign = Arc::new(sign);
    options.jwt(jwt.to_string(), move |nonce| {
        let sign = sign.clone();
        async move { Ok(sign(&nonce).to_vec()) }
    })
}

async fn admin(host: &Host, purpose: &AdminPurpose) -> (Client, Events) {
    let user = authority().admin_user(purpose, &seed(200), OffsetDateTime::now_utc(), 5).unwrap();
    connect(host, |options| {
        let user = user.clone();
        with_key(options, &user.jwt.clone(), move |nonce| user.sign(nonce))
    })
    .await
}

async fn system_user(host: &Host) -> (Client, Events) {
    let now = OffsetDateTime::now_utc();
    let key = host.keys().system_user;
    let jwt = authority().system_user_jwt(&host.name.parse().unwrap(), &key, now, now + DAY);
    connect(host, |options| {
        let secret = host.secret.clone();
        with_key(options, &jwt, move |nonce| secret.system_user().sign(nonce))
    })
    .await
}

async fn request(client: &Client, subject: &str, payload: impl Into<String>) -> Value {
    let reply = tokio::time::timeout(DEADLINE, client.request(subject.to_owned(), payload.into().into()));
    serde_json::from_slice(&reply.await.unwrap().unwrap().payload).unwrap()
}

async fn push(client: &Client, jwt: &Jwt) {
    let reply = request(client, "$SYS.REQ.CLAIMS.UPDATE", jwt.as_str()).await;
    assert_eq!(reply["data"]["code"], 200, "{reply}");
}

/// Waits until a connection has reported an event that holds `text`.
async fn saw(events: &Events, text: &str) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !events.lock().unwrap().iter().any(|event| event.to_lowercase().contains(text)) {
        assert!(tokio::time::Instant::now() < end, "no `{text}` among {:?}", events.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the server lets this connection publish there; what it refuses it reports at once.
async fn may_publish(client: &Client, events: &Events, subject: &str) -> bool {
    events.lock().unwrap().clear();
    client.publish(subject.to_owned(), "x".into()).await.unwrap();
    client.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    !events.lock().unwrap().iter().any(|event| event.to_lowercase().contains("permissions violation"))
}

fn template(publish: &[&str]) -> UserTemplate {
    UserTemplate {
        publish: SubjectPermissions {
            allow: publish.iter().map(|subject| (*subject).to_owned()).collect(),
            deny: [].into(),
        },
        ..UserTemplate::unrestricted()
    }
}

fn orders() -> AccountName {
    "orders".parse().unwrap()
}

fn service() -> UserName {
    "service".parse().unwrap()
}

fn claims(publish: &[&str]) -> AccountClaims {
    let limits = AccountLimits {
        jetstream: Some(JetStreamLimits {
            max_storage: Some(1 << 20),
            max_streams: Some(1),
            ..JetStreamLimits::unlimited()
        }),
        ..AccountLimits::unlimited()
    };
    let mut claims = authority().account_claims(orders(), limits);
    claims.scopes.insert(service(), authority().user_scope(&orders(), &service(), 1, template(publish)));
    claims
}

fn issued(step: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + step
}

#[tokio::test]
async fn a_scope_acts_on_credentials_already_handed_out() {
    let (block, folder) = (Block::claim(1).unwrap(), Folder::new("identity-scope").unwrap());
    let host = Host::new("east-1", 1, &block, &folder);
    let _server = host.start(&host.config(&authority().trust()));
    let (pusher, _) = admin(&host, &AdminPurpose::SystemClaims).await;
    let credentials =
        authority().user_credentials(&orders(), &service(), 1, &seed(100), OffsetDateTime::now_utc(), None);
    let login = |options: ConnectOptions| options.credentials(&credentials.creds()).unwrap();
    let text = refused(&host, login).await;
    assert!(text.contains("authorization violation"), "before the account exists: {text}");

    push(&pusher, &authority().account_jwt(&claims(&["orders.>"]), issued(0)).unwrap()).await;
    let (client, events) = connect(&host, login).await;
    assert!(may_publish(&client, &events, "orders.new").await);
    assert!(!may_publish(&client, &events, "payments.new").await);

    push(&pusher, &authority().account_jwt(&claims(&["orders.read"]), issued(1)).unwrap()).await;
    // The server ends the connection for the new scope to hold; the client comes back by itself.
    let end = tokio::time::Instant::now() + DEADLINE;
    while may_publish(&client, &events, "orders.new").await {
        assert!(tokio::time::Instant::now() < end, "not narrowed");
    }
    assert!(may_publish(&client, &events, "orders.read").await);

    let brought = nkeys_user(101);
    let jwt =
        authority().user_jwt_for_key(&orders(), &service(), 1, &brought.1, OffsetDateTime::now_utc(), None);
    let (own_key, _) = connect(&host, |options| {
        let key = brought.0.clone();
        with_key(options, &jwt, move |nonce| key.sign(nonce))
    })
    .await;
    own_key.flush().await.unwrap();

    let mut without = claims(&["orders.>"]);
    without.scopes.clear();
    push(&pusher, &authority().account_jwt(&without, issued(2)).unwrap()).await;
    saw(&events, "disconnected").await;
    let text = refused(&host, login).await;
    assert!(text.contains("authorization violation"), "{text}");

    // A new generation of the scope refuses what the old one signed.
    let mut renewed = claims(&["orders.>"]);
    renewed
        .scopes
        .insert(service(), authority().user_scope(&orders(), &service(), 2, template(&["orders.>"])));
    push(&pusher, &authority().account_jwt(&renewed, issued(3)).unwrap()).await;
    assert!(refused(&host, login).await.contains("authorization violation"));
    let second =
        authority().user_credentials(&orders(), &service(), 2, &seed(102), OffsetDateTime::now_utc(), None);
    connect(&host, |options| options.credentials(&second.creds()).unwrap()).await;
}

fn nkeys_user(fill: u8) -> (identity::Nkey, identity::UserPublicKey) {
    let key = identity::Nkey::from_seed_bytes(identity::NkeyKind::User, &[fill; 32]);
    let public = key.public_text().parse().unwrap();
    (key, public)
}

#[tokio::test]
async fn accounts_end_by_tombstone_and_are_deleted_by_the_operator() {
    let (block, folder) = (Block::claim(1).unwrap(), Folder::new("identity-delete").unwrap());
    let host = Host::new("east-1", 1, &block, &folder);
    let _server = host.start(&host.config(&authority().trust()));
    let (pusher, _) = admin(&host, &AdminPurpose::SystemClaims).await;
    let credentials =
        authority().user_credentials(&orders(), &service(), 1, &seed(100), OffsetDateTime::now_utc(), None);
    let login = |options: ConnectOptions| options.credentials(&credentials.creds()).unwrap();
    push(&pusher, &authority().account_jwt(&claims(&[]), issued(0)).unwrap()).await;
    let (_client, events) = connect(&host, login).await;

    let key = authority().account_key(&orders());
    let tombstone = AccountClaims::tombstone(orders(), key.clone(), issued(1));
    push(&pusher, &authority().account_jwt(&tombstone, issued(1)).unwrap()).await;
    saw(&events, "disconnected").await;
    refused(&host, login).await;

    let lookup = pusher.request(format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP"), "".into()).await.unwrap();
    let read: Jwt = std::str::from_utf8(&lookup.payload).unwrap().parse().unwrap();
    let read = identity::decode_account(&read, &authority().trust()).unwrap();
    assert!(read.claims.is_tombstone(), "what the server keeps is what was signed");

    let delete = authority().delete_accounts_jwt(&[key.clone()].into(), issued(2));
    let reply = request(&pusher, "$SYS.REQ.CLAIMS.DELETE", delete.as_str()).await;
    assert_eq!(reply["data"]["code"], 200, "{reply}");
    let list = request(&pusher, "$SYS.REQ.CLAIMS.LIST", "").await;
    assert!(!list["data"].to_string().contains(key.as_str()), "{list}");
}

#[tokio::test]
async fn short_lived_users_reach_what_they_are_for() {
    let (block, folder) = (Block::claim(1).unwrap(), Folder::new("identity-admin").unwrap());
    let host = Host::new("east-1", 1, &block, &folder);
    let mut config = host.config(&authority().trust());
    config["jetstream"] =
        json!({"store_dir": host.folder.join("store"), "max_file_store": 1 << 24, "max_memory_store": 0});
    let _server = host.start(&config);
    let (system, _) = system_user(&host).await;
    push(&system, &authority().account_jwt(&claims(&[]), issued(0)).unwrap()).await;

    let (jetstream, events) = admin(&host, &AdminPurpose::JetStream(orders(), 1)).await;
    let stream =
        json!({"name": "ORDERS", "subjects": ["orders.>"], "storage": "file", "max_bytes": 1024}).to_string();
    let created = request(&jetstream, "$JS.API.STREAM.CREATE.ORDERS", stream).await;
    assert_eq!(created["config"]["name"], "ORDERS", "{created}");
    let second =
        json!({"name": "MORE", "subjects": ["more"], "storage": "file", "max_bytes": 1024}).to_string();
    let limited = request(&jetstream, "$JS.API.STREAM.CREATE.MORE", second).await;
    assert!(
        limited["error"]["description"].as_str().unwrap().contains("maximum number of streams"),
        "{limited}"
    );
    jetstream.publish("orders.new", "x".into()).await.unwrap();
    saw(&events, "permissions violation").await;

    let varz = request(&system, "$SYS.REQ.SERVER.PING.VARZ", "").await;
    assert_eq!(varz["server"]["name"], "east-1");
    let id = varz["server"]["id"].as_str().unwrap();
    let (monitor, events) = admin(&host, &AdminPurpose::SystemMonitor).await;
    let jsz = request(&monitor, &format!("$SYS.REQ.SERVER.{id}.JSZ"), "").await;
    assert_eq!(jsz["data"]["streams"], 1, "{jsz}");
    monitor.publish(format!("$SYS.REQ.SERVER.{id}.RELOAD"), "".into()).await.unwrap();
    saw(&events, "permissions violation").await;
}

#[tokio::test]
async fn hosts_join_by_pinned_keys_and_probes_cross_the_route() {
    let (block, folder) = (Block::claim(3).unwrap(), Folder::new("identity-route").unwrap());
    let hosts: Vec<_> =
        (1..=3).map(|number| Host::new(&format!("east-{number}"), number, &block, &folder)).collect();
    // The third has a genuine certificate, but the others do not pin its key.
    let pins: Vec<_> = hosts[..2].iter().map(|host| host.keys().leaf_pin()).collect();
    let routes: Vec<_> =
        hosts[..2].iter().map(|host| format!("nats-route://{}:{CLUSTER_PORT}", host.address)).collect();
    let trust = authority().trust();
    let mut servers = Vec::new();
    for host in &hosts {
        let mut tls = host.tls();
        tls["pinned_certs"] = json!(pins);
        let mut config = host.config(&trust);
        config["cluster"] = json!({"name": "east", "listen": format!("{}:{CLUSTER_PORT}", host.address), "routes": routes, "tls": tls});
        servers.push(host.start(&config));
    }
    let (system, _) = system_user(&hosts[0]).await;
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        let names = servers_answering(&system).await;
        if names == ["east-1", "east-2"] {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{names:?}\n{}", servers[0].log());
    }
    assert_eq!(servers_answering(&system).await, ["east-1", "east-2"], "the unpinned host stays out");

    let mut probes = Vec::new();
    for host in &hosts[..2] {
        let now = OffsetDateTime::now_utc();
        let jwt =
            authority().probe_user_jwt(&host.name.parse().unwrap(), &host.keys().probe_user, now, now + DAY);
        let (client, events) = connect(host, |options| {
            let secret = host.secret.clone();
            with_key(options, &jwt, move |nonce| secret.probe_user().sign(nonce))
        })
        .await;
        probes.push((client, events));
    }
    let mut asked = probes[1].0.subscribe("nats-agent.probe.east-2").await.unwrap();
    probes[1].0.flush().await.unwrap();
    let answering = probes[1].0.clone();
    let answer = tokio::spawn(async move {
        let question = asked.next().await.unwrap();
        answering.publish(question.reply.unwrap(), question.payload).await.unwrap();
        answering.flush().await.unwrap();
    });
    let asking = async {
        loop {
            // The other server's interest may not have crossed the route yet.
            if let Ok(reply) = probes[0].0.request("nats-agent.probe.east-2", "hello".into()).await {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reply = tokio::time::timeout(DEADLINE, asking).await.unwrap();
    assert_eq!(&reply.payload[..], b"hello");
    answer.await.unwrap();
    probes[0].0.publish("orders.new", "x".into()).await.unwrap();
    saw(&probes[0].1, "permissions violation").await;
}

/// Names of the servers that answer within 300 ms, sorted.
async fn servers_answering(system: &Client) -> Vec<String> {
    let inbox = system.new_inbox();
    let mut replies = system.subscribe(inbox.clone()).await.unwrap();
    system.publish_with_reply("$SYS.REQ.SERVER.PING.IDZ", inbox, "".into()).await.unwrap();
    let mut names = Vec::new();
    while let Ok(Some(reply)) = tokio::time::timeout(Duration::from_millis(300), replies.next()).await {
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        names.push(reply["name"].as_str().or(reply["server"]["name"].as_str()).unwrap().to_owned());
    }
    names.sort();
    names
}
