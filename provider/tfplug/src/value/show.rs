//! How values look in text: everything in `Display`, only the shape in `Debug`.

use std::fmt;

use super::Value;
use super::refinement::Promises;

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self, formatter, &|text, formatter| write!(formatter, "{text:?}"))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self, formatter, &|text, formatter| write!(formatter, "<{} bytes>", text.len()))
    }
}

type Text<'a> = &'a dyn Fn(&str, &mut fmt::Formatter<'_>) -> fmt::Result;

fn write(value: &Value, formatter: &mut fmt::Formatter<'_>, text: Text<'_>) -> fmt::Result {
    match value {
        Value::Null => formatter.write_str("null"),
        Value::Unknown(refinement) => match refinement.promises() {
            None => formatter.write_str("unknown"),
            Some(Promises { not_null, prefix, .. }) => {
                formatter.write_str(if *not_null { "unknown(not null" } else { "unknown(" })?;
                if !prefix.is_empty() {
                    formatter.write_str(" starts with ")?;
                    text(prefix, formatter)?;
                }
                formatter.write_str(")")
            }
        },
        Value::Bool(truth) => write!(formatter, "{truth}"),
        Value::Number(number) => write!(formatter, "{number}"),
        Value::String(string) => text(string, formatter),
        Value::List(elements) | Value::Tuple(elements) => sequence("[", elements, "]", formatter, text),
        Value::Set(elements) => sequence("toset([", elements, "])", formatter, text),
        Value::Map(entries) | Value::Object(entries) => {
            formatter.write_str("{")?;
            for (position, (key, value)) in entries.iter().enumerate() {
                formatter.write_str(if position == 0 { " " } else { ", " })?;
                write!(formatter, "{key} = ")?;
                write(value, formatter, text)?;
            }
            formatter.write_str(if entries.is_empty() { "}" } else { " }" })
        }
        Value::Dynamic(inner) => write(&inner.1, formatter, text),
    }
}

fn sequence(
    open: &str,
    elements: &[Value],
    close: &str,
    formatter: &mut fmt::Formatter<'_>,
    text: Text<'_>,
) -> fmt::Result {
    formatter.write_str(open)?;
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            formatter.write_str(", ")?;
        }
        write(element, formatter, text)?;
    }
    formatter.write_str(close)
}
