//! Blocks into limits and back.

use identity::{Authority, Generations};
use proptest::prelude::*;

use super::*;
use crate::resources::told_at::told_at;

fn authority() -> Authority {
    let root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

#[test]
fn all_problems_are_told_at_once_and_at_their_places() {
    let block = Value::object([
        ("system", Value::from("acme")),
        ("name", "a b".into()),
        ("generation", 0.into()),
        ("limits", Value::object([("connections", Value::from(-1)), ("payload", "1XB".into())])),
        ("jetstream", Value::object([("max_storage", Value::from("all")), ("max_streams", 0.into())])),
    ]);
    let problems = parse(&block).1;
    told_at(
        &problems,
        &[
            "(at system)",
            "(at name)",
            "(at generation)",
            "(at limits.connections)",
            "(at limits.payload)",
            "(at jetstream.max_storage)",
            "(at jetstream.max_streams)",
        ],
    );
}

#[test]
fn what_is_unknown_is_no_problem_and_gives_no_id() {
    let names = ["system", "name", "generation", "limits", "jetstream", "deletion_protection"];
    let block = Value::object(names.map(|name| (name, Value::unknown())));
    let (declared, problems) = parse(&block);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!((declared.id, declared.generation, declared.deletion_protection), (None, 1, true));
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(1_u64..1 << 50)
}

fn jetstream() -> impl Strategy<Value = Option<JetStreamLimits>> {
    let one = (limit(), limit(), limit(), limit(), limit(), any::<bool>()).prop_map(
        |(max_storage, max_memory, max_streams, max_consumers, max_ack_pending, max_bytes_required)| {
            JetStreamLimits {
                max_storage,
                max_memory,
                max_streams,
                max_consumers,
                max_ack_pending,
                max_bytes_required,
                ..JetStreamLimits::unlimited()
            }
        },
    );
    proptest::option::of(one)
}

proptest! {
    #[test]
    fn what_is_in_state_means_what_was_in_the_claims(
        (connections, leafnode_connections, subscriptions, payload) in (limit(), limit(), limit(), limit()),
        jetstream in jetstream(),
        generation in 1..50_u32,
        deletion_protection: bool,
    ) {
        let limits = AccountLimits {
            connections, leafnode_connections, subscriptions, payload, jetstream, ..AccountLimits::unlimited()
        };
        let (authority, id) = (authority(), "acme/orders".parse::<AccountId>().unwrap());
        let declared = Declared {
            id: Some(id.clone()),
            limits: limits.clone(),
            generation,
            deletion_protection,
            system: Some("acme/global".parse().unwrap()),
        };
        let mut claims = authority.account_claims(id.account.clone(), limits);
        let key = authority.account_signing_key(&id.account, generation);
        claims.signing_keys = std::iter::once((generation, key)).collect();
        let account = Account { claims, declared: declared.to_json() };
        let (read, problems) = parse(&state(&id, &account, &Value::Null, Value::list([])));
        prop_assert!(problems.is_empty(), "{}", problems);
        prop_assert_eq!(read, declared);
    }
}
