//! Provider functions: NATS's own texts for sizes and times into numbers.

pub mod bytes;
pub mod duration;
