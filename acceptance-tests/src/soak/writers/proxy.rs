//! A road between callers and one agent that breaks: of its connections one in so many is cut at some moment.
//!
//! What is cut, and after how many bytes, derives from a seed; which call that hits is the schedulers' affair.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::soak::chance::Chance;

/// Bytes in both directions, below which a cut falls: a handshake takes some four thousand, an observation ten.
const LONGEST: u64 = 48 * 1024;

/// One road. Dropping it closes its door; connections that stand go on.
#[derive(Debug)]
pub(super) struct Proxy {
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// What went over a road.
#[derive(Debug, Default)]
struct Counts {
    stormy: AtomicBool,
    connections: AtomicU64,
    cut: AtomicU64,
}

impl Proxy {
    /// Listens at `from` and leads to `to`. One connection in `one_in` is cut while it is stormy; at first it is not.
    ///
    /// # Errors
    /// When `from` cannot be listened at.
    pub(super) async fn start(
        from: SocketAddr,
        to: SocketAddr,
        one_in: u64,
        mut chance: Chance,
    ) -> Result<Self> {
        let listener = TcpListener::bind(from).await.with_context(|| format!("listen at `{from}`"))?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let is_cut = chance.number().is_multiple_of(one_in) && shared.stormy.load(Ordering::Relaxed);
                let after = chance.number() % LONGEST;
                tokio::spawn(carry(caller, to, is_cut.then_some(after), Arc::clone(&shared)));
            }
        });
        Ok(Self { counts, accepting })
    }

    /// Whether connections made from now on may be cut.
    pub(super) fn set_stormy(&self, is_stormy: bool) {
        self.counts.stormy.store(is_stormy, Ordering::Relaxed);
    }

    /// Connections so far, and how many of them were cut.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.connections.load(Ordering::Relaxed), self.counts.cut.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries bytes both ways until one side ends, or so many have passed.
async fn carry(caller: TcpStream, to: SocketAddr, cut_after: Option<u64>, counts: Arc<Counts>) {
    let Ok(agent) = TcpStream::connect(to).await else { return };
    let passed = AtomicU64::new(0);
    let limit = cut_after.unwrap_or(u64::MAX);
    let (from_caller, to_caller) = caller.into_split();
    let (from_agent, to_agent) = agent.into_split();
    let (there, back) =
        (copy(from_caller, to_agent, &passed, limit), copy(from_agent, to_caller, &passed, limit));
    tokio::pin!(there, back);
    // The end of one way leaves the other open, as a connection half closed is; a cut ends both at once.
    let was_cut = tokio::select! {
        was_cut = &mut there => was_cut || back.await,
        was_cut = &mut back => was_cut || there.await,
    };
    if was_cut {
        counts.cut.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether it ended because `limit` bytes had passed, both ways counted.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
    limit: u64,
) -> bool {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return false };
        if count == 0 {
            // The other side may be gone already.
            let _ = to.shutdown().await;
            return false;
        }
        let before = passed.fetch_add(count as u64, Ordering::Relaxed);
        if before + count as u64 > limit {
            let rest = usize::try_from(limit.saturating_sub(before)).unwrap_or(0).min(count);
            let _ = to.write_all(&buffer[..rest]).await;
            return true;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return false;
        }
    }
}
