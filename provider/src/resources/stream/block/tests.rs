//! Blocks into settings and back.

use nats_config::{ByteSize, NatsDuration};
use proptest::prelude::*;

use super::*;
use crate::resources::told_at::told_at;

fn block<const N: usize>(attributes: [(&str, Value); N]) -> Value {
    Value::object(attributes)
}

fn told(block: &Value) -> Vec<String> {
    parse(block).1.iter().map(ToString::to_string).collect()
}

#[test]
fn all_problems_are_told_at_once_and_at_their_places() {
    let wrong = block([
        ("account", "orders".into()),
        ("name", "a.b".into()),
        ("subjects", Value::set([Value::from("a..b"), "b".into()])),
        ("storage", "tape".into()),
        ("retention", "for ever".into()),
        ("discard", "some".into()),
        ("replicas", 6.into()),
        ("max_messages", 0.into()),
        ("max_bytes", "much".into()),
        ("max_age", "50ms".into()),
        ("duplicate_window", "1h".into()),
        ("compression", "zip".into()),
        ("allow_rollup", true.into()),
        ("deny_purge", true.into()),
        ("metadata", Value::map([("terraform.owner", Value::from("x"))])),
        ("description", "x".repeat(4097).into()),
    ]);
    told_at(
        &parse(&wrong).1,
        &[
            "(at account)",
            "Wrong stream name (at name)",
            "Wrong subject (at subjects)",
            "(at storage)",
            "(at retention)",
            "(at discard)",
            "(at replicas)",
            "(at max_messages)",
            "(at max_bytes)",
            "`max_age` is too short (at max_age)",
            "`duplicate_window` is longer than messages live (at duplicate_window)",
            "(at compression)",
            "(at allow_rollup)",
            "Taken key (at metadata[\"terraform.owner\"])",
            "Description too long (at description)",
        ],
    );
}

#[test]
fn what_is_unknown_is_no_problem_and_gives_no_id() {
    let names = [
        "account",
        "name",
        "subjects",
        "storage",
        "retention",
        "discard",
        "replicas",
        "max_messages",
        "max_bytes",
        "max_age",
        "duplicate_window",
        "compression",
        "placement",
        "metadata",
        "description",
        "deletion_protection",
    ];
    let unknown = Value::object(names.map(|name| (name, Value::unknown())));
    let (declared, problems) = parse(&unknown);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!((declared.id(), declared.deletion_protection), (None, true));
    let inner = block([("cluster", Value::unknown()), ("tags", Value::set([Value::unknown()]))]);
    assert!(told(&unknown.with("placement", inner)).is_empty());
}

#[test]
fn a_subject_is_checked_as_the_server_does() {
    for (subject, problem) in [
        ("orders.>", None),
        ("a.*.b", None),
        ("", Some("has an empty token")),
        ("a.", Some("has an empty token")),
        ("a b", Some("has white space")),
        ("a.>.b", Some("has `>` before its end")),
        ("$JS.API.>", Some("belongs to NATS itself")),
    ] {
        assert_eq!(subject_problem(subject), problem, "{subject}");
    }
    let none = block([("subjects", Value::set([]))]);
    assert_eq!(told(&none), ["error: No subject (at subjects): A stream stores at least one subject."]);
}

fn size() -> impl Strategy<Value = Option<ByteSize>> {
    proptest::option::of((1_u64..1 << 50).prop_map(|bytes| ByteSize::from_bytes(bytes).unwrap()))
}

/// From a second up, so that the rules between times hold.
fn time(seconds: std::ops::Range<u32>) -> impl Strategy<Value = Option<NatsDuration>> {
    proptest::option::of(seconds.prop_map(NatsDuration::from_secs))
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[a-z]{1,6}", 0..3)
}

prop_compose! {
    fn settings()(
        (storage, retention, discard) in (
            word(&["file", "memory"]), word(&["limits", "interest", "workqueue"]), word(&["old", "new"]),
        ),
        subjects in proptest::collection::btree_set("[a-z]{1,8}(\\.[a-z*]{1,5}){0,3}", 1..5),
        (max_messages, max_messages_per_subject, max_consumers) in (
            proptest::option::of(1_u64..1 << 40), proptest::option::of(1_u64..1 << 40), proptest::option::of(1_u64..99),
        ),
        (max_bytes, max_message_size) in (size(), size()),
        (max_age, duplicate_window) in (time(1000..100_000), time(1..1000)),
        (placement_cluster, placement_tags) in (proptest::option::of("[a-z]{1,6}"), names()),
        (replicas, compressed, description) in (1_u64..=5, any::<bool>(), "[a-z ]{0,9}"),
        (allow_direct, allow_rollup, deny_delete, deny_purge, allow_message_ttl) in any::<(bool, bool, bool, bool, bool)>(),
        metadata in proptest::collection::btree_map("[a-z]{1,6}", ".{0,9}", 0..3),
    ) -> StreamSettings {
        let compression = if compressed && storage == "file" { "s2" } else { "none" };
        StreamSettings {
            name: "ORDERS".to_owned(), description, subjects, storage, retention, discard, replicas, max_messages,
            max_bytes, max_age, max_message_size, max_messages_per_subject, max_consumers, duplicate_window,
            placement_cluster, placement_tags, compression: compression.to_owned(), allow_direct,
            allow_rollup: allow_rollup && !deny_purge, deny_delete, deny_purge, allow_message_ttl, metadata,
        }
    }
}

proptest! {
    #[test]
    fn what_is_in_state_means_what_the_server_has(settings in settings(), deletion_protection: bool) {
        let id: StreamId = "acme/orders/ORDERS".parse().unwrap();
        let (declared, problems) = parse(&state(&id, &settings, deletion_protection, &Value::Null));
        prop_assert!(problems.is_empty(), "{}", problems);
        prop_assert_eq!(declared.id(), Some(id));
        prop_assert_eq!(declared.settings, settings);
        prop_assert_eq!(declared.deletion_protection, deletion_protection);
    }

    #[test]
    fn no_name_and_no_subject_panics(name in ".{0,40}", subject in ".{0,40}") {
        parse(&block([("name", name.into()), ("subjects", Value::set([Value::from(subject)]))]));
    }
}
