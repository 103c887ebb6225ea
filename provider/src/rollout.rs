//! Bringing many hosts to what was declared: order and gates.
//!
//! [`plan`] decides, purely, who goes when; [`join`] connects, and claims what [`claimed`] does not know by another key;
//! [`material`] signs what hosts are told, [`lease`] keeps others away, [`run`] applies wave by wave and [`gate`] waits
//! between them for what [`roster`] expects. [`heads`] and [`audit`] know what was seen of hosts before, and [`beside`]
//! keeps it. One conductor for `nats_cluster` and `nats_gateway`.

pub mod audit;
pub mod beside;
pub mod claimed;
pub mod gate;
pub mod heads;
pub mod join;
pub mod lease;
pub mod lost;
pub mod material;
pub mod plan;
pub mod progress;
pub mod reach;
pub mod roster;
pub mod run;
pub mod signing;
pub mod stopped;
mod trial;
