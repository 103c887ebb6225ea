//! A JSON reader that keeps numbers as written, which `serde_json` does only under a feature that changes
//! it for the whole build. Bounded by the length of its input and by [`MAX_DEPTH`].

use std::collections::BTreeMap;

use super::MAX_DEPTH;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The JSON text again.
    pub(super) fn to_text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => "null".into(),
            Self::Bool(truth) => truth.to_string(),
            Self::Number(text) => text.clone(),
            Self::String(text) => quoted(text),
            Self::Array(elements) => {
                format!("[{}]", elements.iter().map(Self::to_text).collect::<Vec<_>>().join(","))
            }
            Self::Object(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", quoted(key), value.to_text()))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }
}

/// Reads exactly one JSON value; the error is the byte at which it stopped making sense.
pub(super) fn parse(bytes: &[u8]) -> Result<Json, usize> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == bytes.len() { Ok(value) } else { Err(reader.at) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), usize> {
        self.space();
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.at)
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, usize> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.at)
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, usize> {
        if depth > 2 * MAX_DEPTH {
            return Err(self.at);
        }
        self.space();
        match self.peek().ok_or(self.at)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::String),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, usize> {
        self.take(b'[')?;
        let mut elements = Vec::new();
        if self.take(b']').is_ok() {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b',').is_err() {
                self.take(b']')?;
                return Ok(Json::Array(elements));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, usize> {
        self.take(b'{')?;
        let mut entries = BTreeMap::new();
        if self.take(b'}').is_ok() {
            return Ok(Json::Object(entries));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(b':')?;
            entries.insert(key, self.value(depth + 1)?);
            if self.take(b',').is_err() {
                self.take(b'}')?;
                return Ok(Json::Object(entries));
            }
        }
    }

    /// Finds the end of the string, then leaves escapes to `serde_json`.
    fn string(&mut self) -> Result<String, usize> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(start);
        }
        self.at += 1;
        loop {
            match self.peek().ok_or(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.bytes.get(start..self.at).ok_or(start)?;
        serde_json::from_slice(quoted).map_err(|_| start)
    }

    fn number(&mut self) -> Result<Json, usize> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = self.bytes.get(start..self.at).and_then(|bytes| std::str::from_utf8(bytes).ok());
        match text {
            // Let `serde_json` say whether it is a number: it knows about leading zeros and the like.
            Some(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
                Ok(Json::Number(text.to_owned()))
            }
            _ => Err(start),
        }
    }
}
