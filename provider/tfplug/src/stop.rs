//! The wish to stop: tripped once, when Terraform is interrupted.

use tokio_util::sync::CancellationToken;

/// Tripped when Terraform asks the provider to wind down (first Ctrl-C). Work in flight should then end at
/// the next safe place and answer with truthful state; calls that come later still work.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// One that is not tripped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trips it, for all clones. May be repeated.
    pub fn trip(&self) {
        self.0.cancel();
    }

    /// Whether it was tripped.
    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when it is tripped; at once if it was.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }
}
