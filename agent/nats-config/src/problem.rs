//! One thing that is wrong with a configuration, in words for the person who wrote it.

use std::fmt;

/// A rule that a [`crate::ServerConfig`] breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Dotted path of the field in the model, for example `jetstream.store_dir`; map keys and extra settings
    /// stand in it as they are.
    pub path: String,
    /// The value that was found, shortened when long; `(absent)` where nothing was given.
    pub found: String,
    /// What is wrong with it, lower case and without full stop.
    pub problem: String,
    /// What to do about it, lower case and without full stop.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, found, problem, remedy } = self;
        write!(formatter, "`{path}` is `{found}`: {problem}; {remedy}")
    }
}
