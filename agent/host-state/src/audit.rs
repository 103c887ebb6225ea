//! The audit log of a host: one hash-chained record for each change that its agent makes, written before the change.
//!
//! A log is lines of canonical JSON. Each record counts one up from the record before it, names that record's hash and
//! carries its own, so that a byte that was flipped and a record that was left out, moved, doubled or put between shows
//! where the chain is looked through ([`Verifier`]). What was cut off at the end shows only to whoever remembers how far
//! the log went ([`compare`]).
//!
//! ```text
//! record   what a record says: who, what, how it ended
//! line     a record as its line, and the chain from one line to the next
//! verify   a log looked through, line by line
//! compare  a log against what somebody remembers of it
//! ```
//!
//! Nothing here reads a file or a clock. No record holds a secret.

mod compare;
mod line;
mod record;
mod verify;

#[cfg(test)]
mod tests;

pub use compare::{Discrepancy, Head, Told, compare};
pub use line::{Line, MAX_LINE_BYTES, Problem, RecordHash};
pub use record::{Ended, Goal, Occasion, Record, What, Who, clip};
pub use verify::Verifier;
