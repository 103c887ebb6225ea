//! The rules on schemas, each seen to fire, and the builder.

use super::*;
use crate::value::Type;

#[test]
fn the_builders_calls_have_no_order() {
    assert_eq!(Attribute::string("a").mode(), Mode::Optional);
    assert_eq!(Attribute::string("a").optional().computed().mode(), Mode::OptionalComputed);
    assert_eq!(Attribute::string("a").computed().optional().mode(), Mode::OptionalComputed);
    assert_eq!(Attribute::string("a").computed().mode(), Mode::Computed);
    assert_eq!(Attribute::string("a").default("x").mode(), Mode::OptionalComputed);
}

#[test]
fn a_default_takes_the_exact_shape_of_its_type() {
    let tags = Attribute::set("tags", Type::String).default(vec!["b", "a"]);
    assert_eq!(tags.default_value(), Some(&Value::set(["a".into(), "b".into()])));
    let inner = [Attribute::string("a").optional(), Attribute::string("b").optional()];
    let object = Attribute::object("o", inner).default(Value::object([("a", Value::from("x"))]));
    assert_eq!(object.default_value(), Some(&Value::object([("a", Value::from("x")), ("b", Value::Null)])));
}

#[test]
fn a_good_schema_has_no_problems() {
    let schema = Schema::new(2)
        .attribute(Attribute::string("name").required())
        .attribute(Attribute::map_of("nodes", [Attribute::string("secret").write_only()]));
    assert_eq!(check_schema(schema.block(), Use::Resource), Vec::<String>::new());
    assert_eq!(
        check_schema(schema.block(), Use::Other),
        ["`nodes.secret` is write-only outside of a resource"]
    );
    assert_eq!(
        schema.block().implied_type(),
        Type::object([
            ("name", Type::String),
            ("nodes", Type::map(Type::object([("secret", Type::String)]))),
        ])
    );
}

#[test]
fn all_problems_are_told() {
    let schema = Schema::new(0).attributes([
        Attribute::string("Name"),
        Attribute::string("both").required().computed(),
        Attribute::string("wo").write_only().computed(),
        Attribute::string("wo_replace").write_only().requires_replace(),
        Attribute::string("made").computed().requires_replace(),
        Attribute::string("wrong").default(3),
        Attribute::set("any", Type::Dynamic),
        Attribute::object("empty", []),
        Attribute::set_of("rules", [Attribute::string("key").write_only()]),
    ]);
    assert_eq!(
        check_schema(schema.block(), Use::Resource),
        [
            "`Name` is no name: lower-case letters, digits and `_`, not starting with a digit",
            "`any` holds values of any type in a set",
            "`both` is required, so it can be neither optional nor computed",
            "`empty` has no attributes",
            "`made` is only computed, so no configuration can change it",
            "`rules.key` is write-only inside a set",
            "`wo` is write-only, so nothing may compute it",
            "`wo_replace` is write-only, so no change of it can be seen",
            "`wrong` has a default that is not of its type",
        ]
    );
}
