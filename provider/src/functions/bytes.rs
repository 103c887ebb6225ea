//! `provider::nats::bytes`: a size in NATS's form as a number of bytes.

use nats_config::ByteSize;
use tfplug::{Function, FunctionError, Parameter, Signature, Type, Value};

/// The function.
#[derive(Debug)]
pub struct Bytes;

impl Function for Bytes {
    fn name(&self) -> &str {
        "bytes"
    }

    fn signature(&self) -> Signature {
        Signature::new(Type::Number, "Bytes of a size in NATS's form")
            .description(
                "Turns a size as NATS writes it into a number of bytes. Units are binary, as in nats-server: \
                 `provider::nats::bytes(\"16GB\")` is 17179869184.",
            )
            .parameter(
                Parameter::new("size", Type::String).description("Like `512`, `64KB`, `16GB` or `1TiB`."),
            )
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let text = arguments.first().and_then(Value::as_str);
        let text = text.ok_or_else(|| FunctionError::argument(0, "a size is a text, like `16GB`"))?;
        let size: ByteSize = text.parse().map_err(|why| FunctionError::argument(0, format!("{why}")))?;
        Ok(size.bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        for (text, bytes) in [("512", 512), ("64KB", 65_536), ("16GB", 17_179_869_184), ("1KiB", 1024)] {
            assert_eq!(Bytes.call(&[text.into()]).unwrap().as_u64(), Some(bytes));
        }
    }

    #[test]
    fn nonsense_is_told_with_its_argument() {
        let error = Bytes.call(&["much".into()]).unwrap_err();
        assert_eq!(error.argument, Some(0));
        assert!(error.text.starts_with("`much` is no size"), "{}", error.text);
    }
}
