//! Bringing many hosts to what was declared: order and gates.
//!
//! [`plan`] decides, purely, who goes when; [`join`] connects and claims, [`material`] signs what hosts are told,
//! [`lease`] keeps others away, [`heads`] tells what they wrote before, [`run`] applies wave by wave and [`gate`] waits
//! between them. One conductor for `nats_cluster` and `nats_gateway`.

pub mod gate;
pub mod heads;
pub mod join;
pub mod lease;
pub mod material;
pub mod plan;
pub mod progress;
pub mod reach;
pub mod run;
pub mod signing;
pub mod stopped;
