//! Attacks of those whose certificate the agent takes, but for less: a reader in a pipeline, a host that was taken over.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use identity::ClientIdentity;
use nats_agent_api::{AgentClient, Expected, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::enemy::{Attack, Attempt, Enemy};
use super::frames::{self, END_HEADERS, END_STREAM, frame, kind, message};

/// How long a connection is held that waits for nothing.
const HELD: Duration = Duration::from_secs(5);
/// What our own client takes of an answer at once.
const WINDOW: u32 = 64 * 1024;
/// How many frames go out in one write.
const BATCH: u32 = 100;
/// Largest message of an honest client. Source: nats-agent-api `MAX_UP_BYTES`.
const LARGEST: usize = nats_agent_api::MAX_UP_BYTES - 4096;

/// All of them.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "reader: streams reset at once",
        workers: 8,
        run: |enemy| by_reader(enemy, WINDOW, resets),
    },
    Attack { name: "reader: SETTINGS", workers: 8, run: |enemy| by_reader(enemy, WINDOW, settings) },
    Attack { name: "reader: PING", workers: 8, run: |enemy| by_reader(enemy, WINDOW, pings) },
    Attack {
        name: "reader: lists of headers of 64 KiB",
        workers: 8,
        run: |enemy| by_reader(enemy, WINDOW, large_headers),
    },
    Attack {
        name: "reader: CONTINUATION without end",
        workers: 8,
        run: |enemy| by_reader(enemy, WINDOW, continuations),
    },
    Attack {
        name: "reader: frames larger than allowed",
        workers: 8,
        run: |enemy| by_reader(enemy, WINDOW, large_frames),
    },
    Attack { name: "reader: empty DATA", workers: 8, run: |enemy| by_reader(enemy, WINDOW, empty_data) },
    Attack {
        name: "reader: answers that it does not read",
        workers: 64,
        run: |enemy| by_reader(enemy, 0, unread),
    },
    Attack {
        name: "reader: bodies that never end",
        workers: 64,
        run: |enemy| by_reader(enemy, WINDOW, endless_bodies),
    },
    Attack {
        name: "reader: messages said to have 4 GiB",
        workers: 8,
        run: |enemy| by_reader(enemy, WINDOW, announced),
    },
    Attack {
        name: "reader: connections that say nothing",
        workers: 200,
        run: |enemy| Box::pin(silent(enemy)),
    },
    Attack {
        name: "reader: Observe, 64 at once on each of 32 connections",
        workers: 32,
        run: |enemy| Box::pin(observes(enemy)),
    },
    Attack { name: "reader: Preview of 16 MiB", workers: 6, run: |enemy| Box::pin(previews(enemy)) },
    Attack {
        name: "peer: Claims, 64 at once on each of 32 connections",
        workers: 32,
        run: |enemy| Box::pin(claims(enemy)),
    },
    Attack {
        name: "peer: Apply of 16 MiB, which it may not",
        workers: 6,
        run: |enemy| Box::pin(applies(enemy)),
    },
];

fn by_reader(enemy: Arc<Enemy>, window: u32, next: fn(u32) -> Vec<u8>) -> Attempt {
    Box::pin(async move {
        let mut stream = enemy.secured(enemy.dialled().await?, Some(&enemy.reader)).await?;
        stream.write_all(&frames::preface(window)).await?;
        let (mut read, mut write) = tokio::io::split(stream);
        let reading = async {
            let mut buffer = [0; 16 * 1024];
            while read.read(&mut buffer).await? > 0 {}
            Ok(())
        };
        let writing = async {
            for number in 0..u32::MAX {
                let bytes = next(number);
                if bytes.is_empty() {
                    tokio::time::sleep(HELD).await;
                    break;
                }
                write.write_all(&bytes).await?;
                enemy.attempts.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        tokio::select! {
            closed = reading => closed,
            sent = writing => sent,
        }
    })
}

/// The stream of the call number `number` of a connection.
fn stream(number: u32) -> u32 {
    number.wrapping_mul(2).wrapping_add(1) & 0x7fff_ffff
}

fn resets(number: u32) -> Vec<u8> {
    let call = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream(number), &frames::call("Observe"));
    // CANCEL.
    [call, frame(kind::RESET, 0, stream(number), &8_u32.to_be_bytes())].concat()
}

fn settings(_: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[]).repeat(BATCH as usize)
}

fn pings(number: u32) -> Vec<u8> {
    frame(kind::PING, 0, 0, &u64::from(number).to_be_bytes()).repeat(BATCH as usize)
}

fn large_headers(number: u32) -> Vec<u8> {
    let mut block = frames::call("Observe");
    while block.len() < 64 * 1024 {
        frames::header(&mut block, b"x-padding", &[b'x'; 200]);
    }
    let parts: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    let mut bytes = frame(kind::HEADERS, END_STREAM, stream(number), parts[0]);
    for (index, part) in parts.iter().enumerate().skip(1) {
        let flags = if index + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind::CONTINUATION, flags, stream(number), part));
    }
    bytes
}

fn continuations(number: u32) -> Vec<u8> {
    if number == 0 {
        return frame(kind::HEADERS, END_STREAM, 1, &frames::call("Observe"));
    }
    let mut block = Vec::new();
    while block.len() < 16 * 1024 - 300 {
        frames::header(&mut block, b"x-padding", &[b'x'; 200]);
    }
    frame(kind::CONTINUATION, 0, 1, &block)
}

fn large_frames(number: u32) -> Vec<u8> {
    match number {
        0 => frame(kind::HEADERS, END_HEADERS, 1, &frames::call("Preview")),
        _ => frame(kind::DATA, 0, 1, &vec![0; 1024 * 1024]),
    }
}

fn empty_data(number: u32) -> Vec<u8> {
    match number {
        0 => frame(kind::HEADERS, END_HEADERS, 1, &frames::call("Preview")),
        _ => frame(kind::DATA, 0, 1, &[]).repeat(BATCH as usize),
    }
}

fn unread(number: u32) -> Vec<u8> {
    if number >= 64 {
        return Vec::new();
    }
    let bytes = frame(kind::HEADERS, END_HEADERS, stream(number), &frames::call("Observe"));
    [bytes, frame(kind::DATA, END_STREAM, stream(number), &message(0, &[]))].concat()
}

/// Previews and tunnels whose message is begun, as far as the agent's window goes, and never ended.
fn endless_bodies(number: u32) -> Vec<u8> {
    if number >= 32 {
        return Vec::new();
    }
    let method = if number.is_multiple_of(2) { "Tunnel" } else { "Preview" };
    let call = frame(kind::HEADERS, END_HEADERS, stream(number), &frames::call(method));
    [call, frame(kind::DATA, 0, stream(number), &message(1024 * 1024, &[0; 7 * 1024]))].concat()
}

fn announced(number: u32) -> Vec<u8> {
    let method = ["Observe", "Preview", "Claims", "Tunnel"][number as usize % 4];
    let call = frame(kind::HEADERS, END_HEADERS, stream(number), &frames::call(method));
    [call, frame(kind::DATA, 0, stream(number), &message(u32::MAX, &[0; 100]))].concat()
}

async fn silent(enemy: Arc<Enemy>) -> io::Result<()> {
    let mut stream = enemy.secured(enemy.dialled().await?, Some(&enemy.reader)).await?;
    let mut buffer = [0; 1024];
    let closed = async {
        while stream.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(HELD, closed).await.unwrap_or(Ok(()))
}

/// Our own client with a lesser certificate, or too many of them.
async fn client(enemy: &Enemy, identity: &ClientIdentity) -> io::Result<AgentClient> {
    let address = SocketAddr::from(enemy.target).to_string();
    let connected =
        AgentClient::connect(&address, identity, &enemy.host_ca, Expected::default(), Timeouts::default())
            .await;
    connected.map_err(io::Error::other)
}

/// Refused calls are the agent's right; the connection is used again all the same.
const ROUNDS: usize = 20;

async fn observes(enemy: Arc<Enemy>) -> io::Result<()> {
    let agent = client(&enemy, &enemy.reader).await?;
    for _ in 0..ROUNDS {
        let _answered_or_refused = join_all((0..64).map(|_| agent.observe())).await;
        enemy.attempts.fetch_add(64, Ordering::Relaxed);
    }
    Ok(())
}

async fn claims(enemy: Arc<Enemy>) -> io::Result<()> {
    let agent = client(&enemy, &enemy.peer).await?;
    for _ in 0..ROUNDS {
        let _answered_or_refused = join_all((0..64).map(|_| agent.claims())).await;
        enemy.attempts.fetch_add(64, Ordering::Relaxed);
    }
    Ok(())
}

/// A section of the largest size that is none.
fn largest(mut section: host_state::SignedSection) -> host_state::SignedSection {
    section.body = "x".repeat(LARGEST - 2048);
    section
}

async fn previews(enemy: Arc<Enemy>) -> io::Result<()> {
    let agent = client(&enemy, &enemy.reader).await?;
    let seen = agent.observe().await.map_err(io::Error::other)?;
    let section = seen.sections.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    let _refused = agent.preview(vec![largest(section)]).await;
    Ok(())
}

async fn applies(enemy: Arc<Enemy>) -> io::Result<()> {
    let agent = client(&enemy, &enemy.peer).await?;
    let section = agent.claims().await.map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
    let order = nats_agent_api::order::ApplyOrder {
        sections: vec![largest(section)],
        mode: nats_agent_api::order::ApplyMode::Stage,
        lease_id: String::new(),
    };
    let _refused = agent.apply(order).await;
    Ok(())
}
