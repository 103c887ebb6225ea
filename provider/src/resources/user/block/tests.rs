//! Blocks into templates and back.

use identity::{AccountPublicKey, Authority, Generations};
use proptest::prelude::*;

use super::*;
use crate::resources::told_at::told_at;

fn told(block: &Value) -> Vec<String> {
    parse(block).1.iter().map(ToString::to_string).collect()
}

fn key() -> AccountPublicKey {
    let root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
    let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
    authority.account_key(&"orders".parse().unwrap())
}

#[test]
fn all_problems_are_told_at_once_and_at_their_places() {
    let subjects = |text: &str| Value::set([Value::from(text)]);
    let block = Value::object([
        ("account", Value::from("orders")),
        ("name", "a/b".into()),
        ("generation", 0.into()),
        ("publish", Value::object([("allow", subjects("a..b"))])),
        ("subscribe", Value::object([("deny", subjects(" a"))])),
        ("allow_responses", Value::object([("max_messages", Value::from(0)), ("expires", "0s".into())])),
        ("limits", Value::object([("subscriptions", Value::from(-1)), ("payload", "much".into())])),
    ]);
    told_at(
        &parse(&block).1,
        &[
            "(at account)",
            "(at name)",
            "(at generation)",
            "Wrong subject (at publish.allow)",
            "Wrong subject (at subscribe.deny)",
            "Wrong number of answers (at allow_responses.max_messages)",
            "No time to answer (at allow_responses.expires)",
            "(at limits.subscriptions)",
            "(at limits.payload)",
        ],
    );
}

#[test]
fn what_is_unknown_is_no_problem_and_gives_no_id() {
    let names = ["account", "name", "generation", "publish", "subscribe", "allow_responses", "limits"];
    let block = Value::object(names.map(|name| (name, Value::unknown())));
    let (declared, problems) = parse(&block);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!((declared.id, declared.generation), (None, 1));
    let inner = Value::object([("allow", Value::unknown()), ("deny", Value::set([Value::unknown()]))]);
    assert!(told(&block.with("publish", inner)).is_empty());
}

fn subjects() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[a-z]{1,6}(\\.[a-z*]{1,4}){0,2}( q)?", 0..4)
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(0_u64..1 << 50)
}

proptest! {
    #[test]
    fn what_is_in_state_means_what_was_in_the_claims(
        publish in (subjects(), subjects()),
        subscribe in (subjects(), subjects()),
        responses in proptest::option::of((prop_oneof![Just(-1), 1..1000_i32], 1..100_000_i64)),
        (max_subscriptions, max_payload, max_data) in (limit(), limit(), limit()),
        generation in 1..50_u32,
    ) {
        let permissions = |(allow, deny)| SubjectPermissions { allow, deny };
        let template = UserTemplate {
            publish: permissions(publish),
            subscribe: permissions(subscribe),
            allow_responses: responses.map(|(max_messages, millis)| ResponsePermission {
                max_messages,
                ttl_ns: millis * 1_000_000,
            }),
            max_subscriptions,
            max_payload,
            max_data,
            ..UserTemplate::unrestricted()
        };
        let id: UserId = "acme/orders/service".parse().unwrap();
        let scope = UserScope { key: key(), generation, template: template.clone() };
        let (declared, problems) = parse(&state(&id, &scope));
        prop_assert!(problems.is_empty(), "{}", problems);
        prop_assert_eq!(declared, Declared { id: Some(id), generation, template });
    }

    #[test]
    fn no_subject_panics(text in ".{0,40}") {
        let allow = Value::object([("allow", Value::set([Value::from(text)]))]);
        parse(&Value::object([("publish", allow)]));
    }
}
