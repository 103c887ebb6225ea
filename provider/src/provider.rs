//! The provider block: schema, checks and lazy configuration. Configuring dials nobody.

use crate::session::SessionSlot;

/// The provider; one per process.
#[derive(Debug, Default)]
pub struct NatsProvider {
    sessions: SessionSlot,
}
