//! Clients of three kinds at every server: one publishes and waits for each acknowledgement, one asks, one answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, jetstream};
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use crate::rig::wait::wait_until;
use crate::scenario::system::{DEADLINE, System};
use crate::scenario::traffic::{CLIENT_PORT, connect, talk};

/// Pause between two requests and two publishes of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at each server at first.
const A_SERVER: u64 = 3;

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) disconnects: u64,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
    pub(super) lost_requests: u64,
    pub(super) longest_publish_ms: u64,
    /// Connections that a restart of one server can cost: all that may have gathered there.
    pub(super) a_server: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    disconnects: AtomicU64,
    acknowledged: AtomicU64,
    answered: AtomicU64,
    lost_requests: AtomicU64,
    longest_publish_ms: AtomicU64,
    connections: AtomicU64,
}

/// Running traffic.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

/// A server: where it is, and the CA of its certificate.
#[derive(Clone)]
struct Place {
    name: String,
    url: String,
    ca: PathBuf,
}

impl Traffic {
    /// Connects and returns once everything flows.
    pub(super) fn start(system: &System) -> Result<Traffic> {
        let place = |host: &crate::rig::agents::Host| Place {
            name: host.name().to_owned(),
            url: format!("tls://{}:{CLIENT_PORT}", host.address()),
            ca: host.state_dir().join("current/ca.pem"),
        };
        let places: Vec<Place> = system.hosts().iter().map(place).collect();
        let service = system.supercluster.credentials("orders", "service")?;
        let free = system.supercluster.credentials("orders", "free")?;
        let shared = Arc::new(Shared::default());
        shared.connections.store(A_SERVER * places.len() as u64, Ordering::Relaxed);
        let running = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("start a runtime")?.block_on(run(&running, &places, &service, &free))
        });
        let traffic = Traffic { shared, thread };
        traffic.flow()?;
        Ok(traffic)
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared {
            disconnects,
            acknowledged,
            answered,
            lost_requests,
            longest_publish_ms,
            connections,
            ..
        } = &*self.shared;
        Counts {
            disconnects: read(disconnects),
            acknowledged: read(acknowledged),
            answered: read(answered),
            lost_requests: read(lost_requests),
            longest_publish_ms: read(longest_publish_ms),
            a_server: read(connections),
        }
    }

    /// Returns when every kind of traffic has gone on for a while.
    pub(super) fn flow(&self) -> Result<()> {
        let before = self.counts();
        wait_until("the traffic to flow", DEADLINE, || {
            let now = self.counts();
            Ok(now.acknowledged >= before.acknowledged + 30 && now.answered >= before.answered + 30)
        })
    }

    /// Ends it; every publish that began is acknowledged then.
    pub(super) fn finish(self) -> Result<Counts> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let counts = Traffic { shared: Arc::clone(&self.shared), thread: std::thread::spawn(|| Ok(())) };
        match self.thread.join() {
            Ok(ended) => ended.context("run the traffic")?,
            Err(_) => bail!("the traffic panicked"),
        }
        Ok(counts.counts())
    }
}

async fn open(shared: &Arc<Shared>, place: &Place, credentials: &Path) -> Result<Client> {
    let counted = Arc::clone(shared);
    let options = ConnectOptions::with_credentials_file(credentials).await.context("read the credentials")?;
    let options =
        options.require_tls(true).add_root_certificates(place.ca.clone()).event_callback(move |event| {
            if matches!(event, Event::Disconnected) && !counted.stop.load(Ordering::Relaxed) {
                counted.disconnects.fetch_add(1, Ordering::Relaxed);
            }
            std::future::ready(())
        });
    options.connect(&place.url).await.with_context(|| format!("connect to the server of `{}`", place.name))
}

async fn run(shared: &Arc<Shared>, places: &[Place], service: &Path, free: &Path) -> Result<()> {
    let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = Result<()>>>>> = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let publisher = open(shared, place, service).await?;
        let (asking, answering) = (open(shared, place, free).await?, open(shared, place, free).await?);
        let next = &places[(number + 1) % places.len()];
        tasks.push(Box::pin(answer(Arc::clone(shared), answering, format!("rpc.{}", place.name))));
        tasks.push(Box::pin(ask(Arc::clone(shared), asking, format!("rpc.{}", next.name))));
        tasks.push(Box::pin(publish(Arc::clone(shared), publisher, place.name.clone())));
    }
    try_join_all(tasks).await?;
    Ok(())
}

async fn answer(shared: Arc<Shared>, client: Client, subject: String) -> Result<()> {
    let mut asked = client.subscribe(subject).await.context("listen")?;
    while !shared.stop.load(Ordering::Relaxed) {
        let message = tokio::time::timeout(PAUSE * 5, asked.next()).await;
        if let Ok(Some(message)) = message
            && let Some(reply) = message.reply
        {
            client.publish(reply, message.payload).await.context("answer")?;
        }
    }
    Ok(())
}

async fn ask(shared: Arc<Shared>, client: Client, subject: String) -> Result<()> {
    // Interest travels between servers; only what is lost later counts.
    let mut is_heard = false;
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = tokio::time::timeout(PATIENCE, client.request(subject.clone(), "?".into())).await;
        let answered = matches!(asked, Ok(Ok(_)));
        is_heard |= answered;
        if is_heard && !shared.stop.load(Ordering::Relaxed) {
            let count = if answered { &shared.answered } else { &shared.lost_requests };
            count.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Each message under an id of its own, sent until it is acknowledged: the stream drops what it has already.
async fn publish(shared: Arc<Shared>, client: Client, name: String) -> Result<()> {
    let context = jetstream::new(client);
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        loop {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{name}-{number}"));
            let sent = tokio::time::timeout(PATIENCE, async {
                let published = context.publish_with_headers(
                    format!("orders.{name}"),
                    headers,
                    number.to_string().into(),
                );
                published.await?.await
            });
            match sent.await {
                Ok(Ok(_)) => break,
                _ if began.elapsed() > DEADLINE * 2 => {
                    bail!("message {number} of `{name}` was never acknowledged")
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.longest_publish_ms.fetch_max(took, Ordering::Relaxed);
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Messages that the stream holds.
pub(super) fn stored(system: &System) -> Result<u64> {
    let credentials = system.credentials();
    talk(async {
        let client = connect(&system.hosts()[0], &credentials).await?;
        let mut stream = jetstream::new(client).get_stream("ORDERS").await.context("find the stream")?;
        Ok(stream.info().await.context("ask for the stream")?.state.messages)
    })
}
