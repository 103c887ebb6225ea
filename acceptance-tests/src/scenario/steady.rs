//! Steady traffic through every server while something else happens: replicated publishes with acknowledgement, and
//! requests with replies, each client at one server for good.
//!
//! Nothing is judged here: what was acknowledged, what had to be sent again and how long the longest pause was is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::traffic::CLIENT_PORT;
use crate::rig::agents::Host;

/// How long an acknowledgement, or a reply, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a message is sent again once the traffic is to end.
const LAST: Duration = Duration::from_secs(60);
/// Pause before a message is sent again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a `nats_user` must be allowed for this traffic: publishes.
#[must_use]
pub fn publishes() -> Value {
    json!({ "allow": ["orders.>", "echo.>", "_INBOX.>", "$JS.API.>", "$JS.ACK.>"] })
}

/// What a `nats_user` must be allowed for this traffic: subscriptions.
#[must_use]
pub fn subscriptions() -> Value {
    json!({ "allow": ["orders.>", "echo.>", "_INBOX.>"] })
}

/// Traffic that goes on until [`Steady::finish`].
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Counted>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Counted {
    /// Connections that broke.
    pub disconnects: u64,
    /// Texts of messages that the stream acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Publishes that were not acknowledged and made again; each message was acknowledged in the end.
    pub repeated: u64,
    /// Requests that were replied to.
    pub replied: u64,
    /// Requests that were not.
    pub unreplied: u64,
    /// Longest time from a publish to its acknowledgement.
    pub longest_publish: Duration,
    /// Longest time from a request to its reply.
    pub longest_request: Duration,
    /// The first thing that went wrong; absent when nothing did.
    pub first_problem: Option<String>,
}

/// Where one client connects.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    address: Ipv4Addr,
    ca: PathBuf,
}

struct Shared {
    stop: Arc<AtomicBool>,
    disconnects: AtomicU64,
    counted: Mutex<Counted>,
    pace: Duration,
    /// Which traffic of this process it is, so that no two send the same text.
    number: u64,
}

impl Steady {
    /// Starts: one client a host, each of which publishes to `orders.>` and asks the next host's client, then pauses for
    /// `pace`. Returns once all are connected and were answered.
    ///
    /// # Errors
    /// When one cannot connect or gets no answer.
    pub fn start<'a>(
        hosts: impl IntoIterator<Item = &'a Host>,
        credentials: &Path,
        pace: Duration,
    ) -> Result<Steady> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let place = |host: &Host| Place {
            name: host.name().to_owned(),
            address: host.address(),
            ca: host.state_dir().join("current/ca.pem"),
        };
        let places: Vec<Place> = hosts.into_iter().map(place).collect();
        ensure!(!places.is_empty(), "no host for the traffic");
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared {
            stop: Arc::clone(&stop),
            disconnects: AtomicU64::new(0),
            counted: Mutex::default(),
            pace,
            number: STARTED.fetch_add(1, Ordering::AcqRel),
        });
        let credentials = credentials.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.context("start a runtime")?.block_on(run(&places, &credentials, &shared, ready))
        });
        if is_ready.recv().is_err() {
            let ended = thread.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?;
            ended.context("start the traffic")?;
            bail!("the traffic ended before it began");
        }
        Ok(Steady { stop, thread })
    }

    /// Ends it: every message that was begun is acknowledged first.
    ///
    /// # Errors
    /// When one is not within a minute.
    pub fn finish(self) -> Result<Counted> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?
    }
}

async fn run(
    places: &[Place],
    credentials: &Path,
    shared: &Arc<Shared>,
    ready: std::sync::mpsc::Sender<()>,
) -> Result<Counted> {
    let mut clients = Vec::new();
    for place in places {
        let client = connect(place, credentials, shared).await?;
        let mut asked = client.subscribe(format!("echo.{}", place.name)).await.context("subscribe")?;
        let own = client.clone();
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                if let Some(reply) = message.reply {
                    // A reply that is not sent is a request without reply, which is counted there.
                    let _ = own.publish(reply, message.payload).await;
                }
            }
        });
        clients.push(client);
    }
    for client in &clients {
        client.flush().await.context("flush")?;
    }
    let next = places.iter().cycle().skip(1);
    for (client, place) in clients.iter().zip(next.clone()) {
        heard_of(client, place).await?;
    }
    // Who started it waits for this, or has given up.
    let _ = ready.send(());
    let publishers = clients.iter().zip(places).map(|(client, place)| publish(client, place, shared));
    let requesters = clients.iter().zip(next).map(|(client, place)| request(client, place, shared));
    let (published, ()) = tokio::join!(join_all(publishers), async { drop(join_all(requesters).await) });
    published.into_iter().collect::<Result<()>>()?;
    let counted = std::mem::take(&mut *lock(shared));
    Ok(Counted { disconnects: shared.disconnects.load(Ordering::Acquire), ..counted })
}

/// Waits until the server of `client` has been told who answers at `asked`: servers tell each other after the client knows.
async fn heard_of(client: &Client, asked: &Place) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = client.request(format!("echo.{}", asked.name), "x".into()).await {
        ensure!(began.elapsed() < PATIENCE, "the client at `{}` is not heard of: {error}", asked.name);
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

async fn connect(place: &Place, credentials: &Path, shared: &Arc<Shared>) -> Result<Client> {
    let seen = Arc::clone(shared);
    let options = ConnectOptions::with_credentials_file(credentials).await.context("read the credentials")?;
    let options = options
        .require_tls(true)
        .add_root_certificates(place.ca.clone())
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ignore_discovered_servers()
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected) && !seen.stop.load(Ordering::Acquire) {
                seen.disconnects.fetch_add(1, Ordering::AcqRel);
            }
            std::future::ready(())
        });
    let connected = options.connect(format!("tls://{}:{CLIENT_PORT}", place.address)).await;
    connected.with_context(|| format!("connect to the server of `{}`", place.name))
}

/// Publishes until the end; a message is sent until it is acknowledged, and stored once whatever that takes.
async fn publish(client: &Client, place: &Place, shared: &Shared) -> Result<()> {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(PATIENCE);
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::Acquire) {
        let text = format!("{} {} {number}", shared.number, place.name);
        let mut last = None;
        loop {
            let began = Instant::now();
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", text.as_str());
            let subject = format!("orders.steady.{}", place.name);
            let sent = context.publish_with_headers(subject, headers, text.clone().into());
            let acknowledged = async { sent.await?.await };
            match acknowledged.await {
                Ok(_) => {
                    let mut counted = lock(shared);
                    counted.longest_publish = counted.longest_publish.max(began.elapsed());
                    counted.acknowledged.insert(text);
                    break;
                }
                Err(error) => note(shared, format!("publish of `{text}`: {error}"), |it| it.repeated += 1),
            }
            if shared.stop.load(Ordering::Acquire) {
                let since = *last.get_or_insert_with(Instant::now);
                ensure!(since.elapsed() < LAST, "message `{text}` was never acknowledged");
            }
            tokio::time::sleep(AGAIN).await;
        }
        number += 1;
        tokio::time::sleep(shared.pace).await;
    }
    Ok(())
}

async fn request(client: &Client, asked: &Place, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let began = Instant::now();
        match client.request(format!("echo.{}", asked.name), "x".into()).await {
            Ok(_) => {
                let mut counted = lock(shared);
                counted.longest_request = counted.longest_request.max(began.elapsed());
                counted.replied += 1;
            }
            Err(error) => {
                note(shared, format!("request to the client at `{}`: {error}", asked.name), |it| {
                    it.unreplied += 1;
                });
                tokio::time::sleep(AGAIN).await;
            }
        }
        tokio::time::sleep(shared.pace).await;
    }
}

fn note(shared: &Shared, problem: String, count: impl FnOnce(&mut Counted)) {
    let mut counted = lock(shared);
    count(&mut counted);
    counted.first_problem.get_or_insert(problem);
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Counted> {
    shared.counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every text in `stream` and how often it is there.
///
/// # Errors
/// When they cannot all be read.
pub async fn stored(client: &Client, stream: &str) -> Result<BTreeMap<String, u64>> {
    let context = jetstream::new(client.clone());
    let mut found = context.get_stream(stream).await.with_context(|| format!("find stream `{stream}`"))?;
    let total = found.info().await.context("ask for the stream's state")?.state.messages;
    let config = jetstream::consumer::pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let consumer = found.create_consumer(config).await.context("make a consumer")?;
    let mut texts = BTreeMap::new();
    let (mut read, began) = (0, Instant::now());
    while read < total {
        let wanted = usize::try_from(total - read)?.min(1000);
        let fetched = consumer.fetch().max_messages(wanted).expires(Duration::from_secs(5)).messages();
        let mut messages = fetched.await.context("ask for messages")?;
        while let Some(message) = messages.next().await {
            // Gateways learn of a new consumer's interest with the first request that nobody took.
            let Ok(message) = message else { break };
            *texts.entry(String::from_utf8_lossy(&message.payload).into_owned()).or_default() += 1;
            read += 1;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(180),
            "only {read} of {total} messages of `{stream}` came"
        );
    }
    Ok(texts)
}
