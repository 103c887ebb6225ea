//! The `timeouts` attribute: how long an operation may take in all.

use std::time::Duration;

use nats_config::NatsDuration;
use tfplug::{Attribute, Diagnostics, Path, Value};

use crate::resources::meaning::same_duration;

/// Defaults of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For create.
    pub create: NatsDuration,
    /// For update.
    pub update: NatsDuration,
    /// For delete.
    pub delete: NatsDuration,
}

/// Which operation is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Making it.
    Create,
    /// Changing it.
    Update,
    /// Removing it.
    Delete,
}

impl Operation {
    fn attribute(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

impl Timeouts {
    /// The attribute. It is no part of what is imported.
    pub fn attribute(self) -> Attribute {
        let one = |operation: Operation| {
            Attribute::string(operation.attribute()).equivalent(same_duration).description(format!(
                "How long {} may take, like `90s` or `1h30m`. Default `{}`.",
                operation.attribute(),
                self.default_of(operation)
            ))
        };
        Attribute::object(
            "timeouts",
            [one(Operation::Create), one(Operation::Update), one(Operation::Delete)],
        )
        .description("How long operations may take in all, waiting included.")
    }

    fn default_of(self, operation: Operation) -> NatsDuration {
        match operation {
            Operation::Create => self.create,
            Operation::Update => self.update,
            Operation::Delete => self.delete,
        }
    }

    /// How long `operation` may take by `block`, a configuration or state; what is not set or not readable there
    /// is the default.
    pub fn of(self, block: &Value, operation: Operation) -> Duration {
        let text = block.attr("timeouts").attr(operation.attribute()).as_str();
        let set = text.and_then(|text| text.parse::<NatsDuration>().ok());
        set.unwrap_or(self.default_of(operation)).as_duration()
    }

    /// Does `work`, ending with an error when it takes longer than `block` allows; `what` names the thing. Work cut
    /// short leaves what it did, which the next apply adopts.
    ///
    /// # Errors
    /// What `work` says, or that it took too long.
    pub async fn within<T>(
        self,
        work: impl Future<Output = Result<T, tfplug::Diagnostic>>,
        block: &Value,
        operation: Operation,
        what: &str,
    ) -> Result<T, tfplug::Diagnostic> {
        let limit = self.of(block, operation);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let remedy =
                "Apply again: what was done is kept and taken over. Raise it when the system needs longer.";
            Err(tfplug::Diagnostic::error(
                format!("{what}: no end within {} s", limit.as_secs()),
                format!("`timeouts.{}` was reached. {remedy}", operation.attribute()),
            )
            .at(Path::root("timeouts").attr(operation.attribute())))
        })
    }

    /// What is wrong with `block`'s timeouts.
    pub fn problems(block: &Value) -> Diagnostics {
        let operations = [Operation::Create, Operation::Update, Operation::Delete];
        let checked = operations.iter().filter_map(|operation| {
            let name = operation.attribute();
            let text = block.attr("timeouts").attr(name).as_str()?;
            let why = match text.parse::<NatsDuration>() {
                Ok(set) if set > NatsDuration::from_secs(0) => return None,
                Ok(_) => format!("`{text}` is no time at all"),
                Err(why) => why.to_string(),
            };
            let path = Path::root("timeouts").attr(name);
            Some(tfplug::Diagnostic::error("A timeout cannot be used", format!("{why}.")).at(path))
        });
        checked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Timeouts = Timeouts {
        create: NatsDuration::from_secs(600),
        update: NatsDuration::from_secs(3600),
        delete: NatsDuration::from_secs(60),
    };

    #[test]
    fn what_is_set_wins_and_what_is_not_is_the_default() {
        let block = Value::object([("timeouts", Value::object([("create", Value::from("90s"))]))]);
        assert_eq!(DEFAULTS.of(&block, Operation::Create), Duration::from_secs(90));
        assert_eq!(DEFAULTS.of(&block, Operation::Update), Duration::from_secs(3600));
        assert_eq!(DEFAULTS.of(&Value::Null, Operation::Delete), Duration::from_secs(60));
        assert!(Timeouts::problems(&block).is_empty());
    }

    #[test]
    fn nonsense_is_told_at_its_place() {
        let set =
            [("create", Value::from("soon")), ("update", Value::unknown()), ("delete", Value::from("0s"))];
        let block = Value::object([("timeouts", Value::object(set))]);
        let told: Vec<String> = Timeouts::problems(&block).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with(
            "error: A timeout cannot be used (at timeouts.create): `soon` is no length of time"
        ));
        assert_eq!(told[1], "error: A timeout cannot be used (at timeouts.delete): `0s` is no time at all.");
    }
}
