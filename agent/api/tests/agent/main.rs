//! The client on real TLS against the fake agent: connecting, claiming, calling, tunnelling, and every wrong peer.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod calling;
mod claiming;
mod connecting;
mod tunnelling;
mod world;

use nats_agent_api::fake::{FakeAgent, host_secret};
use nats_agent_api::wrong_peer::matrix;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wrong_peer_is_listened_to_and_every_right_one_is() {
    let authority = world::authority(1);
    let agent = FakeAgent::claimed(&authority, "east-1").await;
    let neighbour = host_secret("east-2");
    agent.script(|script| script.peers = [neighbour.keys().leaf_pin()].into());
    let matrix = matrix(&agent.address(), &authority, &neighbour).await;
    assert_eq!(matrix.accepted, Vec::<String>::new());
    assert_eq!(matrix.denied, Vec::<String>::new());
    assert_eq!((matrix.wrong, matrix.tried), (44, 48 * 11));
    // What got through is what the four right callers may do, and nothing else: 10 + 5 + 1 + 1 calls.
    assert!(agent.calls().len() <= 17, "{:?}", agent.calls());
}
