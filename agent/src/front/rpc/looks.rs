//! One look at the host for all who ask meanwhile.
//!
//! A look reads files and asks nats-server. So one is under way at a time, and who comes meanwhile waits for the next
//! one, which then began after each of them asked: however many ask, an owner waits for two looks at the longest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Mutex;

/// Looks of one kind.
#[derive(Debug)]
pub(super) struct Shared<T> {
    /// The newest, for those who wait; nothing while nobody does.
    newest: Mutex<Option<Look<T>>>,
    asking: AtomicUsize,
}

#[derive(Debug)]
struct Look<T> {
    began: Instant,
    seen: T,
}

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared { newest: Mutex::new(None), asking: AtomicUsize::new(0) }
    }
}

/// One caller who asks, also when it goes away before it has its answer.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(asking: &'a AtomicUsize) -> Asking<'a> {
        asking.fetch_add(1, Ordering::SeqCst);
        Asking(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T: Clone> Shared<T> {
    /// What is seen after this was called: by `look`, or by the look of another who waited as well.
    ///
    /// # Errors
    /// Those of `look`; others then look for themselves.
    pub(super) async fn seen<E>(&self, look: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let _asking = Asking::begin(&self.asking);
        let asked = Instant::now();
        let mut newest = self.newest.lock().await;
        let look = match newest.take() {
            Some(before) if before.began >= asked => before,
            _ => Look { began: Instant::now(), seen: look.await? },
        };
        if self.asking.load(Ordering::SeqCst) == 1 {
            return Ok(look.seen);
        }
        let seen = look.seen.clone();
        *newest = Some(look);
        Ok(seen)
    }
}
