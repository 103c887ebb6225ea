//! The generic plan, and each of core's rules seen to fire.

use proptest::prelude::*;

use super::*;
use crate::schema::{Attribute, Block, Schema};
use crate::value::{Path, Refinement, Type, Value};

fn same_letters(a: &Value, b: &Value) -> bool {
    let lower = |value: &Value| value.as_str().map(str::to_ascii_lowercase);
    lower(a) == lower(b)
}

fn block() -> Block {
    let schema = Schema::new(0)
        .attribute(Attribute::string("id").computed().use_state_for_unknown())
        .attribute(Attribute::string("etag").computed())
        .attribute(Attribute::string("name").required().requires_replace())
        .attribute(Attribute::string("word").optional().equivalent(same_letters))
        .attribute(Attribute::number("count").default(3))
        .attribute(Attribute::string("secret").write_only())
        .attribute(Attribute::set("tags", Type::String).optional())
        .attribute(
            Attribute::map_of(
                "nodes",
                [
                    Attribute::string("address").required().requires_replace(),
                    Attribute::string("word").optional().equivalent(same_letters),
                    Attribute::string("key").computed().use_state_for_unknown(),
                    Attribute::string("token").write_only(),
                ],
            )
            .optional(),
        )
        .attribute(
            Attribute::set_of(
                "rules",
                [
                    Attribute::string("to").required(),
                    Attribute::number("seen").computed().use_state_for_unknown(),
                ],
            )
            .optional(),
        )
        .attribute(Attribute::list_of("steps", [Attribute::string("do").required()]).optional());
    schema.block().clone()
}

fn full(value: Value) -> Value {
    complete(value, &block().implied_type()).unwrap()
}

fn node(address: &str) -> Value {
    Value::object([
        ("address", address.into()),
        ("word", Value::Null),
        ("key", Value::Null),
        ("token", "t".into()),
    ])
}

fn config() -> Value {
    full(Value::object([
        ("name", Value::from("one")),
        ("word", "Hello".into()),
        ("secret", "hush".into()),
        ("tags", Value::list(["b".into(), "a".into()])),
        ("nodes", Value::map([("east", node("1")), ("west", node("2"))])),
        ("rules", Value::list([Value::object([("to", "x".into())])])),
        ("steps", Value::list([Value::object([("do", "go".into())])])),
    ]))
}

/// What apply would make of a plan: every unknown becomes a text or number of its own.
fn applied(planned: &Value) -> Value {
    match planned {
        Value::Unknown(_) => "made".into(),
        Value::Object(attributes) => Value::object(attributes.iter().map(|(name, value)| {
            let value = if name == "seen" && !value.is_known() { 1.into() } else { applied(value) };
            (name.clone(), value)
        })),
        Value::Map(entries) => Value::map(entries.iter().map(|(key, value)| (key.clone(), applied(value)))),
        Value::List(elements) => Value::list(elements.iter().map(applied)),
        Value::Set(elements) => Value::set(elements.iter().map(applied)),
        other => other.clone(),
    }
}

fn texts(found: &[Violation]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_create_takes_configuration_defaults_and_unknowns() {
    let planned = plan(&block(), None, &config()).value;
    assert_eq!(planned.attr("name").as_str(), Some("one"));
    assert_eq!(planned.attr("count").as_i64(), Some(3));
    assert!(planned.attr("secret").is_null());
    assert!(!planned.attr("id").is_known() && !planned.attr("etag").is_known());
    let east = planned.at(&Path::root("nodes").key("east")).unwrap();
    assert!(east.attr("token").is_null() && !east.attr("key").is_known());
    assert_eq!(check_plan(&block(), None, &config(), &planned), []);
}

#[test]
fn planning_what_was_applied_changes_nothing() {
    let prior = applied(&plan(&block(), None, &config()).value);
    let again = plan(&block(), Some(&prior), &config());
    assert_eq!(again, Planned { value: prior, requires_replace: vec![] });
}

#[test]
fn what_means_the_same_keeps_its_form() {
    let prior = applied(&plan(&block(), None, &config()).value);
    let config = config().with("word", "HELLO");
    assert_eq!(plan(&block(), Some(&prior), &config).value, prior);
    assert_eq!(check_plan(&block(), Some(&prior), &config, &prior), []);
    let reported = prior.clone().with("word", "hELLO");
    assert_eq!(keep_meaning(&block(), reported, &prior), prior);
}

#[test]
fn a_change_makes_volatile_values_unknown_and_keeps_stable_ones() {
    let prior = applied(&plan(&block(), None, &config()).value);
    let config = config().with("nodes", Value::map([("east", node("1")), ("north", node("3"))]));
    let planned = plan(&block(), Some(&prior), &config);
    assert_eq!(planned.value.attr("id").as_str(), Some("made"));
    assert!(!planned.value.attr("etag").is_known());
    let nodes = planned.value.attr("nodes");
    assert_eq!(nodes.attr("east").attr("key").as_str(), Some("made"));
    assert!(!nodes.attr("north").attr("key").is_known());
    assert_eq!(planned.value.attr("rules"), prior.attr("rules"), "matched by what the configuration sets");
    assert_eq!(planned.requires_replace, []);
    assert_eq!(check_plan(&block(), Some(&prior), &config, &planned.value), []);
}

#[test]
fn replacement_names_the_attribute() {
    let prior = applied(&plan(&block(), None, &config()).value);
    let config = config().with("name", "two").with("nodes", Value::map([("east", node("9"))]));
    let planned = plan(&block(), Some(&prior), &config);
    let paths: Vec<String> = planned.requires_replace.iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["name", r#"nodes["east"].address"#]);
    assert_eq!(check_replace_paths(&block(), Some(&prior), &planned.value, &planned.requires_replace), []);
}

#[test]
fn replacement_of_nothing_is_refused() {
    let planned = plan(&block(), None, &config()).value;
    let paths = [Path::root("nothing"), Path::root("nodes").key("gone"), Path::root("rules").attr("to")];
    assert_eq!(
        texts(&check_replace_paths(&block(), None, &planned, &paths)),
        [
            "nothing: asks for replacement, but is no attribute",
            r#"nodes["gone"]: asks for replacement, but is in neither the prior nor the planned state"#,
            "rules.to: asks for replacement inside a set; name the set itself",
        ]
    );
}

#[test]
fn unknown_configuration_stays_unknown() {
    let config = config().with("count", Value::unknown()).with("nodes", Value::unknown());
    let planned = plan(&block(), None, &config).value;
    assert!(!planned.attr("count").is_known() && !planned.attr("nodes").is_known());
    assert_eq!(check_plan(&block(), None, &config, &planned), []);
}

/// Each way a plan can go wrong, and what is said about it.
#[test]
fn every_rule_on_plans_fires() {
    let good = plan(&block(), None, &config()).value;
    let check = |planned: Value, expected: &str| {
        let found = texts(&check_plan(&block(), None, &config(), &planned));
        assert_eq!(found, [expected]);
    };
    check(Value::Null, "is planned absent, but the configuration wants it");
    check(Value::unknown(), "is planned unknown as a whole");
    check(good.clone().with("name", "two"), r#"name: is planned `"two"`, but configured `"one"`"#);
    check(good.clone().with("secret", "hush"), "secret: is write-only and must be planned null");
    check(
        good.clone().with("steps", Value::list([])),
        "steps: has 0 elements in the plan, but 1 in the configuration",
    );
    check(
        good.clone().with("steps", Value::list([Value::unknown()])),
        "steps[0]: must not be unknown itself; plan its attributes unknown",
    );
    check(
        good.clone().with("steps", Value::unknown()),
        "steps: must be unknown exactly when the configuration is; plan its attributes unknown instead",
    );
    check(
        good.clone().with("nodes", Value::Null),
        "nodes: is planned absent, but the configuration wants it",
    );
    let nodes = |entries: &[(&str, &str)]| {
        Value::map(entries.iter().map(|(key, address)| (*key, node(address).with("token", Value::Null))))
    };
    check(
        good.clone().with("nodes", nodes(&[("east", "1")])),
        r#"nodes["west"]: is configured, but missing in the plan"#,
    );
    check(
        good.clone().with("nodes", nodes(&[("east", "1"), ("west", "2"), ("x", "3")])),
        r#"nodes["x"]: is planned, but not configured"#,
    );
    check(
        good.with("rules", Value::set([Value::object([("to", "y".into()), ("seen", Value::unknown())])])),
        "rules: has 1 elements in the plan that match none in the configuration",
    );
    let bare = full(Value::object([("name", "one")].map(|(name, value)| (name, Value::from(value)))));
    let planned = plan(&block(), None, &bare).value.with("word", "x");
    assert_eq!(
        texts(&check_plan(&block(), None, &bare, &planned)),
        [r#"word: is not computed, so it must be planned null, not `"x"`"#]
    );
}

/// Each way a result can differ from its plan, and what is said about it.
#[test]
fn every_rule_on_results_fires() {
    let planned = plan(&block(), None, &config()).value;
    let good = applied(&planned);
    assert_eq!(check_result(&block(), &planned, &good), []);
    let check = |actual: Value, expected: &str| {
        assert_eq!(texts(&check_result(&block(), &planned, &actual)), [expected]);
    };
    check(Value::Null, "was planned present, but is absent");
    check(good.clone().with("name", "two"), r#"name: was `"one"`, but now `"two"`"#);
    check(good.clone().with("name", Value::Null), r#"name: was `"one"`, but now `null`"#);
    check(good.clone().with("name", Value::unknown()), "name: was known in the plan, but is unknown now");
    check(good.clone().with("steps", Value::list([])), "steps[0]: has vanished");
    let step = || Value::object([("do", "go".into())]);
    check(
        good.clone().with("steps", Value::list([step(), step()])),
        "steps[1]: has appeared, but was not planned",
    );
    check(
        good.clone().with("tags", Value::set(["a".into()])),
        "tags: has 1 elements in the plan that match none in the result",
    );
    let mut nodes = good.attr("nodes").as_map().unwrap().clone();
    nodes.remove("east");
    check(good.clone().with("nodes", Value::Map(nodes)), r#"nodes["east"]: has vanished"#);
    let refined = planned.clone().with("id", Value::Unknown(Refinement::new().prefix("id-")));
    assert_eq!(
        texts(&check_result(&block(), &refined, &good)),
        [r#"id: is `"made"`, against what its unknown promised"#]
    );
    assert_eq!(texts(&check_result(&block(), &Value::Null, &good)), ["was planned absent, but is present"]);
}

#[test]
fn sensitive_values_are_not_told() {
    let schema = Schema::new(0).attribute(Attribute::string("key").required().sensitive());
    let object = |text: &str| Value::object([("key", Value::from(text))]);
    let found = check_plan(schema.block(), None, &object("hunter2"), &object("hunter3"));
    assert_eq!(texts(&found), ["key: is planned (sensitive), but configured (sensitive)"]);
    let found = check_result(schema.block(), &object("hunter2"), &object("hunter3"));
    assert_eq!(texts(&found), ["key: was (sensitive), but now (sensitive)"]);
}

#[test]
fn shapes_are_completed_or_refused() {
    let found = complete(
        Value::object([("name", Value::from(true)), ("nowhere", Value::Null)]),
        &block().implied_type(),
    );
    assert_eq!(
        texts(&found.unwrap_err()),
        ["name: is bool, but the schema says string", "nowhere: is not in the schema"]
    );
}

#[test]
fn write_only_values_are_found_and_removed() {
    let leaky = config();
    let found = texts(&check_write_only(&block(), &leaky));
    assert_eq!(
        found,
        [
            r#"nodes["east"].token: is write-only and must be null"#,
            r#"nodes["west"].token: is write-only and must be null"#,
            "secret: is write-only and must be null"
        ]
    );
    let clean = without_write_only(&block(), leaky);
    assert_eq!(check_write_only(&block(), &clean), []);
    assert_eq!(without_write_only(&block(), clean.clone()), clean);
    let unknown = clean.with("tags", Value::set([Value::unknown()]));
    assert_eq!(texts(&check_wholly_known(&unknown)), ["tags: is unknown where all must be known"]);
}

fn any_config() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just(Value::Null), "[a-cA-C]{1,2}".prop_map(Value::from)];
    let node = ("[a-c]", word.clone()).prop_map(|(address, word)| node(&address).with("word", word));
    let nodes = prop_oneof![
        1 => Just(Value::Null),
        4 => prop::collection::btree_map("[a-c]", node, 0..3).prop_map(Value::Map),
    ];
    let rules = prop::collection::vec("[a-c]", 0..3).prop_map(|all| {
        Value::set(all.into_iter().map(|to| Value::object([("to", to.into()), ("seen", Value::Null)])))
    });
    ("[ab]", word, nodes, rules, any::<Option<i64>>()).prop_map(|(name, word, nodes, rules, count)| {
        let parts = [("name", Value::from(name)), ("word", word), ("nodes", nodes), ("rules", rules)];
        full(Value::object(parts).with("count", count).with("secret", "s"))
    })
}

proptest! {
    /// Whatever is configured, first and then: plans keep core's rules, results of applying them too, and
    /// after it there is nothing left to plan.
    #[test]
    fn apply_then_plan_is_empty(first in any_config(), then in any_config()) {
        let block = block();
        let created = plan(&block, None, &first).value;
        prop_assert_eq!(texts(&check_plan(&block, None, &first, &created)), Vec::<String>::new());
        let prior = applied(&created);
        prop_assert_eq!(texts(&check_result(&block, &created, &prior)), Vec::<String>::new());
        prop_assert_eq!(plan(&block, Some(&prior), &first).value, prior.clone());

        let Planned { value: updated, requires_replace } = plan(&block, Some(&prior), &then);
        prop_assert_eq!(texts(&check_plan(&block, Some(&prior), &then, &updated)), Vec::<String>::new());
        let bad = check_replace_paths(&block, Some(&prior), &updated, &requires_replace);
        prop_assert_eq!(texts(&bad), Vec::<String>::new());
        let after = applied(&updated);
        prop_assert_eq!(plan(&block, Some(&after), &then).value, after);
    }
}
