//! Accounts and users as the `claims` section holds them: read from the agents, changed entry by entry, signed here,
//! pushed to every host.
//!
//! One entry is one account's JWT; a user is a scope in its account's JWT. [`edit`] (pure) works out what a change makes
//! of the newest section; [`writer`] joins the changes of one process for a moment, has them pushed as one generation,
//! and on a lost race reads, merges and tries again; [`rotation`] signs anew what a rotation would leave untrusted;
//! [`lost_hosts`] revokes the users of agents whose host was lost.

pub mod edit;
mod lost_hosts;
pub mod newest;
mod push;
mod rotation;
pub mod writer;

pub use edit::{Account, Edit, Wanted};
pub use newest::{Head, Newest, newest};
pub use writer::ClaimsWriter;
