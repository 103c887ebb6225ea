//! Round trips, exact bytes, and that no input makes a decoder panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number {
    text.parse().unwrap()
}

fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![Just(Type::String), Just(Type::Number), Just(Type::Bool), Just(Type::Dynamic)];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Type::list),
            inner.clone().prop_map(Type::map),
            inner.clone().prop_map(Type::set),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Type::Tuple),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(Type::Object),
        ]
    })
}

fn any_refinement() -> impl Strategy<Value = Refinement> {
    (any::<bool>(), "[a-z]{0,3}", any::<Option<u64>>()).prop_map(|(not_null, prefix, most)| {
        let refinement = Refinement::new().prefix(prefix);
        let refinement = if not_null { refinement.not_null() } else { refinement };
        if most.is_some() { refinement.length(1, most) } else { refinement }
    })
}

fn any_number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        prop::num::f64::NORMAL.prop_map(|float| Number::from_f64(float).unwrap()),
        "-?[0-9]{1,40}\\.[0-9]{1,40}".prop_map(|text| number(&text)),
    ]
}

/// A value of the type, or null, or unknown.
fn any_value(of: &Type) -> BoxedStrategy<Value> {
    let known: BoxedStrategy<Value> = match of {
        Type::String => "\\PC{0,8}".prop_map(|text| Value::String(msgpack::normalised(&text))).boxed(),
        Type::Number => any_number().prop_map(Value::Number).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Dynamic => {
            any::<bool>().prop_map(|truth| Value::Dynamic(Box::new((Type::Bool, Value::Bool(truth))))).boxed()
        }
        Type::List(element) => prop::collection::vec(any_value(element), 0..4).prop_map(Value::List).boxed(),
        Type::Set(element) => prop::collection::vec(any_value(element), 0..4).prop_map(Value::set).boxed(),
        Type::Map(element) => {
            prop::collection::btree_map("[a-z]{1,3}", any_value(element), 0..4).prop_map(Value::Map).boxed()
        }
        Type::Tuple(types) => types.iter().map(any_value).collect::<Vec<_>>().prop_map(Value::Tuple).boxed(),
        Type::Object(types) => {
            let names: Vec<String> = types.keys().cloned().collect();
            let values: Vec<_> = types.values().map(any_value).collect();
            values.prop_map(move |values| Value::object(names.clone().into_iter().zip(values))).boxed()
        }
    };
    prop_oneof![
        8 => known,
        1 => Just(Value::Null),
        1 => any_refinement().prop_map(Value::Unknown),
    ]
    .boxed()
}

fn typed_value() -> impl Strategy<Value = (Type, Value)> {
    any_type().prop_flat_map(|of| {
        let values = any_value(&of);
        (Just(of), values)
    })
}

proptest! {
    #[test]
    fn types_survive_their_json(of in any_type()) {
        prop_assert_eq!(Type::from_json(&of.to_json()).unwrap(), of);
    }

    #[test]
    fn values_survive_msgpack((of, value) in typed_value()) {
        let bytes = encode(&value, &of).unwrap();
        let back = decode(&bytes, &of).unwrap();
        prop_assert!(back == value, "{} became {}", value, back);
    }

    #[test]
    fn no_bytes_make_msgpack_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), of in any_type()) {
        let _ = decode(&bytes, &of);
    }

    #[test]
    fn no_damage_makes_msgpack_panic((of, value) in typed_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&value, &of).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes, &of);
        bytes.truncate(at);
        prop_assert!(decode(&bytes, &of).is_err());
    }

    #[test]
    fn no_text_makes_a_type_or_state_panic(text in "[\\[\\]{}\",:a-z0-9.eE+\\\\ -]{0,80}", of in any_type()) {
        let _ = Type::from_json(text.as_bytes());
        let _ = decode_state(text.as_bytes(), &of);
    }

    #[test]
    fn numbers_survive_their_text(number in any_number()) {
        prop_assert_eq!(number.to_string().parse::<Number>().unwrap(), number);
    }

    #[test]
    fn floats_are_exact(float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
        prop_assert_eq!(Number::from_f64(float).unwrap().to_exact_f64(), Some(float));
    }

    #[test]
    fn numbers_are_ordered_like_integers(a in any::<i64>(), b in any::<i64>()) {
        prop_assert_eq!(Number::from(a).cmp(&Number::from(b)), a.cmp(&b));
    }

    #[test]
    fn state_keeps_plain_values(text in "\\PC{0,20}", whole in any::<i64>()) {
        let of = Type::object([("s", Type::String), ("n", Type::Number)]);
        let json = serde_json::json!({ "s": text, "n": whole, "dropped": [1, { "x": null }] });
        let state = decode_state(json.to_string().as_bytes(), &of).unwrap();
        prop_assert_eq!(state.attr("s").as_str().unwrap(), msgpack::normalised(&text));
        prop_assert_eq!(state.attr("n").as_i64().unwrap(), whole);
    }
}

#[test]
fn numbers_are_written_as_cty_writes_them() {
    let bytes = |text: &str| encode(&Value::Number(number(text)), &Type::Number).unwrap();
    assert_eq!(bytes("7"), [7]);
    assert_eq!(bytes("0.5")[0], 0xcb, "an exact float");
    assert_eq!(&bytes("0.1")[1..], b"0.1", "not exact, so text");
    let large = "123456789012345678901234567890";
    assert_eq!(decode(&bytes(large), &Type::Number).unwrap(), Value::Number(number(large)));
    assert_eq!(number("1500e-3").to_string(), "1.5");
    assert_eq!(number("-0.0"), number("0"));
}

#[test]
fn bad_numbers_are_refused() {
    for text in ["", ".", "1e", "1.2.3", "0x10", "--1", "NaN", "1e999999999", "1_000"] {
        assert!(text.parse::<Number>().is_err(), "{text}");
    }
    assert_eq!(Number::from_f64(f64::INFINITY), Err(NumberError::NotFinite));
}

#[test]
fn unknowns_look_like_ctys() {
    assert_eq!(encode(&Value::unknown(), &Type::String).unwrap(), [0xd4, 0, 0]);
    let refined = Value::Unknown(Refinement::new().not_null());
    let bytes = encode(&refined, &Type::String).unwrap();
    assert_eq!(bytes, [0xc7, 3, 12, 0x81, 1, 0xc2], "extension 12 with {{1: false}}");
    assert_eq!(decode(&[0xd4, 77, 0], &Type::Bool).unwrap(), Value::unknown(), "any extension is unknown");
    let with_strange_key = [0xc7, 5, 12, 0x82, 1, 0xc2, 99, 0xc0];
    assert_eq!(decode(&with_strange_key, &Type::String).unwrap(), refined);
}

#[test]
fn decode_errors_say_where() {
    let of = Type::object([("nodes", Type::map(Type::object([("port", Type::Number)])))]);
    let wrong = rmpv::Value::Map(vec![(
        "nodes".into(),
        rmpv::Value::Map(vec![("a".into(), rmpv::Value::Map(vec![("port".into(), true.into())]))]),
    )]);
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &wrong).unwrap();
    let error = decode(&bytes, &of).unwrap_err();
    assert_eq!(error.to_string(), r#"`nodes["a"].port` is bool, not number"#);
    assert_eq!(decode(&[0x80], &of).unwrap_err().to_string(), "`nodes` is missing");
    assert_eq!(decode(&[0xc0, 0xc0], &of).unwrap_err().to_string(), "1 bytes follow the value");
}

#[test]
fn values_may_nest_as_deep_as_promised() {
    let (mut of, mut value) = (Type::String, Value::from("deep"));
    for _ in 0..MAX_DEPTH {
        (of, value) = (Type::list(of), Value::list([value]));
    }
    assert_eq!(decode(&encode(&value, &of).unwrap(), &of).unwrap(), value);
    (of, value) = (Type::list(of), Value::list([value]));
    assert_eq!(encode(&value, &of), Err(EncodeError::TooDeep));
}

#[test]
fn depth_is_bounded() {
    let deep = vec![0x91_u8; 100_000];
    assert!(decode(&deep, &Type::Dynamic).is_err());
    let deep = "[".repeat(100_000);
    assert!(decode_state(deep.as_bytes(), &Type::Dynamic).is_err());
    let mut of = Type::Bool;
    for _ in 0..100 {
        of = Type::list(of);
    }
    assert!(Type::from_json(&of.to_json()).is_err());
}

#[test]
fn state_keeps_numbers_as_written_and_reads_dynamic_values() {
    let of = Type::object([("n", Type::Number), ("d", Type::Dynamic), ("gone", Type::String)]);
    let json = br#"{"n": 0.1234567890123456789012345, "d": {"type": ["list","number"], "value": [1]}}"#;
    let state = decode_state(json, &of).unwrap();
    assert_eq!(state.attr("n").to_string(), "0.1234567890123456789012345");
    assert_eq!(state.attr("d").as_slice().unwrap().len(), 1);
    assert!(state.attr("gone").is_null());
    let error = decode_state(br#"{"n": "x"}"#, &of).unwrap_err();
    assert_eq!(error.to_string(), "`n` is no number");
}

#[test]
fn debug_hides_what_display_shows() {
    let value = Value::object([("password", Value::from("hunter2")), ("ports", Value::from(vec![1_i64, 2]))]);
    assert_eq!(format!("{value:?}"), "{ password = <7 bytes>, ports = [1, 2] }");
    assert_eq!(value.to_string(), r#"{ password = "hunter2", ports = [1, 2] }"#);
}

#[test]
fn sets_have_no_order_and_no_repetition() {
    let set = |texts: &[&str]| Value::set(texts.iter().map(|text| Value::from(*text)));
    assert_eq!(set(&["b", "a", "b"]), set(&["a", "b"]));
    let unknowns = Value::set([Value::unknown(), Value::unknown()]);
    assert_eq!(unknowns.as_slice().unwrap().len(), 2, "unknowns may turn out to differ");
}

#[test]
fn paths_find_and_show_places() {
    let value = Value::object([(
        "nodes",
        Value::map([("east-1", Value::object([("agents", Value::list(["x".into()]))]))]),
    )]);
    let path = Path::root("nodes").key("east-1").attr("agents").index(0);
    assert_eq!(path.to_string(), r#"nodes["east-1"].agents[0]"#);
    assert_eq!(value.at(&path), Some(&Value::from("x")));
    assert_eq!(value.at(&Path::root("nodes").attr("east-1")), None, "a map has keys, not attributes");
}

#[test]
fn refinements_are_kept_or_broken() {
    let prefix = Refinement::new().not_null().prefix("id-");
    assert!(prefix.admits(&"id-7".into()) && !prefix.admits(&"7".into()) && !prefix.admits(&Value::Null));
    let two = Refinement::new().length(1, Some(2));
    assert!(two.admits(&Value::Map(BTreeMap::from([("a".into(), Value::Null)]))));
    assert!(!two.admits(&Value::list([])));
}
