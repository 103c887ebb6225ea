//! How fast the callers of a role may send: HTTP/2 has frames of nine bytes that make work and that no other limit counts.
//!
//! A bucket for all connections of one role. Operators have none.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Most bytes a second of all readers together, of all accounts, and of all peers: the largest preview takes four
/// seconds, and SETTINGS or PING without end a quarter of a core.
pub const MAX_LESSER_BYTES_A_SECOND: u32 = 4 * 1024 * 1024;
/// How much may come at once after a pause.
const BURST_BYTES: f64 = 1024.0 * 1024.0;
/// How long who is too fast waits before it is looked at again.
const WAIT: Duration = Duration::from_millis(20);

/// What the callers of one role may still send now.
#[derive(Debug, Clone)]
pub(super) struct Bucket(Arc<Mutex<Level>>);

#[derive(Debug)]
struct Level {
    bytes: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new() -> Bucket {
        Bucket(Arc::new(Mutex::new(Level { bytes: BURST_BYTES, at: Instant::now() })))
    }

    /// Whether anything may be read now.
    fn has_any(&self, now: Instant) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.duration_since(level.at).as_secs_f64() * f64::from(MAX_LESSER_BYTES_A_SECOND);
        level.bytes = (level.bytes + gained).min(BURST_BYTES);
        level.at = now;
        level.bytes > 0.0
    }

    /// Counts what was read, which may be more than there was: then the next one waits longer.
    fn take(&self, bytes: usize) {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        level.bytes -= bytes as f64;
    }
}

/// One connection's place at its role's bucket.
#[derive(Debug)]
pub(super) struct Pace {
    bucket: Bucket,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn at(bucket: Bucket) -> Pace {
        Pace { bucket, waiting: None }
    }

    /// Ready when something may be read.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                if waiting.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
            }
            if self.bucket.has_any(Instant::now()) {
                return Poll::Ready(());
            }
            self.waiting = Some(Box::pin(tokio::time::sleep(WAIT)));
        }
    }

    /// Counts what was read.
    pub(super) fn took(&self, bytes: usize) {
        self.bucket.take(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_sends_its_burst_and_then_its_pace_whoever_sends() {
        let (bucket, start) = (Bucket::new(), Instant::now());
        let other = bucket.clone();
        let mut sent = 0_usize;
        for millisecond in 0..=1000 {
            let now = start + Duration::from_millis(millisecond);
            for bucket in [&bucket, &other] {
                while bucket.has_any(now) {
                    bucket.take(16 * 1024);
                    sent += 16 * 1024;
                }
            }
        }
        let promised = BURST_BYTES as usize + MAX_LESSER_BYTES_A_SECOND as usize;
        assert!(sent.abs_diff(promised) <= 64 * 1024, "{sent} of {promised}");
    }

    #[tokio::test]
    async fn who_is_too_fast_waits() {
        let mut pace = Pace::at(Bucket::new());
        std::future::poll_fn(|context| pace.poll_ready(context)).await;
        pace.took(2 * 1024 * 1024);
        let before = tokio::time::Instant::now();
        let waited = tokio::time::timeout(WAIT / 2, std::future::poll_fn(|context| pace.poll_ready(context)));
        waited.await.unwrap_err();
        assert!(before.elapsed() >= WAIT / 2);
    }
}
