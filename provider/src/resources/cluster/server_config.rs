//! The text of `server_config` as JSON. A key that stands twice is refused: a reader would take the last without a word,
//! so that what stands first is not what the server gets.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The settings in `text`.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Once.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("It is not a JSON object; write `jsonencode({ ... })`.".to_owned()),
        Err(why) if why.is_data() => Err(format!("{why}.")),
        Err(_) => Err("It is not JSON; write `jsonencode({ ... })`.".to_owned()),
    }
}

/// Reads a value in which no key stands twice.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Once)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("`{key}` stands twice in one object")));
            }
            let value = entries.next_value_seed(Once)?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_any_reader_reads() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"é\n"],"b":{"a":{}}}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::Object(parse(text).unwrap()), plain);
    }

    #[test]
    fn says_what_is_wrong() {
        let twice = parse(r#"{"a":{"b":1,"c":2,"b":3}}"#).unwrap_err();
        assert!(twice.starts_with("`b` stands twice in one object at line 1"), "{twice}");
        assert_eq!(parse("[]").unwrap_err(), "It is not a JSON object; write `jsonencode({ ... })`.");
        for text in ["", "{", "{} {}"] {
            assert_eq!(parse(text).unwrap_err(), "It is not JSON; write `jsonencode({ ... })`.");
        }
    }
}
