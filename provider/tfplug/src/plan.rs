//! Placeholder of the planning rules.
