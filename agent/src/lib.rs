//! The agent on each host of a NATS supercluster.
//!
//! Three roles meet at the border in [`roles`]: [`front`] touches the network and decides nothing, [`applier`] changes
//! the host and opens no inet socket, [`shadow`] boots a candidate in a scratch place. [`parts`] are the things that
//! the applier manages. [`border`] lets front and applier be two processes.

pub mod applier;
pub mod border;
pub mod front;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod parts;
mod random_id;
pub mod roles;
pub mod shadow;
#[cfg(feature = "testing")]
pub mod testing;
pub mod unix_socket;
