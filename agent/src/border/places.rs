//! How much may be under way at once over one border: so many calls, and so many bytes of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::MAX_FRAME_BYTES;

/// Most calls that one side has under way at the other.
const MAX_CALLS: usize = 32;
/// How much more the side that is asked puts up with: it learns later that an answer has arrived than the one that waited
/// for it.
const LENIENCY: usize = 2;

/// Places for calls. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    calls: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

/// The place of one call; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl Places {
    /// Of the side that asks.
    pub(super) fn to_ask() -> Places {
        Places::new(1)
    }

    /// Of the side that is asked.
    pub(super) fn to_answer() -> Places {
        Places::new(LENIENCY)
    }

    fn new(times: usize) -> Places {
        Places {
            calls: Arc::new(Semaphore::new(times * MAX_CALLS)),
            kib: Arc::new(Semaphore::new(times * MAX_FRAME_BYTES / 1024)),
        }
    }

    /// Waits for a place for a message of `length` bytes.
    pub(super) async fn wait(&self, length: usize) -> Place {
        let whole = "places are never closed";
        let call = Arc::clone(&self.calls).acquire_owned().await.expect(whole);
        let kib = Arc::clone(&self.kib).acquire_many_owned(kib(length)).await.expect(whole);
        Place { _call: call, _kib: kib }
    }

    /// A place, when there is one.
    pub(super) fn take(&self, length: usize) -> Option<Place> {
        let call = Arc::clone(&self.calls).try_acquire_owned().ok()?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(kib(length)).ok()?;
        Some(Place { _call: call, _kib: kib })
    }
}

/// A message is never longer than a frame, so it always fits.
fn kib(length: usize) -> u32 {
    u32::try_from(length.min(MAX_FRAME_BYTES) / 1024).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_calls_and_bytes_are_bounded() {
        let places = Places::to_answer();
        let taken: Vec<Place> = std::iter::from_fn(|| places.take(0)).take(1000).collect();
        assert_eq!(taken.len(), 64);
        drop(taken);
        let taken: Vec<Place> = std::iter::from_fn(|| places.take(MAX_FRAME_BYTES)).take(1000).collect();
        assert_eq!(taken.len(), 2);
        drop(taken);
        let asking = Places::to_ask();
        let whole = asking.wait(MAX_FRAME_BYTES).await;
        assert!(asking.take(1024).is_none());
        drop(whole);
        asking.take(1024).unwrap();
    }
}
