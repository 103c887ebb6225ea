//! Telling a person what is waited for, every ten seconds and never more often.

use std::time::Duration;

use tokio::time::Instant;

/// Pause between two lines; Terraform's own "Still creating..." comes as often.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells at most one line every ten seconds.
#[derive(Debug)]
pub struct Progress {
    what: String,
    began: Instant,
    next: Instant,
}

impl Progress {
    /// Of `what`, like `nats_cluster/east`. The first line comes after ten seconds.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Progress {
        let began = Instant::now();
        Progress { what: what.into(), began, next: began + PAUSE }
    }

    /// Tells what is waited for, when it is time to.
    pub fn tell(&mut self, waiting_for: &str) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + PAUSE;
        let seconds = (now - self.began).as_secs();
        tracing::info!("{}: {waiting_for} ({seconds} s)", self.what);
    }
}

/// What bounds an operation: its end, and the wish to stop.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// When it must have ended.
    pub deadline: Instant,
    /// Trips when Terraform is interrupted.
    pub stop: tfplug::Stop,
}

impl Bounds {
    /// From now for `time`.
    #[must_use]
    pub fn new(time: Duration, stop: tfplug::Stop) -> Bounds {
        Bounds { deadline: Instant::now() + time, stop }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// When it is to stop or its time is over.
    pub fn check(&self) -> Result<(), Ended> {
        if self.stop.is_stopped() {
            Err(Ended::Stopped)
        } else if Instant::now() >= self.deadline {
            Err(Ended::TimedOut)
        } else {
            Ok(())
        }
    }

    /// Waits for `pause`, or less when it ends before.
    ///
    /// # Errors
    /// As [`Bounds::check`].
    pub async fn pause(&self, pause: Duration) -> Result<(), Ended> {
        let until = self.deadline.min(Instant::now() + pause);
        tokio::select! {
            () = tokio::time::sleep_until(until) => self.check(),
            () = self.stop.stopped() => Err(Ended::Stopped),
        }
    }
}

/// Why an operation goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Terraform was interrupted.
    #[error("it was interrupted")]
    Stopped,
    /// Its time is over.
    #[error("its time is over; `timeouts` can give it more")]
    TimedOut,
}
