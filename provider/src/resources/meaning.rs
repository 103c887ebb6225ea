//! When two texts of a configuration mean the same: sizes and durations are compared by value, not by spelling.

use nats_config::{ByteSize, NatsDuration};
use tfplug::Value;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter_and_nonsense_equals_nothing() {
        assert!(same_size(&"16GB".into(), &"16384MiB".into()));
        assert!(!same_size(&"16GB".into(), &"16".into()));
        assert!(same_duration(&"2m".into(), &"120s".into()));
        assert!(!same_duration(&"soon".into(), &"soon".into()));
    }
}
