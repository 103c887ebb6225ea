//! The front over real TLS and with a real nats-server; the applier behind it is scripted.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

#[path = "front/claim.rs"]
mod claim;
#[path = "front/listener.rs"]
mod listener;
#[path = "front/local.rs"]
mod local;
#[path = "front/mesh.rs"]
mod mesh;
#[path = "front/nats.rs"]
mod nats;
#[path = "front/peers.rs"]
mod peers;
#[path = "front/scripted.rs"]
mod scripted;
#[path = "front/server_view.rs"]
mod server_view;
#[path = "front/tunnel.rs"]
mod tunnel;
