//! Reading a block once: every value parsed, every problem collected, unknowns noticed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use tfplug::{Diagnostic, Diagnostics, Path, Value};

/// What was found while a block was read.
///
/// Each method answers `None` for null, for unknown and for what is wrong; the last two are remembered, so that the
/// caller reads everything first and asks [`Reading::is_whole`] at the end.
#[derive(Debug, Default)]
pub struct Reading {
    problems: Diagnostics,
    has_unknown: bool,
}

impl Reading {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was unknown and nothing was wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.has_unknown && !self.problems.has_errors()
    }

    /// Whether something was unknown.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.has_unknown
    }

    /// What was wrong.
    #[must_use]
    pub fn into_problems(self) -> Diagnostics {
        self.problems
    }

    /// Takes over what another reading found.
    pub fn absorb(&mut self, other: Reading) {
        let Reading { problems, has_unknown } = other;
        self.problems.extend(problems);
        self.has_unknown |= has_unknown;
    }

    /// Adds something that is wrong.
    pub fn push(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Whether `value` is there: not null and not unknown.
    pub fn is_there(&mut self, value: &Value) -> bool {
        if !value.is_known() {
            self.has_unknown = true;
        }
        value.is_known() && !value.is_null()
    }

    /// A text of some form.
    pub fn text<T>(&mut self, value: &Value, path: &Path) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        if !self.is_there(value) {
            return None;
        }
        let text = value.as_str()?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                let name = leaf(path);
                self.push(
                    Diagnostic::error(format!("`{name}` cannot be used"), format!("{why}.")).at(path.clone()),
                );
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn number<T: TryFrom<u64>>(
        &mut self,
        value: &Value,
        path: &Path,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        if !self.is_there(value) {
            return None;
        }
        let number =
            value.as_u64().filter(|number| range.contains(number)).and_then(|number| number.try_into().ok());
        if number.is_none() {
            let found = value.as_number().map(ToString::to_string).unwrap_or_default();
            let (name, low, high) = (leaf(path), range.start(), range.end());
            let why = format!("`{found}` is not a whole number from {low} to {high}.");
            self.push(Diagnostic::error(format!("`{name}` cannot be used"), why).at(path.clone()));
        }
        number
    }

    /// A bool.
    pub fn flag(&mut self, value: &Value) -> Option<bool> {
        if self.is_there(value) { value.as_bool() } else { None }
    }

    /// One of several words, by what each stands for.
    pub fn word<T: Clone>(&mut self, value: &Value, path: &Path, words: &[(&str, T)]) -> Option<T> {
        if !self.is_there(value) {
            return None;
        }
        let text = value.as_str()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        if found.is_none() {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let why = format!("`{text}` is none of {}.", allowed.join(", "));
            self.push(Diagnostic::error(format!("`{}` cannot be used", leaf(path)), why).at(path.clone()));
        }
        found
    }

    /// Texts of a list or set, each of some form; those that are wrong are left out.
    pub fn texts<T>(&mut self, value: &Value, path: &Path) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        if !self.is_there(value) {
            return Vec::new();
        }
        let is_list = matches!(value, Value::List(_));
        let place = |index| if is_list { path.index(index) } else { path.clone() };
        value.elements().enumerate().filter_map(|(index, one)| self.text(one, &place(index))).collect()
    }
}

/// The last attribute or key of a path, for messages.
fn leaf(path: &Path) -> String {
    let name = path.steps().iter().rev().find_map(|step| match step {
        tfplug::value::Step::Attribute(name) | tfplug::value::Step::Key(name) => Some(name.clone()),
        tfplug::value::Step::Index(_) => None,
    });
    name.unwrap_or_default()
}

/// The JSON of a wholly known value; sets and tuples become arrays. `None` when something in it is unknown.
#[must_use]
pub fn json_of(value: &Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Value::Null => Json::Null,
        Value::Unknown(_) => return None,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => match (number.to_u64(), number.to_i64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(whole)) => whole.into(),
            // Kept as text, which reads back as the same number.
            (None, None) => Json::String(number.to_string()),
        },
        Value::String(text) => Json::String(text.clone()),
        Value::List(elements) | Value::Tuple(elements) => {
            Json::Array(elements.iter().map(json_of).collect::<Option<_>>()?)
        }
        Value::Set(elements) => Json::Array(elements.iter().map(json_of).collect::<Option<_>>()?),
        Value::Map(entries) | Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Some((key.clone(), json_of(value)?)));
            Json::Object(entries.collect::<Option<_>>()?)
        }
        Value::Dynamic(inner) => json_of(&inner.1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_collected_with_their_places() {
        let mut reading = Reading::new();
        let path = Path::root("ports");
        assert_eq!(reading.number::<u16>(&Value::from(4222), &path.attr("client"), 1..=65_535), Some(4222));
        assert_eq!(reading.number::<u16>(&Value::from(0), &path.attr("cluster"), 1..=65_535), None);
        assert_eq!(reading.text::<std::net::IpAddr>(&"x".into(), &Path::root("address")), None);
        assert_eq!(
            reading.word(&"prod".into(), &Path::root("profile"), &[("production", 1), ("development", 2)]),
            None
        );
        assert!(!reading.has_unknown() && !reading.is_whole());
        let told: Vec<String> = reading.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "error: `cluster` cannot be used (at ports.cluster): `0` is not a whole number from 1 to 65535.",
                "error: `address` cannot be used (at address): invalid IP address syntax.",
                "error: `profile` cannot be used (at profile): `prod` is none of `production`, `development`.",
            ]
        );
    }

    #[test]
    fn unknown_is_neither_absent_nor_wrong() {
        let mut reading = Reading::new();
        assert_eq!(reading.flag(&Value::unknown()), None);
        assert!(reading.has_unknown() && !reading.is_whole());
        assert!(reading.into_problems().is_empty());
        let mut reading = Reading::new();
        assert_eq!(reading.flag(&Value::Null), None);
        assert!(reading.is_whole());
    }

    #[test]
    fn json_holds_everything_known_and_nothing_else() {
        let value = Value::object([
            ("a", Value::list([Value::from(1), Value::Null])),
            ("b", Value::map([("k", Value::from("v"))])),
        ]);
        assert_eq!(json_of(&value).unwrap(), serde_json::json!({"a": [1, null], "b": {"k": "v"}}));
        assert_eq!(json_of(&value.with("c", Value::unknown())), None);
    }
}
