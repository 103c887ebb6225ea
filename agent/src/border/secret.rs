//! A secret within a message: wiped on drop, never shown by `Debug`.

use std::fmt;

use data_encoding::BASE64;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// Secret text. It travels as base64, which needs no escapes: a JSON reader gives text with escapes by way of a buffer
/// of its own, which nobody wipes.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: Zeroizing<String>) -> Secret {
        Secret(text)
    }

    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(BASE64.encode(self.0.as_bytes()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                // The errors of these two may quote what they could not read.
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| E::custom("not base64"))?;
                let bytes = Zeroizing::new(bytes);
                let text = std::str::from_utf8(&bytes).map_err(|_| E::custom("not text"))?;
                Ok(Secret(Zeroizing::new(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_without_escapes_and_is_never_shown() {
        let secret = Secret::new(Zeroizing::new("-----BEGIN\n\"key\"\u{e9}".to_owned()));
        let json = serde_json::to_string(&secret).unwrap();
        assert!(!json.contains('\\'), "{json}");
        let again: Secret = serde_json::from_str(&json).unwrap();
        assert_eq!(*again.into_text(), *secret.clone().into_text());
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        let error = serde_json::from_str::<Secret>("\"sesame!\"").unwrap_err().to_string();
        assert!(!error.contains("sesame"), "{error}");
    }
}
