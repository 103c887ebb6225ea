//! Everything that Terraform, or a state file, may hand to a provider, each as one body for any bytes: for the fuzz
//! targets and for tests (feature `fuzz`).

use std::sync::Arc;

use prost::Message;

use crate::engine::Engine;
use crate::proto::tfplugin6 as wire;
use crate::rpc::Service;
use crate::schema::Mode;
use crate::value::{self, Number, Refinement, Type, Value};
use crate::{Provider, Schema};

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All that need no provider.
pub const TARGETS: &[Target] = &[
    ("value_msgpack", msgpack, || {
        let value = typical();
        let dynamic = Value::Dynamic(Box::new((rich(), value.clone())));
        let of = |kind: u8, value: &Value, of: &Type| {
            [vec![kind], value::encode(value, of).expect("a value of its type")].concat()
        };
        vec![of(0, &dynamic, &Type::Dynamic), of(1, &value, &rich()), vec![2, 0xa2, b'1', b'e']]
    }),
    ("value_json", json, || {
        let text = r#"{"name":"a","sizes":[1,2.5e3],"tags":{"a":"b"},"any":{"value":[true],"type":["list","bool"]}}"#;
        vec![[b"\x01", text.as_bytes()].concat(), b"\x02-1.5e3".to_vec()]
    }),
    ("refined_unknown", refined, || {
        vec![
            vec![0x83, 1, 0xc2, 2, 0xa3, b'a', b'b', b'c', 5, 1],
            vec![0x82, 3, 0x92, 1, 0xc3, 4, 0x92, 9, 0xc2],
        ]
    }),
    ("type_json", type_json, || vec![rich().to_json(), br#"["object",{"a":"string"},["a"]]"#.to_vec()]),
    ("number", number, || [&b"-1.5e3"[..], b"1e1100", b"0.0000001"].map(<[u8]>::to_vec).into()),
];

/// A type with a place for everything.
fn rich() -> Type {
    Type::object([
        ("name", Type::String),
        ("sizes", Type::list(Type::Number)),
        ("tags", Type::map(Type::String)),
        ("names", Type::set(Type::String)),
        ("pair", Type::Tuple(vec![Type::Bool, Type::String])),
        ("any", Type::Dynamic),
    ])
}

fn typical() -> Value {
    Value::Object(
        [
            ("name".to_owned(), Value::from("a")),
            ("sizes".to_owned(), vec![1_i64, 2].into()),
            ("tags".to_owned(), Value::Map([("a".to_owned(), Value::from("b"))].into())),
            ("names".to_owned(), Value::Set(["a", "b"].map(Value::from).into_iter().collect())),
            ("pair".to_owned(), Value::Tuple(vec![true.into(), Value::unknown()])),
            ("any".to_owned(), Value::Null),
        ]
        .into(),
    )
}

/// The type that the first byte chooses, and the rest.
fn typed(bytes: &[u8]) -> Option<(Type, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let of = match kind % 5 {
        0 => Type::Dynamic,
        1 => rich(),
        2 => Type::Number,
        3 => Type::set(Type::Dynamic),
        _ => Type::list(Type::list(Type::map(Type::Bool))),
    };
    Some((of, rest))
}

fn msgpack(bytes: &[u8]) {
    let Some((of, bytes)) = typed(bytes) else { return };
    if let Ok(value) = value::decode(bytes, &of) {
        said_again(&value, &of);
    }
}

fn json(bytes: &[u8]) {
    let Some((of, bytes)) = typed(bytes) else { return };
    if let Ok(value) = value::decode_state(bytes, &of) {
        said_again(&value, &of);
    }
}

/// What was understood can be said, and is understood the same.
fn said_again(value: &Value, of: &Type) {
    let said = value::encode(value, of).expect("a value that was read is of its type");
    assert_eq!(value::decode(&said, of).ok().as_ref(), Some(value));
    let _ = (format!("{value:?}"), value.to_string());
}

/// The payload of a refined unknown.
fn refined(bytes: &[u8]) {
    let Ok(length) = u32::try_from(bytes.len()) else { return };
    // ext 32 of type 12. Source: the msgpack specification.
    let wrapped = [&[0xc9][..], &length.to_be_bytes(), &[12], bytes].concat();
    if let Ok(value) = value::decode(&wrapped, &Type::String) {
        said_again(&value, &Type::String);
    }
}

fn type_json(bytes: &[u8]) {
    if let Ok(of) = Type::from_json(bytes) {
        assert_eq!(Type::from_json(&of.to_json()).ok(), Some(of), "a type says itself");
    }
}

fn number(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(number) = text.parse::<Number>() {
        assert_eq!(number.to_string().parse().ok(), Some(number.clone()), "a number says itself");
        let _ = (number.to_i64(), number.to_u64(), number.to_exact_f64());
        let _ = number.cmp(&Number::from(1_i64));
    }
}

/// A provider to be called by any bytes. Nothing that it is asked configures it, so it reaches nobody.
pub struct Called {
    service: Service,
    runtime: tokio::runtime::Runtime,
}

impl Called {
    /// Calls `provider`.
    #[must_use]
    pub fn new(provider: impl Provider) -> Called {
        let service = Service { engine: Arc::new(Engine::new(Arc::new(provider))) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Called { service, runtime: runtime.expect("a runtime of one thread starts") }
    }

    /// Any bytes as a request; the first says which.
    pub fn request(&self, bytes: &[u8]) {
        let Some((which, bytes)) = bytes.split_first() else { return };
        macro_rules! call {
            ($($number:literal => $module:ident),+ $(,)?) => {
                match which {
                    $($number => {
                        if let Ok(request) = wire::$module::Request::decode(bytes) {
                            self.runtime.block_on(self.service.$module(request));
                        }
                    })+
                    _ => {}
                }
            };
        }
        call! {
            0 => get_metadata, 1 => validate_provider_config, 2 => validate_resource_config,
            3 => validate_data_resource_config, 4 => validate_ephemeral_resource_config, 5 => upgrade_resource_state,
            6 => read_resource, 7 => plan_resource_change, 8 => apply_resource_change, 9 => import_resource_state,
            10 => move_resource_state, 11 => read_data_source, 12 => open_ephemeral_resource,
            13 => renew_ephemeral_resource, 14 => close_ephemeral_resource, 15 => get_functions, 16 => call_function,
        }
    }

    /// Requests that reach each resource, data source and function.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<u8>> {
        let engine = &self.service.engine;
        let mut all = Vec::new();
        for (type_name, entry) in &engine.resources {
            let config =
                encoded(&chosen(&entry.of, &mut &b"the quick brown fox jumps over"[..], 0), &entry.of);
            let (type_name, null) = (type_name.clone(), Some(crate::convert::null()));
            let request = wire::validate_resource_config::Request {
                type_name: type_name.clone(),
                config: config.clone(),
                client_capabilities: None,
            };
            all.push(numbered(2, &request));
            let request = wire::plan_resource_change::Request {
                type_name: type_name.clone(),
                prior_state: null,
                proposed_new_state: config.clone(),
                config,
                ..Default::default()
            };
            all.push(numbered(7, &request));
            let raw = wire::RawState { json: b"{}".to_vec(), ..Default::default() };
            let request = wire::upgrade_resource_state::Request {
                type_name: type_name.clone(),
                version: 0,
                raw_state: Some(raw),
            };
            all.push(numbered(5, &request));
            let request = wire::import_resource_state::Request {
                type_name,
                id: "acme/orders".to_owned(),
                ..Default::default()
            };
            all.push(numbered(9, &request));
        }
        for name in engine.functions.keys() {
            let argument = encoded(&Value::from("16GB"), &Type::String).expect("a text is encoded");
            let request = wire::call_function::Request { name: name.clone(), arguments: vec![argument] };
            all.push(numbered(16, &request));
        }
        all
    }

    /// A block of a resource made of any bytes: its shape is right, what stands in it is anything. Validated, then planned.
    pub fn block(&self, bytes: &[u8]) {
        let engine = &self.service.engine;
        let Some((which, mut rest)) = bytes.split_first() else { return };
        let Some((type_name, entry)) =
            engine.resources.iter().nth(usize::from(*which) % engine.resources.len().max(1))
        else {
            return;
        };
        let mut value = chosen(&entry.of, &mut rest, 0);
        null_where_computed(&mut value, &entry.schema);
        let (config, type_name) = (encoded(&value, &entry.of), type_name.clone());
        let request = wire::validate_resource_config::Request {
            type_name: type_name.clone(),
            config: config.clone(),
            client_capabilities: None,
        };
        self.runtime.block_on(self.service.validate_resource_config(request));
        let request = wire::plan_resource_change::Request {
            type_name,
            prior_state: Some(crate::convert::null()),
            proposed_new_state: config.clone(),
            config,
            ..Default::default()
        };
        self.runtime.block_on(self.service.plan_resource_change(request));
    }
}

fn numbered(which: u8, request: &impl Message) -> Vec<u8> {
    [vec![which], request.encode_to_vec()].concat()
}

fn encoded(value: &Value, of: &Type) -> Option<wire::DynamicValue> {
    crate::convert::encode(value, of).ok()
}

/// Core sends null for what only the provider may set.
fn null_where_computed(value: &mut Value, schema: &Schema) {
    let Value::Object(attributes) = value else { return };
    for (name, attribute) in schema.block().attributes() {
        if attribute.mode() == Mode::Computed {
            attributes.insert(name.clone(), Value::Null);
        }
    }
}

/// Words that mean something to somebody.
const WORDS: &[&str] = &[
    "",
    "acme",
    "east-1",
    "10.0.0.1:8442",
    "10.0.0.1",
    "[::1]:4222",
    "16GB",
    "2m",
    "0",
    "-1",
    "*",
    "orders.>",
    "a..b",
    "{}",
    "{\"port\":1}",
    "../x",
    "acme/orders",
    "acme/orders/service",
    "always",
    "report",
    "production",
    "\u{0}",
    "99999999999999999999",
    "1e1000",
    "nats_cluster/east",
    "az:a",
];

/// A value of type `of`, chosen by bytes as long as there are some.
fn chosen(of: &Type, bytes: &mut &[u8], depth: usize) -> Value {
    let Some((choice, rest)) = bytes.split_first() else { return Value::Null };
    *bytes = rest;
    match choice {
        0..=9 => return Value::Null,
        10..=14 => return Value::Unknown(Refinement::new()),
        _ => {}
    }
    let count = if depth > 6 { 0 } else { usize::from(choice % 4) };
    match of {
        Type::String => {
            let word = WORDS[usize::from(*choice) % WORDS.len()];
            Value::from(if word.is_empty() {
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
            } else {
                word.to_owned()
            })
        }
        Type::Number => match choice % 4 {
            0 => Value::from(i64::from(*choice)),
            1 => Value::from(u64::MAX),
            2 => Value::from(-1_i64),
            _ => Value::Number("1e400".parse().expect("a number")),
        },
        Type::Bool => Value::from(choice.is_multiple_of(2)),
        Type::Dynamic => {
            let inner = if choice.is_multiple_of(2) { Type::String } else { Type::list(Type::Number) };
            let value = chosen(&inner, bytes, depth + 1);
            if value == Value::Null { Value::Null } else { Value::Dynamic(Box::new((inner, value))) }
        }
        Type::List(element) => Value::List((0..count).map(|_| chosen(element, bytes, depth + 1)).collect()),
        Type::Set(element) => Value::Set((0..count).map(|_| chosen(element, bytes, depth + 1)).collect()),
        Type::Map(element) => {
            let entry = |number: usize| (WORDS[number * 2 + 1].to_owned(), chosen(element, bytes, depth + 1));
            Value::Map((0..count).map(entry).collect())
        }
        Type::Tuple(elements) => {
            Value::Tuple(elements.iter().map(|of| chosen(of, bytes, depth + 1)).collect())
        }
        Type::Object(attributes) => Value::Object(
            attributes.iter().map(|(name, of)| (name.clone(), chosen(of, bytes, depth + 1))).collect(),
        ),
    }
}
