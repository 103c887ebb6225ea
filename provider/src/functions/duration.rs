//! `provider::nats::duration`: a length of time in NATS's form as a number of seconds.

use nats_config::NatsDuration;
use tfplug::{Function, FunctionError, Number, Parameter, Signature, Type, Value};

/// The function.
#[derive(Debug)]
pub struct Duration;

impl Function for Duration {
    fn name(&self) -> &str {
        "duration"
    }

    fn signature(&self) -> Signature {
        Signature::new(Type::Number, "Seconds of a length of time in NATS's form")
            .description(
                "Turns a length of time as NATS writes it into a number of seconds, with a fraction where there is \
                 one: `provider::nats::duration(\"1h30m\")` is 5400, `provider::nats::duration(\"250ms\")` is 0.25.",
            )
            .parameter(Parameter::new("duration", Type::String).description("Like `2m`, `1h30m` or `250ms`."))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let text = arguments.first().and_then(Value::as_str);
        let text = text.ok_or_else(|| FunctionError::argument(0, "a length of time is a text, like `2m`"))?;
        let time: NatsDuration = text.parse().map_err(|why| FunctionError::argument(0, format!("{why}")))?;
        let time = time.as_duration();
        // In decimal text, so that no binary fraction creeps in.
        let seconds = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
        let seconds: Number = seconds.parse().expect("digits and one point are a number");
        Ok(seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (text, seconds) in [("2m", "120"), ("1h30m", "5400"), ("250ms", "0.25"), ("1ns", "0.000000001")] {
            let expected: Number = seconds.parse().unwrap();
            assert_eq!(Duration.call(&[text.into()]).unwrap(), Value::Number(expected));
        }
    }

    #[test]
    fn nonsense_is_told_with_its_argument() {
        let error = Duration.call(&["2 minutes".into()]).unwrap_err();
        assert_eq!(error.argument, Some(0));
        assert!(error.text.contains("`2 minutes`"), "{}", error.text);
    }
}
