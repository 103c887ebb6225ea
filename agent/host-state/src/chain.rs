//! The one printer of an error and its causes.

use std::error::Error;

/// The error and each of its causes, from the outside in, joined by `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[derive(Debug, thiserror::Error)]
    #[error("reading `a` failed")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn causes_follow_the_error() {
        let error = Outer("x".parse::<i32>().unwrap_err());
        assert_eq!(super::chain(&error), "reading `a` failed: invalid digit found in string");
    }
}
