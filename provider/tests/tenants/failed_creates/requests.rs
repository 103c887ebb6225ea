//! Requests to JetStream that fail within a create of a stream.

use serde_json::json;

use super::judged;
use super::world::{Kind, World};
use crate::jetstream::Fault;

/// What may go wrong with a request, and what the error tells.
const FAULTS: [(Fault, &[&str]); 5] = [
    (Fault::Silent, &["Stream `acme/orders/ORDERS` cannot be created", "answers nobody in this account"]),
    (Fault::Full, &["insufficient storage resources", "Raise the account's or the servers' storage"]),
    (Fault::Overlap, &["subjects overlap", "Another stream of the account stores one of these `subjects`"]),
    (
        Fault::Forgets,
        &["Stream `acme/orders/ORDERS`: no end within 2 s", "what was done is kept and taken over"],
    ),
    (Fault::Alters, &["is not what was asked for", "`max_msgs` is `7`, asked for `-1`"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_streams_create_fails_and_the_next_apply_adopts_what_is_there() {
    for (fault, words) in FAULTS {
        let world = World::new(Kind::Stream).await;
        world.server.set(fault);
        let failure = world.create("2s").await.unwrap_err();
        judged(&world, 0, &failure, words, &format!("{fault:?}"));
        world.server.set(Fault::None);
        world.finishes(&format!("{fault:?}")).await;
        assert_eq!(world.server.stream("ORDERS").unwrap()["max_msgs"], json!(-1));
    }
    let world = World::new(Kind::Stream).await;
    world.create("1m").await.unwrap();
    assert_eq!(
        world.server.asked(),
        ["INFO", "CREATE"],
        "another request of a create needs a fault of its own"
    );
}
