//! What values of a configuration mean together: sizes and durations are compared by value, not by spelling, and
//! generations only count up.

use nats_config::{ByteSize, NatsDuration};
use tfplug::{Diagnostic, Path, Value};

fn same<T: std::str::FromStr + PartialEq>(a: &Value, b: &Value) -> bool {
    let parse = |value: &Value| value.as_str().and_then(|text| text.parse::<T>().ok());
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

/// Whether both are sizes of as many bytes, like `16GB` and `16384MiB`.
pub fn same_size(a: &Value, b: &Value) -> bool {
    same::<ByteSize>(a, b)
}

/// Whether both are durations of the same length, like `2m` and `120s`.
pub fn same_duration(a: &Value, b: &Value) -> bool {
    same::<NatsDuration>(a, b)
}

/// What is wrong with a generation that goes down: a key that was given up would be used again. `what` says which.
pub fn generation_problem(prior: &Value, planned: &Value, what: &str) -> Option<Diagnostic> {
    let (before, after) = prior.as_u64().zip(planned.as_u64()).filter(|(before, after)| after < before)?;
    let detail = format!("It was {before} and would be {after}. {what} that was given up is not used again.");
    Some(Diagnostic::error("Generations only count up", detail).at(Path::root("generation")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_goes_down_is_refused_and_an_unknown_one_waits() {
        let problem = |before: Value, after: Value| generation_problem(&before, &after, "A signing key");
        assert_eq!(
            problem(3.into(), 2.into()).unwrap().to_string(),
            "error: Generations only count up (at generation): It was 3 and would be 2. A signing key that was given up is \
             not used again."
        );
        assert!(problem(2.into(), 2.into()).is_none() && problem(2.into(), 3.into()).is_none());
        assert!(problem(2.into(), Value::unknown()).is_none() && problem(Value::Null, 1.into()).is_none());
    }

    #[test]
    fn spelling_does_not_matter_and_nonsense_equals_nothing() {
        assert!(same_size(&"16GB".into(), &"16384MiB".into()));
        assert!(!same_size(&"16GB".into(), &"16".into()));
        assert!(same_duration(&"2m".into(), &"120s".into()));
        assert!(!same_duration(&"soon".into(), &"soon".into()));
    }
}
