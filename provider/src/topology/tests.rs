//! Rules as cases and properties; expansion as golden files.

mod examples;
mod expansion;
mod properties;
mod rules;
