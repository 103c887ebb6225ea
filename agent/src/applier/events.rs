//! Tells whoever asked for an apply what is being done. A caller that does not listen holds nothing up.

use std::time::{Duration, Instant};

use host_state::report::ApplyEvent;
use tokio::sync::mpsc;

/// How long the last event waits for a caller that is slow to read.
const LAST_WORD: Duration = Duration::from_secs(10);

/// Where events go.
#[derive(Debug, Clone, Default)]
pub(super) struct Events(Option<mpsc::Sender<ApplyEvent>>);

/// A step that began.
pub(super) struct Started {
    step: String,
    at: Instant,
}

impl Events {
    pub(super) fn to(sender: mpsc::Sender<ApplyEvent>) -> Events {
        Events(Some(sender))
    }

    pub(super) fn started(&self, step: &str) -> Started {
        tracing::info!(step, "step begins");
        self.send(ApplyEvent::Started { step: step.to_owned() });
        Started { step: step.to_owned(), at: Instant::now() }
    }

    pub(super) fn done(&self, started: Started) {
        let Started { step, at } = started;
        let millis = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(step, millis, "step done");
        self.send(ApplyEvent::Done { step, millis });
    }

    /// Sends the last event.
    pub(super) async fn finish(&self, event: ApplyEvent) {
        if let Some(sender) = &self.0
            && tokio::time::timeout(LAST_WORD, sender.send(event)).await.is_err()
        {
            tracing::warn!("the caller did not take the outcome of its apply");
        }
    }

    /// A full channel loses an event on the way, never the outcome.
    fn send(&self, event: ApplyEvent) {
        if let Some(sender) = &self.0
            && sender.try_send(event).is_err()
        {
            tracing::debug!("an event of an apply was not taken");
        }
    }
}
